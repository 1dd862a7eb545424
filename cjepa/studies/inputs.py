"""What a stage reads from outside of its study: files, folders and runs that its settings name, and their content."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cjepa.checkpoints import CONFIG, WEIGHTS, find_checkpoint, home_of, read_checkpoint
from cjepa.configuration.yaml_files import read_yaml
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.files import file_digest

_OUTPUTS = {"out", "run_dir", "default_root_dir", "dirpath", "save_dir"}
"""Options that name a place to write to: what is there does not decide what a stage makes."""


def texts(value: Any) -> Iterator[str]:
    """All texts in a value, but for places to write to."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key not in _OUTPUTS:
                yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)


def fingerprint(name: str) -> str | None:
    """Of what a text names; None if it names no file, no folder and no ``zoo:`` model.

    Episodes and tokens have a fingerprint of their content. A run is its last checkpoint with its config. Any other
    file counts by its content; any other folder, if there is a / in its name, by names, sizes and times of its files.
    """
    checkpoint = run_checkpoint(name)
    if checkpoint is not None:
        return _digest(*(file_digest(path) for path in (checkpoint, *_descriptions(checkpoint))))
    path = Path(name.removeprefix("dino:"))
    is_folder = bool(name) and os.path.isdir(path)  # unlike Path.is_dir, this takes texts that are too long for a path
    if path.suffix == ".h5" or is_folder or glob.has_magic(name):
        with suppress(UserError, OSError):
            return open_episodes(path).fingerprint
    if is_folder and "/" in name:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return _digest(*(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files))
    return file_digest(path) if os.path.isfile(path) else None


def run_checkpoint(name: str) -> Path | None:
    """The checkpoint that a text names: a file, or that of a run, an exported folder or a ``zoo:`` model; else None."""
    is_file = os.path.isfile(name) and (name.endswith(".ckpt") or Path(name).name == WEIGHTS)
    if is_file or name.startswith("zoo:") or os.path.isdir(name):
        with suppress(UserError):
            return find_checkpoint(name)
    return None


def config_beside(name: str) -> Path | None:
    """``config.yaml`` of the run that a text names; None without one."""
    checkpoint = run_checkpoint(name)
    path = None if checkpoint is None else home_of(checkpoint) / "config.yaml"
    return path if path is not None and path.is_file() else None


def described(checkpoint: Path) -> list[Any]:
    """What a checkpoint and the files beside it say of the run: its classes, by ``class_path``."""
    found = [read_yaml(path) for path in _descriptions(checkpoint)]
    if checkpoint.name != WEIGHTS:  # only the checkpoint itself names the tokenizer of its tokens
        with suppress(UserError):
            content = read_checkpoint(checkpoint)
            found += [content.get(part) for part in ("hyper_parameters", "tokenizer")]
    return found


def _descriptions(checkpoint: Path) -> list[Path]:
    return [path for name in ("config.yaml", CONFIG) if (path := home_of(checkpoint) / name).is_file()]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
