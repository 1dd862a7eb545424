"""What is set in the address of the page, checked: ``?scene=3&way=remove&body=1``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

from cjepa.configuration.plain_values import finite_number
from cjepa.errors import UserError
from cjepa.evaluation.interventions.influence_graphs import Estimate
from cjepa.evaluation.interventions.what_if import Way

WAYS: tuple[Way, ...] = get_args(Way)
ESTIMATES: tuple[Estimate, ...] = get_args(Estimate)


class TableSettings(NamedTuple):
    """Of the page for an environment with interventions; None is chosen for the user."""

    scene: int | None = None
    start: int | None = None
    """Env step of the episode at which the history begins."""
    horizon: int | None = None
    """Blocks after the history."""
    body: int | None = None
    way: Way = "remove"
    x: float | None = None
    """With ``y`` the new velocity or place, in the environment's units."""
    y: float | None = None
    by: Estimate | None = None
    """How influence is estimated."""
    block: int | None = None
    """Which block the page shows, 0 for the last of the history; None if it plays."""
    arrows: str = "on"
    """Whether the page draws the influence graphs."""

    @property
    def value(self) -> tuple[float, float] | None:
        """x and y; None if they are not set."""
        return None if self.x is None else (self.x, self.y)


class PlansSettings(NamedTuple):
    """Of the page for an environment with goals; None is chosen for the user."""

    pair: int = 0
    horizon: int | None = None
    """Blocks of the plan."""
    iteration: int | None = None
    """Of the search; None for its last."""
    seed: int = 0
    """Of the search."""
    block: int | None = None
    """Which block the page shows; None if it plays."""


def plans_settings(query: Mapping[str, str]) -> PlansSettings:
    """The settings of a query.

    Raises:
        UserError: a word that is no setting, or a value that is no integer.
    """
    return PlansSettings(**read_query(query, dict.fromkeys(PlansSettings._fields, whole)))


def table_settings(query: Mapping[str, str]) -> TableSettings:
    """The settings of a query.

    Raises:
        UserError: a word that is no setting, or a value that is no number or none of the words that are expected.
    """
    readers = {"way": one_of(WAYS), "by": one_of(ESTIMATES), "arrows": one_of(("on", "off")), "x": number, "y": number}
    settings = TableSettings(**read_query(query, {name: readers.get(name, whole) for name in TableSettings._fields}))
    if (settings.x is None) != (settings.y is None):
        raise UserError("x and y: expected both or neither")
    return settings


def read_query(query: Mapping[str, str], readers: Mapping[str, Callable[[str, str], Any]]) -> dict[str, Any]:
    """The values of a query.

    Args:
        query: words by name.
        readers: of each setting; they get its name and its word.

    Raises:
        UserError: there is no such setting, or its reader refuses the word.
    """
    if unknown := sorted(query.keys() - readers.keys()):
        raise UserError(f"{unknown[0]!r} is no setting; expected {', '.join(readers)}")
    return {name: readers[name](name, word) for name, word in query.items()}


def whole(name: str, word: str) -> int:
    """An integer of a few digits.

    Raises:
        UserError: the word is none.
    """
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise UserError(f"{name} {word[:40]!r}: expected an integer")
    return int(word)


def number(name: str, word: str) -> float:
    """A finite number.

    Raises:
        UserError: the word is none.
    """
    value = finite_number(word)
    if value is None:
        raise UserError(f"{name} {word[:40]!r}: expected a number")
    return value


def one_of(words: tuple[str, ...]) -> Callable[[str, str], str]:
    """A reader of one of some words, which raises a UserError at any other."""

    def read(name: str, word: str) -> str:
        if word not in words:
            raise UserError(f"{name} {word[:40]!r}: expected one of {', '.join(words)}")
        return word

    return read
