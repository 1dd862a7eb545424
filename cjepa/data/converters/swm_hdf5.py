"""HDF5 files of stable-worldmodel: the layout is ours, the checksums and provenance are not there yet."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.columns import label_images, resize_images
from cjepa.data.store.attributes import FORMATS
from cjepa.data.store.episodes import Episode
from cjepa.data.store.hdf5 import MOST_ROWS, check_columns, open_hdf5, read_index
from cjepa.errors import UserError

INDEX = ("ep_len", "ep_offset")


def check_lengths(where: Path, lengths: np.ndarray) -> None:
    """Refuse episodes without rows, and of more rows than there can be."""
    wrong = (lengths < 1) | (lengths > MOST_ROWS)
    if wrong.any():
        episode = int(np.argmax(wrong))
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
            self.file = open_hdf5(source)
            names, written_by = list(self.file), str(self.file.attrs.get("format"))
            check_columns(source, self.file)
            index = None if written_by in FORMATS else read_index(source, self.file)
        except UserError:
            raise
        except (OSError, RuntimeError, KeyError) as error:  # also ep_len in a compression that is not known here
            raise UserError(f"{source}: not a readable HDF5 file ({error})") from None
        if index is None:
            raise UserError(f"{source}: already written by cjepa; it needs no conversion")
        self.lengths, self.offsets = index
        check_lengths(source, self.lengths)
        order = np.argsort(self.offsets)
        if not np.array_equal(self.offsets[order], np.cumsum(self.lengths[order]) - self.lengths[order]):
            raise UserError(
                f"{source}: episodes overlap or rows belong to no episode; every row must belong to one episode"
            )
        self.columns = [name for name in names if name not in INDEX and self._can_be_stored(name)]

    def _can_be_stored(self, name: str) -> bool:
        column = self._column(name)
        if len(column) != self.total_frames:
            rows = f"column {name!r} has {len(column)} rows, but the episodes have {self.total_frames}"
            raise UserError(f"{self.source}: {rows}")
        if column.dtype.kind not in "biuf":
            self.left_out.append(name)
        return column.dtype.kind in "biuf"

    @property
    def total_frames(self) -> int:
        return int(self.lengths.sum())

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        for index in range(len(self.lengths)):
            yield f"episode {index}", partial(self._episode, index)

    def _episode(self, index: int) -> Episode:
        start, length = int(self.offsets[index]), int(self.lengths[index])
        rows = {name: self._read(name, start, start + length) for name in self.columns}
        if "masks" in rows:
            rows["masks"] = label_images(f"{self.source}: episode {index}, column 'masks'", rows["masks"])
        return {name: resize_images(name, values, self.image_size) for name, values in rows.items()}

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        column = self._column(name)
        try:
            return column[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            rows = f"column {name!r}, rows {start} to {stop}"
            raise UserError(f"{self.source}: {rows} cannot be read ({error})") from None

    def _column(self, name: str) -> h5py.Dataset | h5py.Group:
        try:
            return self.file[name]
        except (OSError, RuntimeError, KeyError) as error:
            raise UserError(f"{self.source}: column {name!r} cannot be read ({error})") from None
