"""Reads episode and token files, checks what it reads, and refuses what was not written so.

The layout is described where it is written, in :mod:`cjepa.data.store.episode_writer`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cjepa.data.store.attributes import FORMATS, VERSION, attributes_checksum, check_attributes, stored_attributes
from cjepa.data.store.checksums import column_kinds, content_fingerprint, crc32
from cjepa.data.store.episodes import IDENTITY_COLUMNS, DamagedEpisode, Episodes
from cjepa.data.store.hdf5 import address_of, check_columns, open_hdf5, read_index
from cjepa.errors import UserError
from cjepa.shell import as_typed

_INDEX = ("ep_len", "ep_offset")
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises when bytes of a file are not what they should be."""


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
        self.attributes = stored_attributes(file)
        stored = self.attributes.get("attributes_crc32")
        self.attributes_intact: bool = stored in (None, attributes_checksum(self.attributes))
        if self.attributes.get("format") not in FORMATS:
            raise UserError(
                f"{self.path}: format is {self.attributes.get('format')!r}, expected one of {FORMATS}; for a file of "
                f"stable-worldmodel type `{as_typed('cjepa', 'convert', self.path)} NEW.h5 --from swm-hdf5`"
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
        names, found_kinds = self.checksummed_columns, column_kinds(self.columns)
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
        first, last = self.episode_of(np.array([start, stop - 1]))
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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
