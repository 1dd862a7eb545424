"""Options that are mappings, one entry at a time: ``--over.model.lr "[1, 2]" --over.data.seed 0``."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import yaml
from jsonargparse import get_loader

from cjepa.errors import UserError


def gathered(words: list[str], names: Collection[str]) -> list[str]:
    """Words in which the entries of each such option are one word; the parser takes dots in a key for levels.

    Args:
        words: of a command line.
        names: of the options that are mappings.

    Raises:
        UserError: an entry has no value, or one that is not YAML.
    """
    kept: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    rest: Iterator[str] = iter(words)
    for word in rest:
        name = next((name for name in names if word.startswith(f"--{name}.")), None)
        if name is None:
            kept.append(word)
            continue
        option, equals, text = word.partition("=")
        text = text if equals else next(rest, "")
        if not text or not equals and text.startswith("--"):
            raise UserError(f"{option}: no value{f' before {text}' if text else ''}")
        found.setdefault(name, {})[option.removeprefix(f"--{name}.")] = _value(option, text)
    return [*kept, *(part for name, entries in found.items() for part in (f"--{name}", json.dumps(entries)))]


def _value(option: str, text: str) -> Any:
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError as error:
        raise UserError(f"{option}: {text[:80]!r} is not YAML ({' '.join(str(error).split())[:120]})") from None
