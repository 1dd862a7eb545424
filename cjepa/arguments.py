"""Numbers that a constructor is given: checked at once, since a weight of NaN would otherwise train for hours."""

import math


def check(valid: bool, name: str, value: object, expected: str) -> None:
    """Check one argument.

    Args:
        valid: whether the value is right.
        name: of the argument.
        value: of the argument.
        expected: in words, after "expected".

    Raises:
        ValueError: it is not; the line has all three.
    """
    if not valid:
        raise ValueError(f"{name} is {value}, expected {expected}")


def at_least(least: float, **values: float) -> None:
    """Check that arguments, by name, are finite numbers and not below ``least``.

    Raises:
        ValueError: one is not; the line names it.
    """
    for name, value in values.items():
        check(least <= value < math.inf, name, value, _finite(value, f"{least} or more"))


def above(limit: float, **values: float) -> None:
    """Check that arguments, by name, are finite numbers above ``limit``.

    Raises:
        ValueError: one is not; the line names it.
    """
    for name, value in values.items():
        check(limit < value < math.inf, name, value, f"a finite number above {limit}")


def share(**values: float) -> None:
    """Check that arguments, by name, are in 0..1.

    Raises:
        ValueError: one is not; the line names it.
    """
    for name, value in values.items():
        check(0 <= value <= 1, name, value, "a share in 0..1")


def share_below_one(**values: float) -> None:
    """Check that arguments, by name, are in 0..1 and not 1: something has to be left.

    Raises:
        ValueError: one is not; the line names it.
    """
    for name, value in values.items():
        check(0 <= value < 1, name, value, "a share in 0 to below 1")


def _finite(value: float, expected: str) -> str:
    return expected if isinstance(value, int) else f"a finite number, {expected}"
