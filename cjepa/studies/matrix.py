"""``matrix:`` of a stage: one stage for every combination of values."""

import itertools
import json
import math
import re
from typing import Any

_PLACE = re.compile(r"\$\{matrix\.([^{}]*)\}")
_KEY = re.compile(r"[\w-]+")


def expand(name: str, entry: dict[str, Any], most: int) -> list[tuple[str, dict[str, Any]]]:
    """The stages that an entry of ``stages:`` stands for, as names and entries without a matrix.

    ``${matrix.KEY}`` becomes the value of the combination, ``${matrix.KEY.PART}`` a part of a value that is a mapping:
    in the name and everywhere in the entry, before anything else is read there. Where nothing stands beside it, the
    value keeps its type. The last key varies fastest.

    Args:
        name: of the stage, or a template of names.
        entry: the stage as in the YAML; ``matrix`` is a mapping of keys to lists of values, or missing.
        most: combinations.

    Raises:
        ValueError: the matrix is not such a mapping, it has more combinations, or a KEY is not in it.
    """
    content = {key: value for key, value in entry.items() if key != "matrix"}
    cells = _cells(entry["matrix"], most) if "matrix" in entry else [{}]
    return [(_as_text(name, cell), _filled(content, cell)) for cell in cells]


def _cells(matrix: Any, most: int) -> list[dict[str, Any]]:
    if not isinstance(matrix, dict) or not matrix:
        raise ValueError("matrix is not a mapping of keys to lists of values")
    for key, values in matrix.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"the key {key!r} of matrix is not a word of letters, digits, - and _")
        if not isinstance(values, list) or not values:
            raise ValueError(f"{key} in matrix is not a list of values")
    if math.prod(map(len, matrix.values())) > most:
        raise ValueError(f"matrix has more than {most:,} combinations")
    return [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]


def _filled(value: Any, cell: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(entry, cell) for key, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, cell) for entry in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    return _value(whole[1], cell) if whole else _as_text(value, cell)


def _as_text(template: str, cell: dict[str, Any]) -> str:
    def text(match: re.Match) -> str:
        value = _value(match[1], cell)
        if isinstance(value, list | dict):
            raise ValueError(f"{match[0]} is a list or a mapping, and stands inside of a text")
        return value if isinstance(value, str) else json.dumps(value)

    return _PLACE.sub(text, template)


def _value(path: str, cell: dict[str, Any]) -> Any:
    value: Any = cell
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            has = f"its matrix has {sorted(cell)}" if cell else "it has no matrix"
            raise ValueError(f"${{matrix.{path}}} is not there; {has}")
        value = value[part]
    return value
