"""Open-loop prediction error of a world model, beside that of copying the last frame."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cjepa.data.clip_module import EpisodeClips
from cjepa.data.store.episodes import Episodes
from cjepa.evaluation.intervals import Interval, bootstrap, bootstrap_metric
from cjepa.evaluation.measurements import Measurement
from cjepa.evaluation.metrics import EffectiveRank
from cjepa.types import Rollout
from cjepa.world_models.dynamics import copied_clip, rollout_clip
from cjepa.world_models.dynamics_training import DynamicsTraining

BLOCKS_AHEAD = (1, 2, 5, 10)
"""Blocks ahead of which a test reports errors, where the episodes are long enough."""


class Imagined(NamedTuple):
    """A batch of clips as a model predicts them, on its device; rollouts are in the model's units."""

    predicted: Rollout
    followed: Rollout
    """What the episodes hold."""
    copied: Rollout
    """The frame before, H = 1."""
    row_BH: np.ndarray
    """Rows of the file that the predicted frames have."""
    episode_B: np.ndarray


@torch.inference_mode()
def imagine(module: DynamicsTraining, loader: DataLoader, file: Episodes) -> Iterator[Imagined]:
    """Roll out all clips of a loader.

    Args:
        module: the world model, in eval mode.
        loader: of clips of ``history_blocks + H`` frames, in the order of its dataset's ``starts``.
        file: the episodes that the clips are from.
    """
    dataset, history = loader.dataset, module.dynamics.history_blocks
    first = 0
    for batch in loader:
        clip = module.clip_of(batch.on(module.device))
        predicted, followed = rollout_clip(module.dynamics, clip)
        start_B = np.asarray(dataset.starts[first : first + len(predicted.tokens_BHSD)])
        ahead_H = history + np.arange(predicted.tokens_BHSD.shape[1])
        row_BH = start_B[:, None] + ahead_H * dataset.frame_stride
        episode_B = file.episode_of(start_B)
        yield Imagined(predicted, followed, copied_clip(module.dynamics, clip), row_BH, episode_B)
        first += len(start_B)


class RolloutErrors:
    """Squared errors of what was predicted, and of copying, by clip, block ahead and entity."""

    def __init__(self):
        self._errors: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._episodes: list[np.ndarray] = []

    def add(self, batch: Imagined) -> None:
        """One more batch."""
        self._errors.append(squared_errors(batch.predicted, batch.followed))
        self._copies.append(squared_errors(batch.copied, batch.followed))
        self._episodes.append(batch.episode_B)
        self.num_slots = batch.predicted.tokens_BHSD.shape[2]

    def share(self, block: int, entities: slice | int) -> Interval:
        """Mean error of some entities ``block`` blocks ahead over that of copying them.

        Resampled by episode, since clips of one episode overlap.
        """
        episodes, place_N = np.unique(np.concatenate(self._episodes), return_inverse=True)
        error_E, copy_E = (
            np.bincount(place_N, torch.cat(parts)[:, block - 1, entities].reshape(len(place_N), -1).mean(dim=1).numpy())
            for parts in (self._errors, self._copies)
        )
        return bootstrap(error_E, copy_E)

    @property
    def horizon_blocks(self) -> int:
        """H."""
        return self._errors[0].shape[1]

    @property
    def has_proprio(self) -> bool:
        """Whether the model predicts proprioception."""
        return self._errors[0].shape[2] > self.num_slots


class TokenRanks:
    """Effective rank of the normalised tokens that are predicted some blocks ahead, and of the true ones.

    Args:
        block: how far ahead, 1..H.
    """

    def __init__(self, block: int):
        self.block = block
        self._ranks: dict[str, dict[int, EffectiveRank]] = {"effective_rank": {}, "effective_rank_true": {}}

    def add(self, batch: Imagined) -> None:
        """One more batch."""
        for found, rollout in zip(self._ranks.values(), (batch.predicted, batch.followed), strict=True):
            tokens_BSD = rollout.tokens_BHSD[:, self.block - 1].float().cpu()
            for episode in np.unique(batch.episode_B).tolist():
                of_episode = torch.from_numpy(batch.episode_B == episode)
                found.setdefault(episode, EffectiveRank()).update(tokens_BSD[of_episode][:, None])

    def measurements(self) -> list[Measurement]:
        """``effective_rank`` and ``effective_rank_true``, resampled by episode."""
        states = {name: [rank.metric_state for rank in found.values()] for name, found in self._ranks.items()}
        return [Measurement.of(name, bootstrap_metric(EffectiveRank(), rows)) for name, rows in states.items()]


def error_measurements(
    errors: RolloutErrors, blocks: list[int], entities: Mapping[str, int], token_dim: int
) -> list[Measurement]:
    """``rollout_error@k`` of all tokens; ``rollout_error_NAME@k`` of single entities.

    Args:
        errors: of all clips.
        blocks: ahead, 1..H.
        entities: indices of slots, or S for proprioception, by name.
        token_dim: D.
    """
    every = {"": slice(errors.num_slots)} | {f"_{name}": index for name, index in entities.items()}
    size = {"tokens": errors.num_slots, "token_dim": token_dim}
    return [
        Measurement.of(f"rollout_error{name}@{block}", errors.share(block, index), "of copying", **size)
        for name, index in every.items()
        for block in blocks
    ]


def blocks_for_test(data: EpisodeClips, history_blocks: int) -> int:
    """Frames of a test clip: enough for as many of ``BLOCKS_AHEAD`` as half of the test episodes are long enough for.

    Never fewer than the data's own ``val_blocks``.
    """
    longest = int(np.median(data.file.lengths[data.splits["test"]])) // data.frame_stride
    fitting = [history_blocks + block for block in BLOCKS_AHEAD if history_blocks + block <= longest]
    return max([data.val_blocks, *fitting])


def squared_errors(rollout: Rollout, followed: Rollout) -> Tensor:
    """Mean squared error of each entity, ``(B, H, S)`` and one column more for proprioception if there is any."""
    error_BHE = (rollout.tokens_BHSD - followed.tokens_BHSD).square().mean(dim=3)
    if followed.proprio_BHP.shape[2]:
        proprio_BH = (rollout.proprio_BHP - followed.proprio_BHP).square().mean(dim=2)
        error_BHE = torch.cat([error_BHE, proprio_BH[..., None]], dim=2)
    return error_BHE.double().cpu()
