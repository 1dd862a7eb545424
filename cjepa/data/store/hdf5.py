"""HDF5 files opened for reading, ours and other people's: nothing but plain columns of sizes that can be read."""

import errno
import logging
import re
from functools import cache
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (the filters of compressed columns)
import numpy as np

from cjepa.data.store.episodes import Unavailable
from cjepa.errors import UserError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_MOST_EPISODES = 10**8
MOST_ROWS = 10**10
"""Of one episode; sums then fit into 64 bits."""
_MOST_ROW_BYTES = 1 << 28
_MOST_CHUNK_BYTES = 1 << 30
"""HDF5 holds a whole chunk to read one row of it."""
_MOST_COMPRESSION = 5_000
"""Above what any filter reaches: what is declared beyond it was never written."""
_SMALL_BYTES = 1 << 30

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.DOTALL)

_log = logging.getLogger(__name__)


def address_of(path: Path) -> str | None:
    """What fsspec calls a file elsewhere, such as ``s3://bucket/a.h5``; None of a file of this machine.

    Args:
        path: made of the address, whose // it has as /.
    """
    match = _ADDRESS.fullmatch(str(path))
    if match is None or path.exists():
        return None
    return f"{match[1]}:{'///' if match[1] == 'file' else '//'}{match[2]}"


def refuse_address(path: Path) -> None:
    """Refuse to write there.

    Raises:
        UserError: ``path`` is an address.
    """
    if (address := address_of(path)) is not None:
        raise UserError(f"{address}: only reading works there; write to a path of this machine and copy the file")


def open_hdf5(path: Path) -> h5py.File:
    """``path`` for reading, a file of this machine or an address that fsspec knows.

    A file system that grants no locks is read without one, which is logged: no file of ours is ever changed in place.

    Raises:
        Unavailable: another program is writing the file.
        UserError: nothing is at the address, or a package to read from there is missing.
        OSError: not HDF5, or damaged.
    """
    if (address := address_of(path)) is not None:
        return _open_address(address)
    try:
        return h5py.File(path, "r")
    except BlockingIOError:
        raise Unavailable(f"{path}: another program is writing to this file; wait for it or stop it") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    _warn_once(path.parent)
    return h5py.File(path, "r", locking=False)


def _open_address(address: str) -> h5py.File:
    import fsspec

    try:
        return h5py.File(fsspec.open(address, "rb").open(), "r")
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise UserError(f"{address}: cannot be read ({' '.join(str(error).split()) or 'no such file'})") from None


@cache
def _warn_once(folder: Path) -> None:
    _log.warning(
        "%s: this file system grants no locks, so files are read without; HDF5_USE_FILE_LOCKING=FALSE silences this",
        folder,
    )


def check_columns(path: Path, file: h5py.File) -> None:
    """Refuse what leads to other files of this machine, and what no memory can hold, before anything is read.

    Raises:
        UserError: the column is named.
    """
    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
            raise UserError(f"{path}: column {name!r} is a link to another file; copy its values into this one")
        column = file[name]
        if not isinstance(column, h5py.Dataset):
            raise UserError(f"{path}: {name!r} is {column}; expected one dataset a column, a row a step")
        if column.external or column.is_virtual:
            raise UserError(f"{path}: column {name!r} is stored in other files; copy its values into this one")
        if not column.shape:
            raise UserError(f"{path}: {name!r} is {column}; expected one dataset a column, a row a step")
        _check_size(f"{path}: column {name!r}", column)


def read_index(path: Path, file: h5py.File) -> tuple[np.ndarray, np.ndarray]:
    """``ep_len`` and ``ep_offset``, int64 (episodes,).

    Raises:
        UserError: they are no lists of whole numbers, or not of the same length; the first wrong episode is named.
    """
    lengths, offsets = (_list(path, file, name) for name in ("ep_len", "ep_offset"))
    if len(offsets) != len(lengths):
        raise UserError(f"{path}: {len(offsets)} entries in ep_offset, but {len(lengths)} in ep_len")
    for name, values in (("ep_len", lengths), ("ep_offset", offsets)):
        wrong = np.flatnonzero((values < 0) | (values > MOST_ROWS * (1 if name == "ep_len" else _MOST_EPISODES)))
        if len(wrong):
            raise UserError(f"{path}: episode {wrong[0]}: {name} is {values[wrong[0]]}")
    return lengths, offsets


def _list(path: Path, file: h5py.File, name: str) -> np.ndarray:
    if name not in file:
        raise UserError(f"{path}: no {name!r}; expected columns with ep_len and ep_offset, found {', '.join(file)}")
    column = file[name]
    if column.ndim != 1 or column.dtype.kind not in "iu" or len(column) > _MOST_EPISODES:
        raise UserError(f"{path}: {name} is {column.dtype} {column.shape}, expected a list of integers")
    return column[:].astype(np.int64)


def _check_size(where: str, column: h5py.Dataset) -> None:
    row = int(np.prod(column.shape[1:], dtype=object)) * column.dtype.itemsize
    if row > _MOST_ROW_BYTES:
        raise UserError(f"{where}: {column.shape[1:]} of {column.dtype} in one row, {row >> 20:,} MB; at most 256 MB")
    chunk = int(np.prod(column.chunks or 0, dtype=object)) * column.dtype.itemsize
    if chunk > _MOST_CHUNK_BYTES:
        raise UserError(f"{where}: chunks of shape {column.chunks}, {chunk >> 20:,} MB each; at most 1,024 MB")
    declared, stored = row * column.shape[0], column.id.get_storage_size()
    if declared > _SMALL_BYTES and declared > stored * _MOST_COMPRESSION:
        raise UserError(f"{where}: {column.shape} declared, but only {stored:,} bytes are stored")
