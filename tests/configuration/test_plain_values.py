"""What no reader could walk through, or compute with, is refused where a file is read."""

import math

import pytest

from cjepa.configuration.plain_values import MAX_DEPTH, check_mapping, check_plain
from cjepa.errors import UserError


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


def doubled(times: int) -> list:
    value: list = []
    for _ in range(times):
        value = [value, value]
    return value


def inside_itself() -> list:
    value: list = [[1]]
    value[0].append({"again": value})
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(MAX_DEPTH + 1), "lists or mappings inside each other"),
        (nested(100_000), "deeper than 50"),
        (doubled(40), "too large"),
        (inside_itself(), "contains itself"),
        ([2**64], "beyond 64 bits"),
        ({"a": math.nan}, "not finite"),
        ({"a": -math.inf}, "not finite"),
        (["half \ud800"], "not text"),
        ({"a\0b": 1}, "not text"),
    ],
    ids=["deep", "very deep", "repeated", "cycle", "integer", "nan", "infinite", "surrogate", "zero byte"],
)
def test_what_is_refused(value, message):
    with pytest.raises(UserError, match=f"a.json: .*{message}"):
        check_plain("a.json", value)


def test_what_is_accepted():
    shared = ["twice"]
    check_plain("a.json", {"a": [None, True, 1.5, 2**64 - 1, "ü"], "b": shared, "c": (shared, {1}), "d": nested(48)})
    check_plain("a.json", {"a": math.nan}, finite=False)


def test_types_of_entries():
    types = {"a": (str,), "b": (int, float)}
    value = {"a": "x", "b": None, "c": 3}
    assert check_mapping("here", value, types, ("a",)) is value
    for wrong, message in (
        ([], "here is not a mapping"),
        ({"a": 3}, "here: a is 3, expected str"),
        ({"b": 3}, "here: a is None, expected str"),
        ({"a": "x", "b": True}, "here: b is True, expected int or float"),
    ):
        with pytest.raises(UserError, match=message):
            check_mapping("here", wrong, types, ("a",))
