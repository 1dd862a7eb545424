"""Episode and token files: the HDF5 layout of stable-worldmodel, with checksums and provenance.

One flat dataset per column over all steps of all episodes, plus ``ep_len`` and ``ep_offset``. Attributes carry the
format, where the data come from, a CRC32 for each episode and column, and a fingerprint of it all.
"""

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from cjepa import __version__
from cjepa.data.store.attributes import check_attributes
from cjepa.data.store.disk import HDF5Target, clear_errors, remove_abandoned
from cjepa.data.store.episodes import IDENTITY_COLUMNS, DamagedEpisode, Episode, Episodes
from cjepa.data.store.hdf5 import address_of, check_columns, open_hdf5, read_index, refuse_address
from cjepa.errors import UserError

FORMATS = ("cjepa-episodes", "cjepa-tokens")
VERSION = 1
_ROWS_PER_SMALL_CHUNK = 4096
_SMALL_ROW_BYTES = 512
_INDEX = ("ep_len", "ep_offset")

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises when bytes of a file are not what they should be."""


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
            _kinds({name: (column.shape, column.dtype) for name, column in self._columns.items()})
        )
        attributes["crc32"] = np.array(self._checksums, np.uint32).reshape(len(lengths), len(self._columns))
        attributes["fingerprint"] = content_fingerprint(list(self._columns), lengths, attributes["crc32"])
        attributes["attributes_crc32"] = attributes_checksum(_attributes(self._file))
        self._file.close()
        with clear_errors(self._shown):
            self._target.sync()
            os.replace(self._partial, self.path)

    def _create_column(self, name: str, values: np.ndarray) -> h5py.Dataset:
        # A frame is a chunk of its own: random clips then decompress nothing that they do not need.
        row = values.shape[1:]
        row_bytes = int(np.prod(row)) * values.dtype.itemsize
        rows_per_chunk = 1 if row_bytes > _SMALL_ROW_BYTES else _ROWS_PER_SMALL_CHUNK
        return self._file.create_dataset(
            name, (0, *row), values.dtype, maxshape=(None, *row), chunks=(rows_per_chunk, *row), **hdf5plugin.LZ4()
        )


class EpisodeFile(Episodes):
    """One episode or token file; opened on first use, so that it can cross process borders.

    Args:
        path: an ``.h5`` file written by this project, or its address for fsspec.

    Raises:
        UserError: the file is missing, in use or damaged, is not HDF5, or is of another format or version.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._handle: h5py.File | None = None
        try:
            with self._open() as file:
                self._read_index(file)
        except _DAMAGE as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path}: its index is damaged ({_line(error)})") from None

    def _read_index(self, file: h5py.File) -> None:
        self.attributes = _attributes(file)
        stored = self.attributes.get("attributes_crc32")
        self.attributes_intact: bool = stored in (None, attributes_checksum(self.attributes))
        if self.attributes.get("format") not in FORMATS:
            raise UserError(
                f"{self.path}: format is {self.attributes.get('format')!r}, expected one of {FORMATS}; for a file of "
                f"stable-worldmodel type `cjepa convert {self.path} NEW.h5 --from swm-hdf5`"
            )
        if self.attributes.get("version") != VERSION:
            raise UserError(
                f"{self.path}: has version {self.attributes.get('version')}, but this cjepa reads version {VERSION}"
            )
        check_attributes(self.path, self.attributes)
        check_columns(self.path, file)
        self.lengths, self.offsets = read_index(self.path, file)
        self.columns = {k: (v.shape, v.dtype) for k, v in file.items() if k not in _INDEX}
        self.fingerprint = self.attributes["fingerprint"]
        self.checksums: np.ndarray = self.attributes.pop("crc32")
        """uint32 (episodes, columns)."""
        self.checksummed_columns: list[str] = json.loads(self.attributes.pop("columns"))
        self.attributes.pop("attributes_crc32", None)
        self._check_index(json.loads(self.attributes.pop("column_kinds", "{}")))
        self._checked = np.zeros(self.checksums.shape, bool)

    def _check_index(self, kinds: dict[str, Any]) -> None:
        """Raise a UserError unless lengths, columns and checksums belong together, as they were written."""
        names, found_kinds = self.checksummed_columns, _kinds(self.columns)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{self.path}: its index is damaged (columns is {str(names)[:80]}, expected names)")
        if self.checksums.shape != (len(self), len(names)) or self.checksums.dtype.kind not in "iu":
            found, expected = self.checksums.shape, (len(self), len(names))
            raise UserError(f"{self.path}: checksums for {found} episodes x columns, expected {expected}")
        starts = np.cumsum(self.lengths) - self.lengths
        if len(wrong := np.flatnonzero(self.offsets != starts)):
            first = wrong[0]
            raise UserError(
                f"{self.path}: episode {first}: ep_offset is {self.offsets[first]}, but the lengths before add up to "
                f"{starts[first]}"
            )
        for name, (shape, dtype) in self.columns.items():
            if dtype.kind not in "biuf":
                raise UserError(f"{self.path}: column {name!r} holds {dtype}, expected numbers")
            if shape[0] != self.env_steps:
                total = f"the episodes have {self.env_steps} rows in all"
                raise UserError(f"{self.path}: column {name!r} has shape {shape}, but {total}")
            if name in kinds and kinds[name] != found_kinds[name]:
                raise UserError(f"{self.path}: column {name!r} holds {found_kinds[name]}, was written as {kinds[name]}")
        if self.fingerprint != content_fingerprint(names, self.lengths, self.checksums):
            raise UserError(
                f"{self.path}: its index is damaged (the fingerprint does not match the lengths, columns and checksums "
                "of its episodes); copy it or make it again"
            )

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_handle": None}

    @property
    def identities(self) -> list[int]:
        """See :attr:`Episodes.identities`."""
        used = [index for index, name in enumerate(self.checksummed_columns) if name in IDENTITY_COLUMNS]
        rows = np.ascontiguousarray(self.checksums[:, used], "<u4")
        return [
            int(hashlib.sha256(row.tobytes()).hexdigest()[:12], 16) if used and length else 0
            for row, length in zip(rows, self.lengths, strict=True)
        ]

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def read(self, column: str, start: int, stop: int) -> np.ndarray:
        """See :meth:`Episodes.read`."""
        self.require(column)
        values = self._rows(column, start, stop)
        if column in self.checksummed_columns:
            self._check(column, start, stop, values)
        return values

    def _rows(self, column: str, start: int, stop: int) -> np.ndarray:
        if self._handle is None:
            self._handle = self._open()
        try:
            return self._handle[column][start:stop]
        except _DAMAGE as error:
            episodes = self._episodes_of(start, stop)
            if len(episodes) == 1:
                reason = f"cannot be read ({_line(error)})"
                raise DamagedEpisode(self.path, episodes[0], column, reason) from None
            for episode in episodes:  # the first that cannot be read raises
                self._rows(column, *self._span(episode))
            raise UserError(f"{self.path}: column {column!r} cannot be read ({_line(error)})") from None

    def _check(self, column: str, start: int, stop: int, values: np.ndarray) -> None:
        index = self.checksummed_columns.index(column)
        for episode in self._episodes_of(start, stop):
            if self._checked[episode, index]:
                continue
            low, high = self._span(episode)
            inside = start <= low and high <= stop
            whole = values[low - start : high - start] if inside else self._rows(column, low, high)
            if crc32(whole) != self.checksums[episode, index]:
                raise DamagedEpisode(self.path, episode, column, "the checksum does not match")
            self._checked[episode, index] = True

    def _span(self, episode: int) -> tuple[int, int]:
        low = int(self.offsets[episode])
        return low, low + int(self.lengths[episode])

    def _episodes_of(self, start: int, stop: int) -> range:
        if stop <= start:
            return range(0)
        first, last = np.searchsorted(self.offsets, [start, stop - 1], side="right") - 1
        return range(max(int(first), 0), int(last) + 1)

    def _open(self) -> h5py.File:
        if self.path.is_dir():
            raise UserError(f"{self.path}: is a folder, expected one file")
        if address_of(self.path) is None and not self.path.is_file():
            raise UserError(
                f"{self.path}: no such file; `cjepa collect` makes episode files, `cjepa tokenize` makes token files"
            )
        try:
            return open_hdf5(self.path)
        except OSError as error:
            what = "is cut short" if "truncated" in str(error) else "is not a readable HDF5 file"
            raise UserError(f"{self.path} {what} ({_line(error)}); copy it or make it again") from None


def crc32(values: np.ndarray) -> int:
    """CRC32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(values).data)


def content_fingerprint(columns: list[str], lengths: np.ndarray, checksums: np.ndarray) -> str:
    """16 hex digits that change with any value of any episode, and with nothing else."""
    digest = hashlib.sha256(json.dumps(columns).encode())
    digest.update(lengths.astype("<i4").tobytes())
    digest.update(np.asarray(checksums).astype("<u4").tobytes())
    return digest.hexdigest()[:16]


def attributes_checksum(attributes: dict[str, Any]) -> int:
    """CRC32 of what a file says of itself; HDF5 itself would not notice that a letter of it has changed."""
    said = {key: value for key, value in attributes.items() if key not in ("crc32", "columns", "attributes_crc32")}
    return zlib.crc32(json.dumps(said, sort_keys=True, default=repr).encode())


def _kinds(columns: dict[str, tuple[tuple[int, ...], np.dtype]]) -> dict[str, str]:
    """What one row of each column is, which a checksum of bytes does not notice."""
    return {name: f"{dtype.str} {list(shape[1:])}" for name, (shape, dtype) in columns.items()}


def _attributes(file: h5py.File) -> dict[str, Any]:
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
