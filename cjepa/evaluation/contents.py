"""All that an object consists of, as text: equal texts mean that two runs would compute the same with it."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cjepa.errors import UserError
from cjepa.files import json_text


class NotComparable(UserError):
    """A part of an object is of a kind whose contents cannot be compared between runs."""


def contents_text(value: Any) -> str:
    """``value`` with its private attributes, tensors and the source files of foreign classes, as JSON.

    An object with a method ``decided_by`` consists of what this method returns, instead of its attributes: a path may
    stay while its file changes.

    Raises:
        NotComparable: a part is of a kind whose contents cannot be compared between runs, such as a function or an open
            file; the attribute is named.
        UserError: a file that an object names is gone.
    """
    return json_text(_contents(value, type(value).__name__, ()))


def _contents(value: Any, where: str, inside: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return _numbers(value)
    if isinstance(value, Path | Enum | torch.device | torch.dtype):
        return [type(value).__name__, str(value)]
    if isinstance(value, type):
        return _named(value)
    if id(value) in inside:
        return "itself"
    parts = [_contents(part, name, (*inside, id(value))) for name, part in _parts(value, where)]
    return [_named(type(value)), parts]


def _parts(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Everything inside a collection or an object, with a name for messages."""
    own = value.decided_by() if hasattr(value, "decided_by") else dict(getattr(value, "__dict__", {}))
    if isinstance(value, Mapping):
        yield from ((where, pair) for pair in value.items())
    elif isinstance(value, set | frozenset):
        yield from ((where, part) for part in sorted(value, key=repr))
    elif isinstance(value, list | tuple):
        yield from ((where, part) for part in value)
    elif inspect.isroutine(value) or not hasattr(value, "__dict__"):
        raise NotComparable(f"{where} is a {type(value).__name__}, which cannot be compared between runs")
    for name, part in own.items():
        yield where, name
        yield f"{type(value).__name__}.{name}", part


def _numbers(values: torch.Tensor | np.ndarray | np.generic) -> list:
    """Kind, shape and a digest of the bytes."""
    if isinstance(values, torch.Tensor):
        kind, values = str(values.dtype), values.detach().cpu().contiguous()
        stored = values.flatten().view(torch.uint8).numpy().tobytes() if values.numel() else b""
    else:
        kind, stored = str(values.dtype), np.ascontiguousarray(values).tobytes()
    return [kind, list(values.shape), hashlib.sha256(stored).hexdigest()]


def _named(cls: type) -> list[str]:
    """A class by name and, where it is not of this package (whose version is known), by its source file."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__.partition(".")[0] in ("builtins", "cjepa", "torch", "collections"):
        return [name]
    try:
        source = Path(inspect.getfile(cls)).read_bytes()
    except (OSError, TypeError):  # typed into a session, or built in
        return [name]
    return [name, hashlib.sha256(source).hexdigest()]
