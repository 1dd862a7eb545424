"""Which episodes are used for what; damaged ones can be left out, and no other episode changes its place."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episode_file import split_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.verify import corrupted_episodes
from cjepa.errors import UserError

SPLIT_SHARES = (0.9, 0.05, 0.05)
SPLIT_SEED = 0

_log = logging.getLogger(__name__)


class UsedEpisodes(NamedTuple):
    """A split by episode, and what is in none of its parts."""

    splits: dict[str, np.ndarray]
    """Sorted int64 indices under ``train``, ``val`` and ``test``."""
    excluded: list[int]


def used_episodes(
    episodes: Episodes, split_seed: int, exclude_episodes: Sequence[int], exclude_corrupted: bool
) -> UsedEpisodes:
    """Split all episodes, then leave some out: the rest is split as if nothing were missing.

    Args:
        episodes: the data set.
        split_seed: of the split.
        exclude_episodes: indices to leave out.
        exclude_corrupted: check every episode first and leave out those that are not what was written.

    Raises:
        UserError: there is no such episode.
    """
    excluded = excluded_episodes(episodes, exclude_episodes, exclude_corrupted)
    splits = split_episodes(len(episodes), SPLIT_SHARES, split_seed)
    return UsedEpisodes({name: np.setdiff1d(part, excluded) for name, part in splits.items()}, excluded)


def excluded_episodes(episodes: Episodes, exclude_episodes: Sequence[int], exclude_corrupted: bool) -> list[int]:
    """Indices to leave out, sorted; which they are is logged. See :func:`used_episodes`."""
    if unknown := sorted(set(exclude_episodes) - set(range(len(episodes)))):
        raise UserError(f"exclude_episodes: {unknown[0]}: {episodes.path} has episodes 0 to {len(episodes) - 1}")
    faults = corrupted_episodes(episodes) if exclude_corrupted else {}
    for episode, fault in faults.items():
        _log.warning("%s: episode %d is left out: %s", episodes.path, episode, fault)
    if exclude_episodes:
        _log.warning("%s: left out as asked: episodes %s", episodes.path, sorted(set(exclude_episodes)))
    return sorted({*exclude_episodes, *faults})


class EpisodesWithout(Episodes):
    """A data set of which some episodes have no rows; every other one keeps its index.

    Args:
        episodes: the data set.
        excluded: indices of the episodes that are never read.
    """

    def __init__(self, episodes: Episodes, excluded: Sequence[int]):
        self.path, self.attributes, self.columns = episodes.path, episodes.attributes, episodes.columns
        self.offsets, self.fingerprint = episodes.offsets, episodes.fingerprint
        self.lengths = episodes.lengths.copy()
        self.lengths[list(excluded)] = 0
        self._episodes = episodes

    def read(self, column: str, start: int, stop: int) -> np.ndarray:
        """See :meth:`Episodes.read`."""
        return self._episodes.read(column, start, stop)


def rows_of(episodes: Episodes, column: str, used: np.ndarray) -> Tensor:
    """A column over all rows, zero where an episode is not among ``used``: what is left out is not even read."""
    shape, dtype = episodes.columns[column]
    values = np.zeros(shape, dtype)
    used = np.sort(used)
    for run in np.split(used, np.flatnonzero(np.diff(used) != 1) + 1) if len(used) else []:
        start, stop = int(episodes.offsets[run[0]]), int(episodes.offsets[run[-1]] + episodes.lengths[run[-1]])
        values[start:stop] = episodes.read(column, start, stop)
    return torch.from_numpy(values)
