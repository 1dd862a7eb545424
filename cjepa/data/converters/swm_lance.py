"""stable-worldmodel's Lance format: one table, a row a step, pictures as JPEG."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cjepa.configuration.class_paths import optional
from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.swm_hdf5 import SwmHDF5
from cjepa.data.converters.tables import BATCH_ROWS, RowReader, clear_errors, images, label_pictures, numbers
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_EPISODE, _STEP = "episode_idx", "step_idx"


class SwmLance(Converter):
    """Columns ``episode_idx`` and ``step_idx``, pictures as binary, numbers as lists; columns of text are left out.

    Args:
        source: the ``.lance`` folder, or a folder with one of them.
        image_size: side of the square frames, 0 for that of the pictures.
    """

    name = "swm-lance"
    placeholders = SwmHDF5.placeholders

    def __init__(self, source: Path, image_size: int = 0):
        super().__init__(source)
        self.image_size = image_size
        lance, types = optional("lance", "lance"), optional("pyarrow.types", "lance")
        self.path = _table_of(source)
        with clear_errors(self.path, "Lance dataset"):
            self.table = lance.dataset(str(self.path))
            self._rows = self.table.count_rows()
            fields = {field.name: field.type for field in self.table.schema}
        if _EPISODE not in fields:
            raise UserError(f"{self.path}: no column {_EPISODE!r}; expected it beside {', '.join(fields)}")
        self.has_steps = _STEP in fields
        self.pictures, self.columns = [], []
        for name, kind in fields.items():
            if types.is_binary(kind) or types.is_large_binary(kind):
                self.pictures.append(name)
            elif types.is_string(kind) or types.is_large_string(kind):
                self.left_out.append(name)
            elif name not in (_EPISODE, _STEP):
                self.columns.append(name)
        if not self.pictures and self.path.with_name(f"{self.path.stem}_videos.lance").exists():
            raise UserError(
                f"{self.path}: its frames are in a separate table of videos; export it as swm-video or HDF5"
            )

    @property
    def total_frames(self) -> int:
        return self._rows

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        steps = [_STEP] if self.has_steps else []
        rows = RowReader(str(self.path), self._batches([*self.columns, *steps, *self.pictures]))
        for index, length in enumerate(self._lengths()):
            yield f"episode {index}", partial(self._episode, index, rows.read(length))

    def _episode(self, index: int, table: "pa.Table") -> Episode:
        where, length = f"{self.path}: episode {index}", len(table)
        names = [name for name in table.column_names if name not in self.pictures]
        columns = {name: numbers(f"{where}, column {name!r}", table[name]) for name in names}
        if not np.array_equal(columns.pop(_STEP, np.arange(length)), np.arange(length)):
            raise UserError(
                f"{where}: its {_STEP} does not run from 0 to {length - 1}; rows are missing or out of order"
            )
        for name in self.pictures:
            blobs = (value.as_py() for value in table[name])
            decode = label_pictures if name == "masks" else images
            columns[name] = decode(f"{where}, column {name!r}", blobs, self.image_size)
        return columns

    def _batches(self, columns: list[str]) -> Iterator:
        with clear_errors(self.path, "Lance dataset"):
            yield from self.table.scanner(columns=columns, batch_size=BATCH_ROWS, scan_in_order=True).to_batches()

    def _lengths(self) -> Iterator[int]:
        """Rows of each episode, from a scan of one column beside the one that reads the data."""
        current, length = None, 0
        for batch in self._batches([_EPISODE]):
            episodes = numbers(f"{self.path}: column {_EPISODE!r}", batch.column(0))
            for episode, count in zip(*_runs(episodes), strict=True):
                if current is not None and episode < current:
                    raise UserError(
                        f"{self.path}: {_EPISODE} decreases from {current} to {episode}; rows are out of order"
                    )
                if current is not None and episode != current:
                    yield length
                    length = 0
                current, length = episode, length + count
        if length:
            yield length


def _runs(values: np.ndarray) -> tuple[list[int], list[int]]:
    """Each value that differs from the one before it, and how often it stands there."""
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
    return values[starts].tolist(), np.diff(np.append(starts, len(values))).tolist()


def _table_of(source: Path) -> Path:
    if source.suffix == ".lance":
        return source
    found = [path for path in sorted(source.glob("*.lance")) if not path.stem.endswith("_videos")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{source}: expected one .lance folder in this folder, found {names}; give one of them")
    return found[0]
