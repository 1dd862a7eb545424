"""What every data set of episodes or tokens can do, be it one file or several."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cjepa.errors import UserError

Episode = dict[str, np.ndarray]
"""Column name -> array (env steps, ...)."""


IDENTITY_COLUMNS = ("action", "proprio", "state")
"""Columns that tell episodes apart, whatever they look like; token files carry them too."""

COLUMN_DTYPES = {
    "pixels": ("uint8",),
    "masks": ("uint8",),
    "contacts": ("uint8",),
    "action": ("float32",),
    "proprio": ("float32",),
    "state": ("float32",),
    "objects": ("float32",),
    "tokens": ("float16", "float32"),
}
"""Of the columns that have a meaning of their own; the last one takes what is converted from another dtype."""


class Unavailable(UserError):
    """A file that cannot be read now, whatever is in it."""


class DamagedEpisode(UserError):
    """Rows of an episode are not what was written.

    Args:
        path: the file.
        episode: its index in that file.
        column: where the damage is.
        reason: what was found.
        index: of the episode in the data set that it was read from, where that is several files.
    """

    def __init__(self, path: Path, episode: int, column: str, reason: str, index: int | None = None):
        self.path, self.episode, self.column, self.reason = path, episode, column, reason
        self.index = episode if index is None else index
        super().__init__(
            f"{path}: episode {episode}, column {column!r}: {reason}; make the file again, or leave the episode out: "
            f"`cjepa fit` has --data.init_args.exclude_episodes [{self.index}], "
            f"`cjepa tokenize` --exclude_episodes [{self.index}]"
        )

    def __reduce__(self):
        return type(self), (self.path, self.episode, self.column, self.reason, self.index)


class Episodes(ABC):
    """Read access to episodes or tokens, whether they are in one file or in several."""

    path: Path
    attributes: dict[str, Any]
    lengths: np.ndarray
    """Env steps of each episode."""
    offsets: np.ndarray
    """The first row of each episode."""
    columns: dict[str, tuple[tuple[int, ...], np.dtype]]
    """Shape and dtype over all rows."""
    fingerprint: str

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def env_steps(self) -> int:
        """Rows over all episodes."""
        return int(self.lengths.sum())

    @property
    @abstractmethod
    def identities(self) -> list[int]:
        """A number below 2**48 for each episode, which depends on its ``IDENTITY_COLUMNS`` alone.

        Two files have a number in common when both hold the same episode, drawn in any size or as tokens. An episode
        without rows has 0, and so has every episode of a file without such columns.
        """

    @abstractmethod
    def read(self, column: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop`` of a column, counted over all episodes.

        An episode is checked against its checksum when one of its rows is read for the first time.

        Raises:
            UserError: there is no such column.
            DamagedEpisode: the rows are not what was written.
        """

    def episode_of(self, row_N: np.ndarray) -> np.ndarray:
        """Indices of the episodes that rows are in, ``(N,)``."""
        return np.searchsorted(self.offsets, row_N, side="right") - 1

    def episode(self, index: int, columns: Iterable[str] | None = None) -> Episode:
        """All rows of one episode for the named columns (default: all)."""
        start = int(self.offsets[index])
        stop = start + int(self.lengths[index])
        return {name: self.read(name, start, stop) for name in (columns or self.columns)}

    def episodes(self, columns: Iterable[str] | None = None) -> Iterator[Episode]:
        """All episodes in order."""
        return (self.episode(index, columns) for index in range(len(self)))

    def require(self, column: str) -> None:
        """Raise a UserError unless there is such a column."""
        if column not in self.columns:
            raise UserError(f"{self.path}: no column {column!r}; it has {sorted(self.columns)}")
