"""Violation of expectation: does a model wonder when a body jumps, and not when a body changes its colour?

Each scene is filmed three times with the same past: unchanged, with one body elsewhere from the next frame on, and with
that body in another colour. Surprise is the mean squared error of each block's prediction from the true blocks before
it: of whole tokens, in the model's units, and of the places alone that the tokens of bodies hold, in the environment's.

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
from cjepa.evaluation.intervals import Interval, bootstrap_of_clusters
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.evaluation.measurements import Measurement
from cjepa.interventions.quantities import Quantity
from cjepa.progress import Progress
from cjepa.tokenizers.encode import clips_of, device_of, read_columns, step_clips
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics, take_rows

EVENTS = ("unchanged", "teleport", "colour")
_PARTS = {"": "tokens_NT", "_places": "places_NT"}
"""What ends the names of metrics, and the surprise that they are of."""
_BLOCKS_AFTER = 5
_CLIPS_A_BATCH = 64


class Surprise(NamedTuple):
    """Of blocks 1..T - 1."""

    tokens_NT: np.ndarray
    places_NT: np.ndarray


class Violations(NamedTuple):
    """Surprise at every block that has one before it; the event is in the first block after the history."""

    surprise: dict[str, Surprise]
    """By event."""
    event: int
    """Column of the block of the event."""
    episode_N: np.ndarray


def measure_violations(
    lab: Laboratory, scenes: Scenes, place: Quantity, episodes: str, seed: int, progress: Progress
) -> Violations | None:
    """Film and encode every scene in which a free body is shown, and predict block after block.

    Args:
        lab: the model, and a simulator with interventions.
        scenes: test scenes.
        place: where tokens hold it.
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
            for event, clip in _encoded(lab, past, futures, int(scenes.start_B[scene])).items():
                clips[event].append(clip)
            used.append(scene)
        progress.advance(1)
    if not used:
        return None
    shown_NS = torch.from_numpy(
        (scenes.slot_BO[used][:, :, None] == np.arange(scenes.clip.tokens_BTSD.shape[2])).any(1)
    )
    found = {}
    for event, parts in clips.items():
        clip = Clip(*(torch.cat(values) for values in zip(*parts, strict=True)))
        found[event] = surprise(lab.dynamics, clip, place, shown_NS)
    return Violations(found, lab.history - 1, scenes.episode_B[used])


def score_violations(found: Violations) -> list[Measurement]:
    """How well the surprise at the event tells events apart, and how many times larger it is than without an event.

    ``violation_auroc`` is teleport against colour, ``surprise_auroc_EVENT`` an event against none; ``_places`` at the
    end of a name is surprise at places alone.
    """
    measured = []
    for suffix, part in _PARTS.items():
        at_event = {event: getattr(found.surprise[event], part)[:, found.event] for event in EVENTS}
        measured += _scores(at_event, found.episode_N, suffix)
    return measured


def _scores(at_event: dict[str, np.ndarray], episode_N: np.ndarray, suffix: str) -> list[Measurement]:
    def area(positive: str, negative: str) -> Interval:
        score = np.concatenate([at_event[positive], at_event[negative]])
        label = np.arange(len(score)) < len(at_event[positive])
        return binary_scores(score, label, np.tile(episode_N, 2)).auroc

    measured = [Measurement.of(f"violation_auroc{suffix}", area("teleport", "colour"))]
    for event in ("teleport", "colour"):
        measured.append(Measurement.of(f"surprise_auroc_{event}{suffix}", area(event, "unchanged")))
        if (at_event["unchanged"] > 0).all():  # a perfect model is never surprised without an event
            ratio = bootstrap_of_clusters(at_event[event], episode_N, at_event["unchanged"])
            measured.append(Measurement.of(f"surprise_ratio_{event}{suffix}", ratio, "times"))
    return measured


@torch.no_grad()
def surprise(dynamics: Dynamics, clip: Clip, place: Quantity, shown_NS: Tensor) -> Surprise:
    """Mean squared error of every block but the first, predicted from those before it, ``(N, T - 1)``.

    Args:
        dynamics: in eval mode; sees at most ``history_blocks``.
        clip: T blocks in the tokenizer's and the environment's units.
        place: where tokens hold it.
        shown_NS: bool, the slots of bodies, whose places count.
    """
    device, found = device_of(dynamics), []
    for first in range(0, len(clip.tokens_BTSD), _CLIPS_A_BATCH):
        rows = slice(first, first + _CLIPS_A_BATCH)
        part, shown_BS = take_rows(clip, rows).on(device), shown_NS[rows].to(device)
        errors, distances = [], []
        for block in range(1, part.tokens_BTSD.shape[1]):
            seen = part.blocks(max(0, block - dynamics.history_blocks), block)
            predicted = dynamics.rollout(dynamics.observe(seen), part.actions_BTA[:, block - 1 : block])
            followed = dynamics.normalise(part.blocks(block, block + 1))
            errors.append((predicted.tokens_BHSD - followed.tokens_BTSD).square().mean(dim=(1, 2, 3)))
            predicted_BS2, true_BS2 = (
                place.read(tokens_B1SD)[:, 0]
                for tokens_B1SD in (dynamics.denormalise(predicted).tokens_BHSD, part.tokens_BTSD[:, block : block + 1])
            )
            squared_BS = (predicted_BS2 - true_BS2).square().mean(dim=-1)
            distances.append((squared_BS * shown_BS).sum(dim=1) / shown_BS.sum(dim=1))
        found.append([torch.stack(values, dim=1).double().cpu().numpy() for values in (errors, distances)])
    return Surprise(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


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
    """Columns of the env steps from the episode's first to the end of the history, and of those after it by event."""
    last = int(scenes.start_B[scene]) + (lab.history - 1) * lab.frame_stride
    past = {name: values[: last + 1] for name, values in rows.items()}
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
    lab: Laboratory, past: dict[str, np.ndarray], futures: dict[str, dict[str, np.ndarray]], first: int
) -> dict[str, Clip]:
    """Clips of one scene, T blocks from env step ``first`` on; the past is encoded once.

    From the episode's first frame on, as the scene's own tokens are: a tokenizer that follows objects gives them other
    slots where it begins at another frame.
    """
    columns, stride = read_columns(lab.tokenizer), lab.frame_stride
    tokens_1TSD, memory = step_clips(lab.tokenizer, clips_of(_batched(past, columns)))
    clips = {}
    for event, future in futures.items():
        after_1TSD, _ = step_clips(lab.tokenizer, clips_of(_batched(future, columns)), memory)
        whole = {name: np.concatenate([past[name][first:], future[name]]) for name in ("proprio", "action")}
        tokens = torch.cat([tokens_1TSD[:, first:], after_1TSD], dim=1)[:, ::stride]
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
