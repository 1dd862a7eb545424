"""What token files and counterfactuals were made of: named by paths from the file's own folder.

A folder that contains all of them can then be moved as a whole, and the same work in another folder gives equal files.
"""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import ShardedEpisodes, open_episodes
from cjepa.errors import UserError

_PATH_ARGUMENTS = ("checkpoint", "source")
"""Arguments of tokenizers that may be paths; ``zoo:NAME`` and names of models on a hub are no paths."""


def stored_path(path: str | Path, file: Path) -> str:
    """How ``file`` names what is at ``path``: from its own folder, with slashes."""
    return Path(os.path.relpath(Path(path).resolve(), file.parent.resolve())).as_posix()


def found_path(stored: str, file: Path) -> str:
    """Where that is now, absolute: from the folder of ``file``, else from the current one; as stored if it is gone.

    Args:
        stored: from :func:`stored_path`, or as typed, in older files.
        file: which holds it.
    """
    for path in (file.resolve().parent / stored, Path(stored).absolute()):
        if os.path.exists(path) or glob.glob(str(path)):  # a path may also be too long for Path.exists
            return os.path.normpath(path)
    return stored


def stored_tokenizer(spec: dict[str, Any], file: Path) -> dict[str, Any]:
    """A tokenizer's specification for ``file``: every argument that is a path as :func:`stored_path`."""
    return _with_paths(spec, lambda path: stored_path(path, file) if os.path.exists(path) else path)


def tokenizer_of(data: Episodes) -> dict[str, Any]:
    """The specification of the tokenizer of a token file, with paths as :func:`found_path`.

    Raises:
        UserError: the file has none.
    """
    file = _first_file(data)
    spec = from_json(file.path, file.attributes, "tokenizer")
    return _with_paths(spec, lambda stored: found_path(stored, file.path))


def episodes_of(data: Episodes) -> Episodes:
    """The episodes that a token file names; whether their fingerprint still agrees is left to the caller.

    Raises:
        UserError: they are gone.
        KeyError: the file names none.
    """
    return open_episodes(found_path(data.attributes["episodes_path"], _first_file(data).path))


def moved_tokenizer(spec: dict[str, Any], was: str, now: Path, where: str) -> dict[str, Any]:
    """The specification that a run of training keeps, with its paths followed to where the run is today.

    A path is looked for from the folder that the run is in now, then where it was at the time of the training.

    Args:
        spec: with absolute paths, from :func:`tokenizer_of`.
        was: the folder that the run was in; empty in older checkpoints, whose paths stay as they are.
        now: the folder that it is in.
        where: the run's checkpoint, for messages.

    Raises:
        UserError: there is nothing at either path.
    """

    try:
        return _with_paths(spec, lambda path: moved_path(path, was, now))
    except FileNotFoundError as error:
        raise UserError(
            f"{where}: no such checkpoint of its tokenizer: {error}; move it back, or tokenize and train again"
        ) from None


def moved_path(path: str, was: str, now: Path) -> str:
    """A path that a run of training keeps, followed to where the run is today, see :func:`moved_tokenizer`.

    Args:
        path: as it was at the time of the training; what is no absolute path stays as it is.
        was: the folder that the run was in; empty where this is unknown.
        now: the folder that it is in.

    Raises:
        FileNotFoundError: there is nothing at either path; the message names both.
    """
    if not was or not os.path.isabs(path):
        return path
    near = os.path.normpath(now.resolve() / os.path.relpath(path, was))
    if not any(map(os.path.exists, (near, path))):
        raise FileNotFoundError(near if near == path else f"{near} or {path}")
    return near if os.path.exists(near) else path


def _first_file(data: Episodes) -> Episodes:
    # all files of a set have the same tokenizer, but name it from folders of their own
    return data.shards[0] if isinstance(data, ShardedEpisodes) else data


def _with_paths(spec: Any, change: Callable[[str], str]) -> Any:
    """``spec`` with every path in its ``init_args``, at any depth, changed."""
    if not isinstance(spec, dict):
        return [_with_paths(entry, change) for entry in spec] if isinstance(spec, list) else spec
    changed = {key: _with_paths(value, change) for key, value in spec.items()}
    if isinstance(arguments := changed.get("init_args"), dict):
        for name in _PATH_ARGUMENTS:
            if isinstance(arguments.get(name), str):
                arguments[name] = change(arguments[name])
    return changed
