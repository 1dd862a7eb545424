"""Options that are mappings, one entry at a time: ``--over.model.lr "[1, 2]" --over.data.seed 0``."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

import yaml
from jsonargparse import get_loader

from cjepa.configuration.yaml_files import given_configs
from cjepa.errors import UserError


def gathered(words: list[str], names: Collection[str]) -> list[str]:
    """Words in which the entries of each such option are one word; the parser takes dots in a key for levels.

    Entries are added to those that the config files have for the option, and replace those of the same key.

    Args:
        words: of a command line.
        names: of the options that are mappings.

    Raises:
        UserError: an entry has no value, or one that is not YAML; the whole option has one that is not a mapping.
    """
    kept: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    rest: Iterator[str] = iter(words)
    for word in rest:
        option, equals, text = word.partition("=")
        name, _, key = option.removeprefix("--").partition(".")
        if not option.startswith("--") or name not in names:
            kept.append(word)
            continue
        text = text if equals else next(rest, "")
        if not text or not equals and text.startswith("--"):
            raise UserError(f"{option}: no value{f' before {text}' if text else ''}")
        value = _value(option, text)
        if key:
            found.setdefault(name, _of_files(words, name))[key] = value
        elif isinstance(value, Mapping):
            found[name] = dict(value)
        elif value is None:
            kept += [option, text]
        else:
            raise UserError(f"{option} {text[:80]}: expected one entry, {option}.KEY VALUE")
    entries = ((f"--{name}", json.dumps(mapping, default=str)) for name, mapping in found.items())
    return [*kept, *chain.from_iterable(entries)]


def _of_files(words: list[str], name: str) -> dict[str, Any]:
    """The entries of the last config file that has the option; a later mapping replaces an earlier one."""
    for file in reversed(given_configs(words)):
        config = get_loader("yaml")(file.read_text("utf-8"))
        if isinstance(config, Mapping) and isinstance(config.get(name), Mapping):
            return dict(config[name])
    return {}


def _value(option: str, text: str) -> Any:
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError as error:
        raise UserError(f"{option}: {text[:80]!r} is not YAML ({' '.join(str(error).split())[:120]})") from None
