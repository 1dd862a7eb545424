"""What files may hold: text, numbers, lists and mappings, of a size and depth that every reader can walk through."""

import math
from collections.abc import Iterator
from itertools import chain
from types import NoneType
from typing import Any

from cjepa.errors import UserError

MAX_DEPTH = 50
"""Lists and mappings inside each other."""
MAX_VALUES = 5_000_000
"""Values of a file; what stands at several places is counted at each."""
NUMBER = (int, float)


def finite_number(text: str) -> float | None:
    """The number that a text says; None where it says none, or one that is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_plain(where: str, value: Any, finite: bool = True) -> None:
    """Refuse what a reader could not walk through, compute with, or write again.

    Args:
        where: file, and the part of it, for the error.
        value: of any type; what is neither a collection nor text nor a number is left to the reader.
        finite: refuse NaN and infinite numbers.

    Raises:
        UserError: a collection inside itself, or beyond the limits above; an integer beyond 64 bits; text that is not
            Unicode or contains a zero byte; a number that is not finite.
    """
    _Walk(where, finite).measure(value, 0)


def check_mapping(
    where: str, value: Any, types: dict[str, tuple[type, ...]], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """``value``, if it is a mapping whose entries have the types that readers rely on.

    Args:
        where: file, and the part of it, for the error.
        value: of any type.
        types: of the entries that are looked at; others may be there. An entry may be missing or None.
        required: entries that are there, and not None.

    Raises:
        UserError: the entry is named.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where} is not a mapping")
    for key, kinds in types.items():
        entry = value.get(key)
        allowed = kinds if key in required else (*kinds, NoneType)
        if not isinstance(entry, allowed) or (isinstance(entry, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(f"{where}: {key} is {repr(entry)[:60]}, expected {names}")
    return value


def unreadable(error: Exception) -> str:
    """What a parser said of a value that it could not make, in one line, without Python's advice to programmers."""
    line = " ".join(str(error).split())
    return "an integer of thousands of digits" if "integer string conversion" in line else line


class _Walk:
    """Through all that a value holds; what stands at several places is walked through once."""

    def __init__(self, where: str, finite: bool):
        self.where = where
        self.finite = finite
        self._sizes: dict[int, tuple[int, int]] = {}
        """Of each finished collection, by its id: values, depth."""
        self._open: set[int] = set()

    def measure(self, value: Any, level: int, key: Any = None) -> tuple[int, int]:
        """Values and depth of ``value``, which is inside ``level`` collections, under ``key`` if that is a mapping."""
        if not isinstance(value, dict | list | tuple | set):
            if fault := _scalar_fault(value, self.finite):
                raise UserError(f"{self.where}: {fault}" if key is None else f"{self.where}: {str(key)[:60]}: {fault}")
            return 1, 0
        own = id(value)
        if own not in self._sizes:
            if own in self._open:
                raise UserError(f"{self.where}: a list or mapping contains itself")
            if level >= MAX_DEPTH:
                raise UserError(f"{self.where}: deeper than {MAX_DEPTH} lists or mappings inside each other")
            self._open.add(own)
            self._sizes[own] = self._sum(value, level)
            self._open.remove(own)
        return self._sizes[own]

    def _sum(self, collection: Any, level: int) -> tuple[int, int]:
        values, depth = 1, 0
        for key, part in _parts(collection):
            if type(part) is float and math.isfinite(part):  # most of what large files hold
                values += 1
                continue
            more, below = self.measure(part, level + 1, key)
            values, depth = values + more, max(depth, below)
        if values > MAX_VALUES or depth >= MAX_DEPTH:
            limits = f"{MAX_VALUES:,} values, {MAX_DEPTH} lists or mappings inside each other"
            raise UserError(f"{self.where}: too large (the limits are {limits})")
        return values, depth + 1


def _parts(collection: Any) -> Iterator[tuple[Any, Any]]:
    """What is in a collection, each with its key in a mapping; keys are parts too."""
    if isinstance(collection, dict):
        return chain(((None, key) for key in collection), collection.items())
    return ((None, part) for part in collection)


def _scalar_fault(value: Any, finite: bool) -> str:
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            return f"{repr(value)[:60]} has characters that are not text"
    elif isinstance(value, int) and abs(value) >= 2**64:
        return "an integer beyond 64 bits"
    elif finite and isinstance(value, float) and not math.isfinite(value):
        return f"a number that is not finite ({value})"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
