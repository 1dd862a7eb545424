"""Rows of a column in any order, many times faster than HDF5 hands them out one by one.

Most of what HDF5 spends on a single row goes into finding its chunk and passing it through a cache. Where a chunk is
one row, the places of all chunks are listed once; rows are then read and decompressed without HDF5.
"""

import math
import os
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5py
import lz4.block
import numpy as np

from cjepa.data.store.checksums import crc32
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import rows_per_chunk
from cjepa.data.store.hdf5 import address_of, open_hdf5
from cjepa.errors import UserError

_LZ4_FILTER = 32004
_LZ4_HEADER = 16  # bytes before the compressed row: size of the row (8), of a block (4), of the compressed block (4)
_UNREADABLE = (lz4.block.LZ4BlockError, ValueError)  # ValueError: what comes out is too short

HDF5_LOCK = threading.Lock()
"""Held by threads that read through HDF5, which lets in one at a time anyway, or that open and close its files."""


class _Chunks(NamedTuple):
    """Where the chunk of each row is in the file, int64 (rows,)."""

    offset: np.ndarray
    size: np.ndarray


class FrameReader:
    """Random access to one column of an episode file; may be handed to other processes, forked or spawned.

    Every column can be read; fast are those of one row a chunk, which is how :class:`EpisodeWriter` stores frames. An
    episode is checked against its checksum when one of its rows is read for the first time. Memory: 16 bytes a row.

    Args:
        file: the episodes.
        column: its name.

    Raises:
        UserError: no such column.
    """

    def __init__(self, file: EpisodeFile, column: str):
        if column not in file.columns:
            raise UserError(f"{file.path}: no column {column!r}; it has {sorted(file.columns)}")
        self.file, self.column = file, column
        shape, self._dtype = file.columns[column]
        self._row_shape = shape[1:]
        self._chunks = _single_row_chunks(file.path, column)
        self._checked = np.zeros(len(file), bool)
        self._handle: BinaryIO | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_handle": None}

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows, counted over the whole file, in any order and as often as wanted -> ``(len(rows), ...)``.

        Raises:
            UserError: a row is not what was written.
        """
        self._check_episodes_of(rows)
        values = np.empty((len(rows), *self._row_shape), self._dtype)
        order = np.argsort(rows, kind="stable")  # the file is read from front to back
        if self._chunks is None:
            self._read_runs(rows[order], order, values)
        else:
            self._read_in_order(rows[order], order, values)
        return values

    def episode(self, index: int) -> np.ndarray:
        """All rows of one episode, checked every time; several threads may ask at once.

        Raises:
            DamagedEpisode: its rows are not what was written.
        """
        values = None if self._chunks is None else self._unchecked_episode(index)
        if values is None or not self._is_intact(index, values):
            with HDF5_LOCK:
                return self.file.episode(index, [self.column])[self.column]  # it says what is wrong, if anything is
        self._checked[index] = True
        return values

    def _unchecked_episode(self, index: int) -> np.ndarray | None:
        rows = self.file.offsets[index] + np.arange(self.file.lengths[index])
        values = np.empty((len(rows), *self._row_shape), self._dtype)
        try:
            with open(self.file.path, "rb", buffering=0) as handle:
                self._decompress(handle, rows, np.arange(len(rows)), values)
        except (*_UNREADABLE, OSError):
            return None
        return values

    def _is_intact(self, index: int, values: np.ndarray) -> bool:
        columns = self.file.checksummed_columns
        return self.column not in columns or crc32(values) == self.file.checksums[index, columns.index(self.column)]

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        self.file.close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _check_episodes_of(self, rows: np.ndarray) -> None:
        episodes = np.unique(self.file.episode_of(rows))
        for episode in episodes[~self._checked[episodes]]:
            self.file.episode(episode, [self.column])  # whatever the file reads it checks
            self._checked[episode] = True

    def _read_runs(self, rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        """Read rows in rising order through HDF5, neighbours at once: a chunk takes as long as one of its rows."""
        is_far = np.diff(rows) > rows_per_chunk(self._row_shape, self._dtype)
        is_far |= np.diff(self.file.episode_of(rows)) > 0  # what is between may be of a damaged episode
        for run in np.split(np.arange(len(rows)), np.flatnonzero(is_far) + 1) if len(rows) else ():
            first, last = rows[run[0]], rows[run[-1]]
            values[places[run]] = self.file.read(self.column, first, last + 1)[rows[run] - first]

    def _read_in_order(self, rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        if self._handle is None:
            self._handle = open(self.file.path, "rb", buffering=0)
        try:
            self._decompress(self._handle, rows, places, values)
        except _UNREADABLE as error:
            raise UserError(
                f"{self.file.path}: column {self.column!r} has changed since it was opened ({error})"
            ) from None

    def _decompress(self, handle: BinaryIO, rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        size = math.prod(self._row_shape) * self._dtype.itemsize
        out = memoryview(values.reshape(-1).view(np.uint8))
        starts, lengths = (part[rows].tolist() for part in self._chunks)
        for place, start, length in zip((places * size).tolist(), starts, lengths, strict=True):
            out[place : place + size] = _row_of_chunk(handle, start, length, size)


def _row_of_chunk(handle: BinaryIO, start: int, length: int, size: int) -> bytes:
    # pread leaves the file's position alone, which forked processes share
    packed = os.pread(handle.fileno(), length - _LZ4_HEADER, start + _LZ4_HEADER)
    # the filter stores what does not get smaller as it is
    return packed if len(packed) == size else lz4.block.decompress(packed, uncompressed_size=size)


def _single_row_chunks(path: Path, column: str) -> _Chunks | None:
    """The chunks of a column that has one row a chunk, each one LZ4 block; None for any other column or elsewhere."""
    if address_of(path) is not None:
        return None
    with open_hdf5(path) as file:
        dataset = file[column]
        pipeline = dataset.id.get_create_plist()
        filters = [pipeline.get_filter(index)[0::2] for index in range(pipeline.get_nfilters())]
        if dataset.chunks is None or dataset.chunks[0] != 1 or filters != [(_LZ4_FILTER, (0,))]:
            return None
        chunks = _Chunks(np.zeros(len(dataset), np.int64), np.zeros(len(dataset), np.int64))

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            if chunk.filter_mask == 0:  # else HDF5 stored it unfiltered
                row = chunk.chunk_offset[0]
                chunks.offset[row], chunks.size[row] = chunk.byte_offset, chunk.size

        dataset.id.chunk_iter(note)
    return chunks if chunks.size.all() else None
