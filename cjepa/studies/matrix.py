"""``matrix:`` of a stage: one stage for every combination of values."""

import itertools
import json
import math
import re
from typing import Any, NamedTuple

_PLACE = re.compile(r"\$\{matrix\.([^{}]*)\}")
_KEY = re.compile(r"[\w-]+")
_SEED = re.compile(r"^\$\{matrix\.seed\}[-_.]?|[-_.]?\$\{matrix\.seed\}")
"""In the name of a stage, with what parts it from the rest."""
MAX_TEXT = 10_000_000
"""Characters that all texts of an entry may become: a few long values at many places would fill the memory."""


class Expanded(NamedTuple):
    """A stage that an entry of ``stages:`` stands for."""

    name: str
    series: str
    """The name without its ``${matrix.seed}``: stages that only their seeds tell apart share it."""
    entry: dict[str, Any]
    """Without a matrix."""


def expand(name: str, entry: dict[str, Any], most: int) -> list[Expanded]:
    """The stages that an entry of ``stages:`` stands for.

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
    fill = _Fill()
    series = _SEED.sub("", name)
    return [Expanded(fill.text(name, cell), fill.text(series, cell), fill.value(content, cell)) for cell in cells]


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


class _Fill:
    """Puts the values of a combination where they are asked for."""

    def __init__(self):
        self._characters = 0

    def value(self, value: Any, cell: dict[str, Any]) -> Any:
        """The same with all texts in it filled."""
        if isinstance(value, dict):
            return {key: self.value(entry, cell) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.value(entry, cell) for entry in value]
        if not isinstance(value, str):
            return value
        whole = _PLACE.fullmatch(value)
        return _value(whole[1], cell) if whole else self.text(value, cell)

    def text(self, template: str, cell: dict[str, Any]) -> str:
        """A text with others in it.

        Raises:
            ValueError: a value is no text or number, or all texts together are too long.
        """

        def filled(match: re.Match) -> str:
            value = _value(match[1], cell)
            if isinstance(value, list | dict):
                raise ValueError(f"{match[0]} is a list or a mapping, and stands inside of a text")
            text = value if isinstance(value, str) else json.dumps(value)
            self._count(text)
            return text

        self._count(template)
        return _PLACE.sub(filled, template)

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > MAX_TEXT:
            raise ValueError(f"its texts with the values of the matrix have more than {MAX_TEXT:,} characters")


def _value(path: str, cell: dict[str, Any]) -> Any:
    value: Any = cell
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            has = f"its matrix has {sorted(cell)}" if cell else "it has no matrix"
            raise ValueError(f"${{matrix.{path}}} is not there; {has}")
        value = value[part]
    return value
