"""What files may hold: text, numbers, lists and mappings, of a size and depth that every reader can walk through."""

import math
from collections.abc import Iterator
from types import NoneType
from typing import Any

from cjepa.errors import UserError

MAX_DEPTH = 50
"""Lists and mappings inside each other."""
MAX_VALUES = 5_000_000
"""Values of a file; what stands at several places is counted at each."""
NUMBER = (int, float)


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
    sizes: dict[int, tuple[int, int]] = {}  # of each finished collection: values, depth
    open_ones: dict[int, Iterator] = {}
    waiting = [value]
    while waiting:
        current = waiting[-1]
        if not isinstance(current, dict | list | tuple | set) or id(current) in sizes:
            _check_scalar(where, current, finite)
            waiting.pop()
            continue
        if id(current) not in open_ones:
            open_ones[id(current)] = iter(_parts(current))
        part = next(open_ones[id(current)], None)
        if part is None:
            del open_ones[id(current)]
            sizes[id(waiting.pop())] = _size(where, current, sizes)
        elif id(part[0]) in open_ones:
            raise UserError(f"{where}: a list or mapping contains itself")
        elif len(waiting) > MAX_DEPTH:
            raise UserError(f"{where}: deeper than {MAX_DEPTH} lists or mappings inside each other")
        else:
            waiting.append(part[0])


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


def _parts(collection: Any) -> Iterator[tuple[Any]]:
    """Each in a tuple, so that None is a part too."""
    for part in collection:
        yield (part,)
        if isinstance(collection, dict):
            yield (collection[part],)


def _size(where: str, collection: Any, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    found = [sizes.get(id(part), (1, 0)) for (part,) in _parts(collection)]
    values, depth = 1 + sum(part[0] for part in found), 1 + max((part[1] for part in found), default=0)
    if values > MAX_VALUES or depth > MAX_DEPTH:
        limits = f"{MAX_VALUES:,} values, {MAX_DEPTH} lists or mappings inside each other"
        raise UserError(f"{where}: too large (the limits are {limits})")
    return values, depth


def _check_scalar(where: str, value: Any, finite: bool) -> None:
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise UserError(f"{where}: {repr(value)[:60]} has characters that are not text")
    elif isinstance(value, int) and abs(value) >= 2**64:
        raise UserError(f"{where}: an integer beyond 64 bits")
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: a number that is not finite ({value})")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
