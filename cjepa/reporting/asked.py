"""What a run was asked to do beyond its base: its configuration as a diff to the first YAML of its command."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cjepa.configuration.yaml_files import parse_yaml, read_yaml
from cjepa.errors import UserError

_OPTION = re.compile(r"(?<=\s)(-c|--config|--[A-Za-z][\w.]*\+?)[ =](\S*)")
_YAML = (".yaml", ".yml")
_OF_THE_FOLDER = ("run_dir", "config")
_MISSING = object()

Values = dict[str, Any]
"""Dotted key -> value that is no mapping."""


def changes_to_base(command: str, config: str) -> list[str]:
    """Lines of a diff: what the base says, with ``-``, and what the run did instead, with ``+``.

    The base is the first YAML that the command names, as it is today. Where a later YAML or an option of the command
    gives a value that the base leaves open, the line stands alone.

    Args:
        command: of the record, relative to where the report is built.
        config: the run's own ``config.yaml``, with every default.

    Returns:
        The base and its lines; empty if the run changes nothing or the files are not there any more.
    """
    try:
        own = _leaves(parse_yaml(config))
    except yaml.YAMLError:
        return []
    found = _OPTION.findall(command)
    files = [name for option, name in found if option in ("-c", "--config") and name.endswith(_YAML)]
    base, *later = [_of_file(Path(name)) for name in files] or [{}]
    options = [option.removeprefix("--") for option, _ in found if option.startswith("--")]
    asked = [key for values in (base, *later) for key in values]
    asked += [key for option in options if option not in _OF_THE_FOLDER for key in _below(own, option)]
    lines = []
    for key in dict.fromkeys(asked):
        if key in own and not _same(base.get(key, _MISSING), own[key]):
            lines += [f"- {key}: {_shown(base[key])}"] if key in base else []
            lines += [f"+ {key}: {_shown(own[key])}"]
    return [f"  {files[0] if files else 'defaults'}", *lines] if lines else []


def changes_to_run(config: str, other: str) -> list[str]:
    """Lines of a diff between two runs: what the other did, with ``-``, and what the run did instead, with ``+``.

    Args:
        config: the run's own ``config.yaml``.
        other: that of the run to compare with.

    Returns:
        The lines; empty if both did the same, or one file is no YAML.
    """
    try:
        own, base = (_leaves(parse_yaml(text)) for text in (config, other))
    except yaml.YAMLError:
        return []
    lines = []
    for key in dict.fromkeys([*base, *own]):
        if key not in _OF_THE_FOLDER and base.get(key, _MISSING) != own.get(key, _MISSING):
            lines += [f"- {key}: {_shown(base[key])}"] if key in base else []
            lines += [f"+ {key}: {_shown(own[key])}"] if key in own else []
    return lines


def _of_file(path: Path) -> Values:
    try:
        return _leaves(read_yaml(path))
    except UserError:
        return {}


def _leaves(value: Any) -> Values:
    return dict(_walk(value, "")) if isinstance(value, dict) else {}


def _walk(value: dict, above: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{above}{key}"
        if isinstance(inner, dict) and inner:
            yield from _walk(inner, f"{name}.")
        else:
            yield name, inner


def _below(own: Values, option: str) -> list[str]:
    """Keys of the configuration that an option sets: its own, or all of the mapping that it gives."""
    return [key for key in own if key == option or key.startswith(f"{option}.")]


def _same(one: Any, other: Any) -> bool:
    """Whether both mean the same: YAML reads ``1e-3`` as text, and a class may be named without its modules."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other or other.endswith(f".{one}")
    if isinstance(one, str) and isinstance(other, float):
        return one == str(other) or _number(one) == other
    return one == other


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("...").strip()
