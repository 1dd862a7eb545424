"""Violation of expectation: does a model wonder when a body jumps, and not when a body changes its colour?

Each scene is filmed three times with the same past: unchanged, with one body elsewhere from the next frame on, and with
that body in another colour. Surprise is the mean squared error of each block's prediction from the true blocks before
it, in the model's units.

File letters: N scenes; T blocks, the history and those after it; F blocks after the history.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episode
from cjepa.data.store.shards import open_episodes
from cjepa.envs.interventions import Intervention, InterventionEnv
from cjepa.evaluation.binary_scores import binary_scores
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement
from cjepa.evaluation.scenes import Laboratory, Scenes
from cjepa.progress import Progress
from cjepa.tokenizers.encode import clips_of, device_of, read_columns, step_clips
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics

EVENTS = ("unchanged", "teleport", "colour")
_BLOCKS_AFTER = 5
_SCENES_A_BATCH = 64


class Violations(NamedTuple):
    """Surprise at every block that has one before it; the event is in the first block after the history."""

    surprise_NT: dict[str, np.ndarray]
    """By event, of blocks 1..T - 1."""
    event: int
    """Column of the block of the event."""
    episode_N: np.ndarray


def measure_violations(
    lab: Laboratory, scenes: Scenes, episodes: str, seed: int, progress: Progress
) -> Violations | None:
    """Film and encode every scene in which a free body is shown, and predict block after block.

    Args:
        lab: the model, and a simulator with interventions.
        scenes: test scenes.
        episodes: file that they are from.
        seed: of bodies, places and colours.
        progress: advanced by scenes.

    Returns:
        None without such a scene.
    """
    file, rng = open_episodes(episodes), np.random.default_rng(seed)
    clips: dict[str, list[Clip]] = {event: [] for event in EVENTS}
    used = []
    for scene, (episode, slot_O) in enumerate(zip(scenes.episode_B, scenes.slot_BO, strict=True)):
        lab.env.set_state(scenes.state_BF[scene])
        free = [body for body in lab.env.free_bodies() if slot_O[body] >= 0]
        if free:
            changes = _changes(lab.env, int(rng.choice(free)), rng)
            columns = {*read_columns(lab.tokenizer), "action", "proprio"}
            past, futures = _filmed(lab, scenes, scene, file.episode(int(episode), columns), changes)
            for event, clip in _encoded(lab, past, futures).items():
                clips[event].append(clip)
            used.append(scene)
        progress.advance(1)
    if not used:
        return None
    surprise_NT = {}
    for event, parts in clips.items():
        clip = Clip(*(torch.cat(values) for values in zip(*parts, strict=True)))
        surprise_NT[event] = surprise(lab.dynamics, clip)
    return Violations(surprise_NT, lab.history - 1, scenes.episode_B[used])


def score_violations(found: Violations) -> list[Measurement]:
    """How well the surprise at the event tells events apart, and how many times larger it is than without an event.

    ``violation_auroc`` is teleport against colour, ``surprise_auroc_EVENT`` an event against none.
    """
    at_event = {event: surprise_NT[:, found.event] for event, surprise_NT in found.surprise_NT.items()}

    def area(positive: str, negative: str):
        score = np.concatenate([at_event[positive], at_event[negative]])
        label = np.arange(len(score)) < len(at_event[positive])
        return binary_scores(score, label, np.tile(found.episode_N, 2)).auroc

    measured = [Measurement.of("violation_auroc", area("teleport", "colour"))]
    for event in ("teleport", "colour"):
        measured.append(Measurement.of(f"surprise_auroc_{event}", area(event, "unchanged")))
        if (at_event["unchanged"] > 0).all():  # a perfect model is never surprised without an event
            ratio = bootstrap_of_clusters(at_event[event], found.episode_N, at_event["unchanged"])
            measured.append(Measurement.of(f"surprise_ratio_{event}", ratio, "times"))
    return measured


@torch.no_grad()
def surprise(dynamics: Dynamics, clip: Clip) -> np.ndarray:
    """Mean squared error of every block but the first, predicted from those before it, ``(N, T - 1)``.

    Args:
        dynamics: in eval mode; sees at most ``history_blocks``.
        clip: T blocks in the tokenizer's and the environment's units.
    """
    device, errors_T = device_of(dynamics), []
    for first in range(0, len(clip.tokens_BTSD), _SCENES_A_BATCH):
        part = Clip(*(values[first : first + _SCENES_A_BATCH].to(device) for values in clip))
        errors = []
        for block in range(1, part.tokens_BTSD.shape[1]):
            seen = Clip(*(values[:, max(0, block - dynamics.history_blocks) : block] for values in part))
            predicted = dynamics.rollout(dynamics.observe(seen), part.actions_BTA[:, block - 1 : block])
            followed = dynamics.normalise(Clip(*(values[:, block : block + 1] for values in part)))
            errors.append((predicted.tokens_BHSD - followed.tokens_BTSD).square().mean(dim=(1, 2, 3)))
        errors_T.append(torch.stack(errors, dim=1).double().cpu().numpy())
    return np.concatenate(errors_T)


def _changes(env: InterventionEnv, body: int, rng: np.random.Generator) -> dict[str, Callable[[], None]]:
    """What is done to the simulator's present state, by event."""
    place = env.sensible_value("set_position", body, rng)
    colour_seed = int(rng.integers(2**31))
    return {
        "unchanged": lambda: None,
        "teleport": lambda: env.intervene(Intervention("set_position", body, 0, place)),
        "colour": lambda: env.recolour(body, np.random.default_rng(colour_seed)),
    }


def _filmed(
    lab: Laboratory, scenes: Scenes, scene: int, rows: Episode, changes: Mapping[str, Callable[[], None]]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Columns of the env steps of the history, and of those after it by event."""
    first = int(scenes.start_B[scene])
    last = first + (lab.history - 1) * lab.frame_stride
    past = {name: values[first : last + 1] for name, values in rows.items()}
    after = lab.frame_stride * min(_BLOCKS_AFTER, scenes.clip.tokens_BTSD.shape[1] - lab.history)
    views = {"pixels": lab.env.render_pixels, "masks": lab.env.render_labels, "objects": lab.env.objects}
    seen = {name: views[name] for name in read_columns(lab.tokenizer)} | {"proprio": lab.env.proprio}
    futures = {}
    for event, change in changes.items():
        lab.env.set_state(scenes.state_BF[scene])
        change()
        film: dict[str, list[np.ndarray]] = {name: [] for name in seen}
        for action in rows["action"][last : last + after]:
            lab.env.advance(action)
            for name, view in seen.items():
                film[name].append(view())
        actions = rows["action"][last + 1 : last + 1 + after]
        futures[event] = {name: np.stack(frames) for name, frames in film.items()} | {"action": actions}
    return past, futures


def _encoded(
    lab: Laboratory, past: dict[str, np.ndarray], futures: dict[str, dict[str, np.ndarray]]
) -> dict[str, Clip]:
    """Clips of one scene, T blocks; the past is encoded once."""
    columns, stride = read_columns(lab.tokenizer), lab.frame_stride
    tokens_1TSD, memory = step_clips(lab.tokenizer, clips_of(_batched(past, columns)))
    clips = {}
    for event, future in futures.items():
        after_1TSD, _ = step_clips(lab.tokenizer, clips_of(_batched(future, columns)), memory)
        whole = {name: np.concatenate([past[name], future[name]]) for name in ("proprio", "action")}
        tokens = torch.cat([tokens_1TSD, after_1TSD], dim=1)[:, ::stride]
        blocks = tokens.shape[1]
        actions = torch.from_numpy(_padded(whole["action"], blocks * stride)).reshape(1, blocks, -1)
        clips[event] = Clip(tokens, torch.from_numpy(whole["proprio"][::stride])[None], actions)
    return clips


def _batched(columns: Mapping[str, np.ndarray], names: set[str]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(columns[name])[None] for name in names}


def _padded(action_TA: np.ndarray, length: int) -> np.ndarray:
    """The actions that lead out of the last block are not read: zeros where the episode has none."""
    short = length - len(action_TA)
    return np.concatenate([action_TA, np.zeros((max(0, short), action_TA.shape[1]), action_TA.dtype)])[:length]
