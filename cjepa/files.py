"""The one writer of files: a temporary name in the same folder, to disk, then the final name.

A kill, a full disk or a power cut leaves the old file or the new one, never half of one.
"""

import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.configuration.plain_values import check_plain, unreadable
from cjepa.errors import UserError

MAX_TEXT_BYTES = 256 << 20


def refuse_file(folder: Path, option: str) -> None:
    """Keep a command from making a folder where a file is, or within a file.

    Args:
        folder: to make.
        option: of the command line that names another folder, for the error.

    Raises:
        UserError: the folder, or one above it, is a file.
    """
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, expected a folder; choose another {option}")


@contextmanager
def new_folder(folder: Path, option: str) -> Iterator[Path]:
    """Give a temporary folder; rename it to ``folder`` if the block ends without an error: the whole or nothing.

    Args:
        folder: to make; an empty one may be there. Where this is a link, what it leads to is made. Temporary folders
            of the same name that killed processes left are removed.
        option: of the command line that names another folder, for the error.

    Raises:
        UserError: there is a file with this name, or a folder that is not empty.
    """
    refuse_file(folder, option)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} exists and is not an empty folder; choose another {option} or delete it first")
    target = folder.resolve()
    for abandoned in _abandoned(target.parent, f".{target.name}.", ".partial"):
        shutil.rmtree(abandoned, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in [*partial.rglob("*"), partial]:
            sync(path)
        os.replace(partial, target)
        sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class FolderBefore(NamedTuple):
    """A folder as it was before a command worked in it."""

    folder: Path
    names: set[str]
    missing: list[Path]
    """The folder and those above it that did not exist, innermost first."""

    @classmethod
    def of(cls, folder: Path) -> "FolderBefore":
        """The folder as it is now."""
        return cls(folder, names_in(folder), [path for path in (folder, *folder.parents) if not path.exists()])

    def restore(self) -> None:
        """Delete all files and folders in it that were made since, and folders that were missing, where empty then."""
        for name in names_in(self.folder) - self.names:
            path = self.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in self.missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def names_in(folder: Path) -> set[str]:
    """Names of all files and folders in a folder; empty if the folder does not exist."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@contextmanager
def replacing(path: str | Path, quick: bool = False) -> Iterator[Path]:
    """Give a temporary path with the same suffix; move it to ``path`` if the block ends without an error.

    The folder is made if it is missing. Temporary files of the same name that killed processes left are removed.

    Args:
        path: the file to make.
        quick: neither look for temporary files of others nor wait for the disk; for many files in one folder, whose
            owner removes such files and notices what a power cut damaged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not quick:
        for abandoned in _abandoned(path.parent, f".{path.stem}.", f".partial{path.suffix}"):
            abandoned.unlink(missing_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        if not quick:
            sync(partial)
        os.replace(partial, path)
        if not quick:
            sync(path.parent)
    except OSError as error:
        if error.errno and error.filename is None:  # the system tells no name where the disk is full
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text through :func:`replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, "utf-8")
    return Path(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write :func:`json_text` and a line end through :func:`replacing`."""
    return write_text(path, json_text(value) + "\n")


def json_text(value: Any) -> str:
    """``value`` as JSON, indent 2; NaN and infinities become null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, is not JSON, or holds what :func:`check_plain` refuses.
    """
    return parse_json(str(path), read_text(path))


def read_text(path: str | Path) -> str:
    """Read a file of UTF-8 text.

    Raises:
        UserError: the file is missing, too large, or not such text.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise UserError(f"{path}: more than {MAX_TEXT_BYTES >> 20} MB of text")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None


def file_digest(path: str | Path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def parse_json(where: str, text: str) -> Any:
    """The value that a JSON text says.

    Args:
        where: file, and the part of it, for the error.
        text: JSON.

    Raises:
        UserError: not JSON, or what :func:`check_plain` refuses.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, lists in lists in lists
        raise UserError(f"{where}: not readable as JSON ({unreadable(error)})") from None
    check_plain(where, value)
    return value


def is_alive(pid: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _abandoned(folder: Path, start: str, end: str) -> list[Path]:
    """What processes that have ended left under temporary names: their number stands between start and end."""
    left = []
    for partial in folder.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        pid = partial.name.removeprefix(start).removesuffix(end)
        if pid.isdecimal() and not is_alive(int(pid)):
            left.append(partial)
    return left


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
