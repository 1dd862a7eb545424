"""Disks that are full, folders that cannot be written to, files that others hold: one clear line, nothing lost."""

import errno
import glob
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cjepa.errors import UserError
from cjepa.files import is_alive

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK}


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn what the system refuses while ``path`` is opened or made into a UserError that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {_reason(path, error)}") from error


def _reason(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full; free some space, then repeat the command"
    if error.errno in _FORBIDDEN:
        return f"no permission to write in {path.parent}; choose another --out"
    if error.errno in _NO_FOLDER:
        return f"{path.parent} is not a folder; choose another --out"
    if error.errno in _HELD:
        return "another program is writing to this file; wait for it or stop it"
    return error.strerror or " ".join(str(error).split())


def remove_abandoned(path: Path) -> None:
    """Delete ``NAME.PID.partial`` beside ``path`` where the process PID, that was making it, has been killed."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        pid = partial.name.removeprefix(f"{path.name}.").removesuffix(".partial")
        if pid.isdecimal() and not is_alive(int(pid)):
            partial.unlink(missing_ok=True)


class HDF5Target(io.FileIO):
    """A new file for HDF5 to write to; HDF5 is never told that a write failed.

    HDF5 cannot close a file that it could not write, and brings the process down at its end. Here the first failure
    is kept, later writes go nowhere, and :meth:`check` raises it.

    Args:
        path: the file to make.
    """

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self._failure: OSError | None = None

    def write(self, data: memoryview) -> int:
        """All of ``data``, or nothing after a failure."""
        rest = memoryview(data)
        while self._failure is None and len(rest):
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self._failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """As files do, but for failures."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def check(self) -> None:
        """Raise the OSError of the first write that failed."""
        if self._failure is not None:
            raise self._failure

    def sync(self) -> None:
        """Have on disk what was written, whatever happens to the machine."""
        self.check()
        os.fsync(self.fileno())
