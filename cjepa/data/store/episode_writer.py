"""Writes episode and token files: the HDF5 layout of stable-worldmodel, with checksums and provenance.

One flat dataset per column over all steps of all episodes, plus ``ep_len`` and ``ep_offset``. Attributes carry the
format, where the data come from, a CRC32 for each episode and column, and a fingerprint of it all.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from cjepa import __version__
from cjepa.data.store.attributes import VERSION, attributes_checksum, stored_attributes
from cjepa.data.store.checksums import column_kinds, content_fingerprint, crc32
from cjepa.data.store.disk import HDF5Target, clear_errors, remove_abandoned
from cjepa.data.store.episodes import Episode
from cjepa.data.store.hdf5 import refuse_address

_ROWS_PER_SMALL_CHUNK = 4096
_SMALL_ROW_BYTES = 512


class EpisodeWriter:
    """Writes episodes to a ``.partial`` file beside ``path`` and moves it to ``path`` when closed without an error.

    Args:
        path: the file to make.
        format: ``cjepa-episodes`` or ``cjepa-tokens``.
        attributes: provenance; plain values, dicts are stored as JSON.
        shown: name for messages, where ``path`` is not yet what the user asked for.

    Raises:
        UserError: the disk is full, or nothing can be written there.
    """

    def __init__(self, path: str | Path, format: str, attributes: dict[str, Any], shown: Path | None = None):
        self.path = Path(path)
        self._shown = shown or self.path
        refuse_address(self.path)
        # A process writes under a name of its own: two that make the same file cannot spoil each other's.
        self._partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        with clear_errors(self._shown):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.path)
            self._target = HDF5Target(self._partial)
        self._file = h5py.File(self._target, "w", libver="latest")
        self.attributes: dict[str, Any] = {"format": format, "version": VERSION, "cjepa": __version__, **attributes}
        self._lengths: list[int] = []
        self._checksums: list[list[int]] = []
        # Kept open: a new handle has an empty cache, so HDF5 would recompress a chunk of small rows on every append.
        self._columns: dict[str, h5py.Dataset] = {}

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if error_type is None:
                self.close()
        finally:
            self._file.close()
            self._target.close()
            self._partial.unlink(missing_ok=True)

    def append(self, *episodes: Episode) -> None:
        """Add episodes; every column has the same number of rows, and the same columns every time.

        Several at once take HDF5 hardly longer than one.
        """
        lengths = [self._length(episode) for episode in episodes]
        start = sum(self._lengths)
        for name, column in self._columns.items():
            column.resize(start + sum(lengths), axis=0)
            column[start:] = np.concatenate([episode[name] for episode in episodes])
        with clear_errors(self._shown):
            self._target.check()
        self._lengths += lengths
        self._checksums += [[crc32(episode[name]) for name in self._columns] for episode in episodes]

    def _length(self, episode: Episode) -> int:
        """Rows of an episode; the first one decides the columns."""
        lengths = {len(values) for values in episode.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns of one episode differ in length: { {k: len(v) for k, v in episode.items()} }")
        if not self._columns:
            self._columns = {name: self._create_column(name, episode[name]) for name in sorted(episode)}
        if sorted(episode) != list(self._columns):
            raise ValueError(f"episode has columns {sorted(episode)}, but the file has {list(self._columns)}")
        return lengths.pop()

    def close(self) -> None:
        """Write the index, checksums and fingerprint, then move the file to its name."""
        lengths = np.array(self._lengths, np.int32)
        self._file["ep_len"] = lengths
        self._file["ep_offset"] = np.cumsum(lengths, dtype=np.int64) - lengths
        attributes = self._file.attrs
        for key, value in self.attributes.items():
            attributes[key] = json.dumps(value) if isinstance(value, dict | list) else value
        attributes["columns"] = json.dumps(list(self._columns))
        attributes["column_kinds"] = json.dumps(
            column_kinds({name: (column.shape, column.dtype) for name, column in self._columns.items()})
        )
        attributes["crc32"] = np.array(self._checksums, np.uint32).reshape(len(lengths), len(self._columns))
        attributes["fingerprint"] = content_fingerprint(list(self._columns), lengths, attributes["crc32"])
        attributes["attributes_crc32"] = attributes_checksum(stored_attributes(self._file))
        self._file.close()
        with clear_errors(self._shown):
            self._target.sync()
            os.replace(self._partial, self.path)

    def _create_column(self, name: str, values: np.ndarray) -> h5py.Dataset:
        row, dtype = values.shape[1:], values.dtype
        chunks = (rows_per_chunk(row, dtype), *row)
        return self._file.create_dataset(
            name, (0, *row), dtype, maxshape=(None, *row), chunks=chunks, **hdf5plugin.LZ4()
        )


def rows_per_chunk(row: tuple[int, ...], dtype: np.dtype) -> int:
    """How many rows of this shape are compressed together; 1 for frames, so that a clip decompresses no others."""
    return 1 if math.prod(row) * dtype.itemsize > _SMALL_ROW_BYTES else _ROWS_PER_SMALL_CHUNK
