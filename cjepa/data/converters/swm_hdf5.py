"""HDF5 files of stable-worldmodel: the layout is ours, the checksums and provenance are not there yet."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (filters that such files may use)
import numpy as np

from cjepa.data.converters.base import Converter, resize_images
from cjepa.data.store.episode_file import FORMATS, Episode
from cjepa.errors import UserError

INDEX = ("ep_len", "ep_offset")


def check_lengths(where: Path, lengths: np.ndarray) -> None:
    """Refuse episodes without rows."""
    if (lengths < 1).any():
        episode = int(np.argmax(lengths < 1))
        raise UserError(f"{where}: ep_len of episode {episode} is {lengths[episode]}, expected at least 1")


class SwmHDF5(Converter):
    """One dataset a column over all steps, ``ep_len`` and ``ep_offset``; columns of text are left out.

    Args:
        source: the ``.h5`` file.
        image_size: side of the square images to make, 0 for those of the file.
    """

    name = "swm-hdf5"
    # An episode's first action and reward are not there yet when it is recorded; actions are moved up by one row.
    placeholders = {"action": -1, "reward": 0}

    def __init__(self, source: Path, image_size: int = 0):
        super().__init__(source)
        self.image_size = image_size
        try:
            self.file = h5py.File(source, "r")
            names, written_by = list(self.file), self.file.attrs.get("format")
        except (OSError, RuntimeError, KeyError) as error:
            raise UserError(f"{source}: not a readable HDF5 file ({error})") from None
        if written_by in FORMATS:
            raise UserError(f"{source}: already written by cjepa; it needs no conversion")
        if missing := [name for name in INDEX if name not in names]:
            found = ", ".join(names) or "nothing"
            raise UserError(f"{source}: no {missing[0]!r}; expected columns with ep_len and ep_offset, found {found}")
        self.lengths, self.offsets = (self._index(name) for name in INDEX)
        check_lengths(source, self.lengths)
        if len(self.lengths) != len(self.offsets) or (self.offsets < 0).any():
            raise UserError(f"{source}: ep_offset {self.offsets.shape} does not match ep_len {self.lengths.shape}")
        order = np.argsort(self.offsets)
        if not np.array_equal(self.offsets[order], np.cumsum(self.lengths[order]) - self.lengths[order]):
            raise UserError(
                f"{source}: episodes overlap or rows belong to no episode; every row must belong to one episode"
            )
        self.columns = [name for name in names if name not in INDEX and self._can_be_stored(name)]

    def _index(self, name: str) -> np.ndarray:
        column = self._column(name)
        if not isinstance(column, h5py.Dataset) or column.ndim != 1 or column.dtype.kind not in "iu":
            raise UserError(f"{self.source}: {name} is {column}, expected a list of integers")
        return self._read(name, 0, len(column)).astype(np.int64)

    def _can_be_stored(self, name: str) -> bool:
        column = self._column(name)
        if not isinstance(column, h5py.Dataset) or not column.shape:
            raise UserError(
                f"{self.source}: {name!r} is {column}; expected one dataset per column with one row per env step"
            )
        if len(column) != self.total_frames:
            rows = f"column {name!r} has {len(column)} rows, but the episodes have {self.total_frames}"
            raise UserError(f"{self.source}: {rows}")
        if column.dtype.kind not in "biuf":
            self.left_out.append(name)
        return column.dtype.kind in "biuf"

    @property
    def total_frames(self) -> int:
        return int(self.lengths.sum())

    def episodes(self) -> Iterator[tuple[str, Episode]]:
        for index, (start, length) in enumerate(zip(self.offsets, self.lengths, strict=True)):
            yield f"episode {index}", {name: self._read(name, start, start + length) for name in self.columns}

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        column = self._column(name)
        try:
            return resize_images(name, column[start:stop], self.image_size)
        except (OSError, RuntimeError, ValueError) as error:
            rows = f"column {name!r}, rows {start} to {stop}"
            raise UserError(f"{self.source}: {rows} cannot be read ({error})") from None

    def _column(self, name: str) -> h5py.Dataset | h5py.Group:
        try:
            return self.file[name]
        except (OSError, RuntimeError, KeyError) as error:
            raise UserError(f"{self.source}: column {name!r} cannot be read ({error})") from None
