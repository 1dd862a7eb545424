"""One process at a time in a folder; whoever starts second is told which process works there."""

import errno
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from cjepa.errors import UserError
from cjepa.files import read_json, refuse_file, write_json

_LOCK, _HOLDER = ".lock", ".holder.json"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def only_process(folder: Path, what: str) -> Iterator[None]:
    """Hold ``folder`` while the block runs; the system releases it when the process is killed.

    A file system that grants no locks gets a file that only one process can create instead; filelock removes the
    file of a process that has ended on this machine, and the message says how to go on after one on another machine.

    Args:
        folder: made if it is missing.
        what: is being done there, for the message.

    Raises:
        UserError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder, what)
    holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        write_json(folder / _HOLDER, holder)
        yield
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        lock.release()


def refuse_busy(folder: Path, what: str) -> None:
    """Keep a command from judging by files that another process is writing.

    Args:
        folder: see :func:`only_process`; nothing is made.
        what: see :func:`only_process`.

    Raises:
        UserError: another process holds the folder.
    """
    if (folder / _LOCK).exists():
        _acquire(folder, what).release()


def refuse_foreign(folder: Path, names: Sequence[str], option: str) -> None:
    """Keep a command from writing over files that no command of ours made.

    Args:
        folder: to write to.
        names: of the files that the command writes.
        option: of the command line that names another folder, for the error.

    Raises:
        UserError: one of the files is there, and :func:`only_process` never held this folder; or a file is in place of
            the folder.
    """
    refuse_file(folder, option)
    found = [name for name in names if (folder / name).exists()]
    if found and not (folder / _LOCK).exists():
        raise UserError(
            f"{folder / found[0]} exists and was not made by this command; choose another {option}, or move the file"
        )


def _acquire(folder: Path, what: str) -> BaseFileLock:
    lock: BaseFileLock = FileLock(folder / _LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(folder / ".lock.created")
            lock.acquire(timeout=0)
    except Timeout:
        mend = "wait for that process, or stop it"
        if isinstance(lock, SoftFileLock):
            mend += f"; if it has ended, delete {lock.lock_file} (this file system grants no locks)"
        raise UserError(f"{folder}: {what} already runs, {_holder(folder)}; {mend}") from None
    return lock


def _holder(folder: Path) -> str:
    try:
        found = read_json(folder / _HOLDER)
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (UserError, LookupError, TypeError):  # not written yet, or just removed
        return "in another process"
