"""Object permanence: where a model believes a body to be that it has not been shown for a while.

From the end of the history on, the model is given no token of one body, and the true tokens of all others. What the
model predicted for the body itself stands in its place, block after block.

File letters: N bodies that are hidden, one at a time; K durations; W rows that go through a model together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.evaluation.bodies import on_table, places
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.evaluation.interventions.tracks import extrapolated_tracks
from cjepa.evaluation.measurements import Measurement
from cjepa.interventions.quantities import Quantity
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics, take_rows

HIDDEN_FRAMES = (5, 10, 20)
"""For how many frames (env steps) bodies are hidden; rounded up to whole blocks."""
_ROWS_A_BATCH = 64


class HiddenErrors(NamedTuple):
    """How far a hidden body is from where it is believed to be, in the environment's units."""

    frames_K: list[int]
    """Whole blocks of env steps."""
    error_NK: dict[str, np.ndarray]
    """Of the ``model`` and of rivals."""
    on_table_NK: np.ndarray
    """bool; bodies that have left the table do not count."""
    touched_NK: np.ndarray
    """bool, whether the body touched another while it was hidden."""
    episode_N: np.ndarray


def measure_hidden(
    lab: Laboratory, scenes: Scenes, place: Quantity, frames: Sequence[int], progress: Progress
) -> HiddenErrors:
    """Hide every body that a slot shows, in every scene.

    Args:
        lab: the model.
        scenes: test scenes.
        place: where tokens hold it.
        frames: durations; those longer than the scenes are left out.
        progress: advanced by scenes.
    """
    ahead = scenes.clip.tokens_BTSD.shape[1] - lab.history
    blocks_K = np.unique([-(-count // lab.frame_stride) for count in frames])
    blocks_K = blocks_K[blocks_K <= ahead]
    scene_N, body_N = (scenes.slot_BO >= 0).nonzero()
    true_NH2 = places(scenes.objects_BTOF[:, lab.history :], lab.env)[scene_N, :, body_N]
    seen_NH2 = _believed(lab, scenes, place, scene_N, scenes.slot_BO[scene_N, body_N], progress)
    tracks = extrapolated_tracks(lab, scenes, ahead)[scene_N, :, body_N]
    answers = {"model": seen_NH2, "copying": tracks[:, :1], "constant velocity": tracks[:, 1:]}
    table_BHO = np.stack(
        [on_table(scenes.objects_BTOF[:, lab.history + block], lab.env) for block in range(ahead)], axis=1
    )
    touched_NH = scenes.touched_BHOO.any(axis=-1)[scene_N, :, body_N]
    return HiddenErrors(
        (blocks_K * lab.frame_stride).tolist(),
        {name: np.linalg.norm(at - true_NH2, axis=-1)[:, blocks_K - 1] for name, at in answers.items()},
        table_BHO[scene_N, :, body_N][:, blocks_K - 1],
        np.logical_or.accumulate(touched_NH, axis=1)[:, blocks_K - 1],
        scenes.episode_B[scene_N],
    )


def score_hidden(found: HiddenErrors) -> dict[str, list[Measurement]]:
    """``hidden_error@FRAMES``, and ``hidden_error_touched@FRAMES`` of bodies that touched another meanwhile, by answer.

    Rows without bodies are left out.
    """
    scores: dict[str, list[Measurement]] = {}
    for name, error_NK in found.error_NK.items():
        for place, frames in enumerate(found.frames_K):
            counted_N = found.on_table_NK[:, place]
            groups = {"": counted_N, "_touched": counted_N & found.touched_NK[:, place]}
            for group, of_N in groups.items():
                if of_N.any():
                    error = bootstrap_of_clusters(error_NK[of_N, place], found.episode_N[of_N])
                    measured = Measurement.of(f"hidden_error{group}@{frames}", error, "units")
                    scores.setdefault(name, []).append(measured)
    return scores


@torch.no_grad()
def while_hidden(dynamics: Dynamics, clip: Clip, slot_W: Tensor) -> Tensor:
    """What a model believes of one object of each row while it sees all others.

    Args:
        dynamics: in eval mode.
        clip: ``history_blocks + H`` blocks in the tokenizer's and the environment's units, on the model's device.
        slot_W: the object that is seen in the history alone.

    Returns:
        Its tokens in the H blocks, ``(W, H, D)``, in the tokenizer's units.
    """
    history, tokens_WTSD = dynamics.history_blocks, clip.tokens_BTSD.clone()
    believed = clip._replace(tokens_BTSD=tokens_WTSD)
    rows = torch.arange(len(slot_W), device=slot_W.device)
    for block in range(history, tokens_WTSD.shape[1]):
        state = dynamics.observe(believed.blocks(block - history, block))
        predicted = dynamics.rollout(state, clip.actions_BTA[:, block - 1 : block])
        tokens_WTSD[rows, block, slot_W] = dynamics.denormalise(predicted).tokens_BHSD[rows, 0, slot_W].float()
    return tokens_WTSD[rows, history:, slot_W]


def _believed(
    lab: Laboratory, scenes: Scenes, place: Quantity, scene_N: np.ndarray, slot_N: np.ndarray, progress: Progress
) -> np.ndarray:
    """Places ``(N, H, 2)`` by the model."""
    found, device = [], device_of(lab.dynamics)
    for first in range(0, len(scene_N), _ROWS_A_BATCH):
        part = slice(first, first + _ROWS_A_BATCH)
        clip = take_rows(scenes.clip, torch.from_numpy(scene_N[part])).on(device)
        tokens_WHD = while_hidden(lab.dynamics, clip, torch.from_numpy(slot_N[part]).to(device))
        found.append(place.read(tokens_WHD).double().cpu().numpy())
        begun = np.diff(scene_N[part], prepend=scene_N[first - 1] if first else -1)  # a scene may be in two parts
        progress.advance(np.count_nonzero(begun))
    return np.concatenate(found)
