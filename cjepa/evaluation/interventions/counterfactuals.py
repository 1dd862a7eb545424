"""Counterfactual prediction: a world model's answer to an intervention against the simulator's own.

In each scene one body is changed at the end of the history, by every kind of intervention: in the simulator, which then
runs on, and in the model's history of tokens. All is scored on the *other* bodies at the last predicted block, by pairs
of a factual and a counterfactual future. docs/interventions.md defines every number.

File letters: V trials (a scene, a body, a value); N a trial and one of its other bodies.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.counterfactuals import SHARE_COLLIDING
from cjepa.envs.interventions import KINDS, Intervention, InterventionEnv, Kind
from cjepa.errors import UserError
from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.effects import Effects
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.interventions.edits import Freeze, LatentIntervention, Mask, Remove, Replace, SetVelocity, Shift, imagine
from cjepa.interventions.quantities import Quantity, empty_token, exact_velocity
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip
from cjepa.world_models.dynamics import split_clip, take_rows

EMPTY = "remove, empty slot"
"""The second way to remove an object from tokens: with an empty slot in its place."""
MASK = "mask"
"""Hides an object's history from the model but for its first block; nothing happens in the simulator."""

_TRIALS_A_BATCH = 64

_log = logging.getLogger(__name__)


class _Trials(NamedTuple):
    """One intervention in each scene that allows it."""

    scene_V: np.ndarray
    body_V: np.ndarray
    value_V2: np.ndarray
    """Zeros for kinds without a value."""
    place_VO2: np.ndarray
    """Of all bodies at the end, in the simulator."""


def measure_effects(lab: Laboratory, scenes: Scenes, place: Quantity, seed: int, progress: Progress) -> list[Effects]:
    """Every kind of intervention in every scene.

    Kinds that the tokens do not allow are left out, which is logged.

    Args:
        lab: the model and the simulator.
        scenes: test scenes.
        place: where tokens hold it.
        seed: of bodies and values.
        progress: advanced by scenes, once per kind.
    """
    effects = []
    for kind in KINDS:
        trials = _simulated(lab.env, lab.frame_stride, scenes, kind, np.random.default_rng([seed, KINDS.index(kind)]))
        ways = [kind, EMPTY] if kind == "remove" and empty_token(lab.tokenizer) is not None else [kind]
        for way in ways:
            try:
                effects.append(_effects(lab, scenes, place, way, trials))
            except UserError as reason:
                _log.warning("%s left out: %s", way, reason)
        progress.advance(len(scenes.episode_B))
    return effects


def latent_intervention(
    lab: Laboratory, way: str, slot_V: Tensor, value_V2: Tensor, history: Clip, place: Quantity
) -> LatentIntervention:
    """What is done to tokens where the simulator's body is changed.

    Args:
        lab: the model.
        way: a kind of intervention, ``EMPTY`` or ``MASK``.
        slot_V: that shows the body.
        value_V2: the new place or velocity, for kinds that have one.
        history: of the same V trials.
        place: where tokens hold it.

    Raises:
        UserError: the model has no masks, or its tokens hold no velocity and a history of one block tells none.
    """
    held = exact_velocity(lab.tokenizer)
    if way == "remove":
        return Remove(slot_V)
    if way == MASK:
        return Mask(slot_V)
    if way == EMPTY:
        return Replace(slot_V, empty_token(lab.tokenizer))
    if way == "freeze":
        empty_D = empty_token(lab.tokenizer)
        return Freeze(slot_V, place, Remove(slot_V) if empty_D is None else Replace(slot_V, empty_D), held)
    if way == "set_position":
        last_VD = history.tokens_BTSD[torch.arange(len(slot_V)), -1, slot_V]
        return Shift(slot_V, (value_V2 - place.read(last_VD))[:, None, None], place)
    if lab.history < 2 and held is None:
        raise UserError("a history of one block of tokens that hold no velocity cannot tell one")
    return SetVelocity(slot_V, value_V2[:, None, None], lab.block_seconds, place, held)


def simulated(
    env: InterventionEnv,
    stride: int,
    state_F: np.ndarray,
    action_TA: np.ndarray,
    intervention: Intervention | None,
    look: Callable[[], np.ndarray],
) -> np.ndarray:
    """What can be seen of the simulator right after an intervention, and after each of H blocks: ``(H + 1, ...)``.

    Args:
        env: any state will do.
        stride: env steps per block.
        state_F: where it starts.
        action_TA: of H x stride env steps.
        intervention: its env step is not read; None to change nothing.
        look: what is seen of ``env``, such as its frame.
    """
    env.set_state(state_F)
    if intervention is not None:
        env.intervene(intervention)
    seen = [look()]
    for step, action in enumerate(action_TA, start=1):
        env.advance(action)
        if step % stride == 0:
            seen.append(look())
    return np.stack(seen)


def simulated_track(
    env: InterventionEnv, stride: int, state_F: np.ndarray, action_TA: np.ndarray, intervention: Intervention | None
) -> np.ndarray:
    """Places of all bodies after each of H blocks ``(H, O, 2)``, see :func:`simulated`."""
    return simulated(env, stride, state_F, action_TA, intervention, lambda: places(env.objects(), env))[1:]


def _simulated(env: InterventionEnv, stride: int, scenes: Scenes, kind: Kind, rng: np.random.Generator) -> _Trials:
    """Intervene in the simulator at the end of every history."""
    rows = []
    for scene, state_F in enumerate(scenes.state_BF):
        env.set_state(state_F)
        bodies = [body for body in env.free_bodies() if scenes.slot_BO[scene, body] >= 0]
        if len(bodies) < 1 or (scenes.slot_BO[scene] >= 0).sum() < 2:
            continue
        colliding = [body for body in bodies if (scenes.hops_BOO[scene, :, body] == 1).any()]
        body = int(rng.choice(colliding if colliding and rng.uniform() < SHARE_COLLIDING else bodies))
        value = env.sensible_value(kind, body, rng)
        track_HO2 = simulated_track(env, stride, state_F, scenes.action_BTA[scene], Intervention(kind, body, 0, value))
        rows.append((scene, body, value or (0.0, 0.0), track_HO2[-1]))
    if not rows:
        raise UserError("no scene has two bodies on the table that slots show; give more episodes, or other tokens")
    return _Trials(*(np.array(values) for values in zip(*rows, strict=True)))


def _effects(lab: Laboratory, scenes: Scenes, place: Quantity, way: str, trials: _Trials) -> Effects:
    factual, predicted = _imagined(lab, scenes, place, way, trials)
    trial_N, body_N = _others(scenes.slot_BO[trials.scene_V], trials.body_V).nonzero()
    scene_N = trials.scene_V[trial_N]
    place_BTO2 = places(scenes.objects_BTOF, lab.env)
    slot_N = scenes.slot_BO[scene_N, body_N]
    return Effects(
        way,
        scene_N,
        scenes.episode_B[scene_N],
        trials.body_V[trial_N],
        body_N,
        place_BTO2[scene_N, lab.history - 1, body_N],
        place_BTO2[scene_N, -1, body_N],
        trials.place_VO2[trial_N, body_N],
        factual[trial_N, slot_N],
        predicted[trial_N, slot_N],
    )


def _others(slot_VO: np.ndarray, changed_V: np.ndarray) -> np.ndarray:
    """Bodies that slots show, but for the changed one: bool ``(V, O)``."""
    return (slot_VO >= 0) & (np.arange(slot_VO.shape[1]) != changed_V[:, None])


@torch.no_grad()
def _imagined(
    lab: Laboratory, scenes: Scenes, place: Quantity, way: str, trials: _Trials
) -> tuple[np.ndarray, np.ndarray]:
    """Places of all slots at the last block, without and with the intervention, ``(V, S, 2)``."""
    device, found = device_of(lab.dynamics), []
    for first in range(0, len(trials.scene_V), _TRIALS_A_BATCH):
        part = _Trials(*(values[first : first + _TRIALS_A_BATCH] for values in trials))
        clip = take_rows(scenes.clip, torch.from_numpy(part.scene_V)).on(device)
        history, actions_BHA, _ = split_clip(lab.dynamics, clip)
        slot_V = torch.from_numpy(scenes.slot_BO[part.scene_V, part.body_V]).to(device)
        value_V2 = torch.from_numpy(part.value_V2).float().to(device)
        edit = latent_intervention(lab, way, slot_V, value_V2, history, place)
        rollouts = imagine(lab.dynamics, history, actions_BHA, edit)
        futures = [lab.dynamics.denormalise(rollout).tokens_BHSD for rollout in rollouts]
        tracks = [place.track(torch.cat([history.tokens_BTSD[:, -1:], tokens_BHSD], dim=1)) for tokens_BHSD in futures]
        found.append([track_BTS2[:, -1].double().cpu().numpy() for track_BTS2 in tracks])
    return tuple(np.concatenate(values) for values in zip(*found, strict=True))
