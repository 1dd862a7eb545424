"""Goals in words: a small grammar of sentences about a body and a part of the table, and when such a sentence is true.

```
push   the block        to    the left wall            verb, body, preposition, region
move   the red square   near  the upper right corner
```
Of a sentence only the words for the body and the region matter; the others may be any that the grammar knows.
"""

import re
from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import SHAPE_NAMES
from cjepa.errors import UserError

VERBS = ("push", "move", "put", "bring", "shove", "slide")
PREPOSITIONS = ("to", "near", "towards", "at")
EXAMPLE = "push the block to the left wall"
_OTHERS = ("the", "a", "of", "table")
_SAME = {"block": ("block", "tee"), "agent": ("agent", "pusher"), "square": ("square", "box")}
_SAME |= {"disc": ("disc", "circle"), "triangle": ("triangle", "wedge")}
_SAME |= {"upper": ("upper", "top"), "lower": ("lower", "bottom"), "middle": ("middle", "centre", "center")}
_SAME |= {"wall": ("wall", "edge", "side", "border")}
"""Words that mean the same, by the one that names bodies and regions."""
_BODY_WORDS = ("block", "agent", *COLOUR_NAMES, *SHAPE_NAMES)
_SIDES = {"left": (0, -1), "right": (0, 1), "upper": (1, -1), "lower": (1, 1)}
"""Axis, and the end of it that is meant; y points down, as in frames."""
_CORNERS = tuple(f"{vertical} {horizontal}" for vertical in ("upper", "lower") for horizontal in ("left", "right"))
REGIONS = (*_SIDES, *_CORNERS, "middle")
_WALL, _MIDDLE = 2 / 3, 0.2
"""Errors of 1, on a table from -1 to 1."""
_WELL_WITHIN = 0.75


def _same(word: str) -> tuple[str, ...]:
    return _SAME.get(word, (word,))


_MEANING = {said: word for word in (*_BODY_WORDS, *_SIDES, "middle", "wall", "corner") for said in _same(word)}
WORDS = tuple(sorted({*VERBS, *PREPOSITIONS, *_OTHERS, *_MEANING}))
"""All that the grammar knows."""


class Statement(NamedTuple):
    """What a sentence wants to be true."""

    body: str
    """As :meth:`~cjepa.envs.base.ObjectEnv.named_places` calls it."""
    region: str
    """One of :data:`REGIONS`."""

    def error(self, places: Mapping[str, np.ndarray], table: tuple[float, float]) -> np.ndarray:
        """How far the statement is from being true, 0 or more; it is true below 1.

        A body is at a wall in that third of the table, in a corner if at both of its walls, and in the middle if x and
        y are within a tenth of the table's side from its centre.

        Args:
            places: x and y of bodies, ``(..., 2)``, by name; the statement's is among them.
            table: least and greatest x and y.

        Returns:
            The error ``(...)``; NaN where a place is.
        """
        share_L2 = _share(places[self.body], table)
        if self.region == "middle":
            return np.abs(share_L2).max(axis=-1) / _MIDDLE
        errors = [(1 - end * share_L2[..., axis]) / _WALL for axis, end in self._ends()]
        return np.maximum(0.0, np.max(errors, axis=0))

    def nearest(self, places: Mapping[str, np.ndarray], table: tuple[float, float]) -> np.ndarray:
        """The place ``(2,)``, nearest to where the body is, at which the error is not above 0.75; as :meth:`error`."""
        share_2 = _share(places[self.body], table)
        if self.region == "middle":
            share_2 = share_2.clip(-_WELL_WITHIN * _MIDDLE, _WELL_WITHIN * _MIDDLE)
        for axis, end in self._ends():
            share_2[axis] = end * max(end * share_2[axis], 1 - _WELL_WITHIN * _WALL)
        return table[0] + (share_2 + 1) / 2 * (table[1] - table[0])

    def _ends(self) -> list[tuple[int, int]]:
        """Axes and ends of walls."""
        return [] if self.region == "middle" else [_SIDES[side] for side in self.region.split()]


def _share(places_L2: np.ndarray, table: tuple[float, float]) -> np.ndarray:
    """Places as -1 to 1 on the table, a copy."""
    low, high = table
    return 2 * (np.array(places_L2, float) - low) / (high - low) - 1


def words_of(text: str) -> list[str]:
    """The words of a sentence, in lower case, without punctuation."""
    return re.sub(r"[.,;:!?\"']", " ", text.lower()).split()


def parse(text: str) -> Statement:
    """What a sentence says.

    Raises:
        UserError: it is empty, has a word that the grammar does not know, or does not name one body and one region.
    """
    words = words_of(text)
    if not words:
        raise UserError(f'the sentence is empty; say for example "{EXAMPLE}"')
    if unknown := [word for word in words if word not in WORDS]:
        raise UserError(f'"{text}": unknown word {unknown[0]!r}; known words: {", ".join(WORDS)}')
    meant = [_MEANING[word] for word in words if word in _MEANING]
    body = " ".join(word for word in meant if word in _BODY_WORDS)
    found = {word for word in meant if word in (*_SIDES, "middle")}
    regions = [region for region in REGIONS if set(region.split()) == found]
    if not body:
        raise UserError(f'"{text}" names no body; say for example "{EXAMPLE}"')
    if not regions or ("corner" in meant and " " not in regions[0]):
        raise UserError(f'"{text}" names no place, or several; say one of: {", ".join(REGIONS)}')
    return Statement(body, regions[0])


def phrases(statement: Statement, held_out: bool) -> list[tuple[str, str]]:
    """Ways to name body and region of a statement.

    Args:
        statement: to be said.
        held_out: the combinations that language models do not learn from, instead of those that they do. Every way to
            name a body and every way to name a region is among the latter.
    """
    bodies = [" ".join(words) for words in product(*map(_same, statement.body.split()))]
    kinds = {"middle": ("",), **dict.fromkeys(_CORNERS, (" corner",))}
    ends = kinds.get(statement.region, tuple(f" {wall}" for wall in _SAME["wall"]))
    sides = [" ".join(words) for words in product(*map(_same, statement.region.split()))]
    regions = [side + end for end, side in product(ends, sides)]
    grid = product(enumerate(bodies), enumerate(regions))
    return [(body, region) for (i, body), (j, region) in grid if ((i + j) % 3 == 2) == held_out]


def said(verb: str, body: str, preposition: str, region: str) -> str:
    """A sentence of its parts."""
    return f"{verb} the {body} {preposition} the {region}"
