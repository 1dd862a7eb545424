"""Numbers of things, as people write them."""

import pytest

from cjepa.counts import number_of


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 env steps"), (1, "1 env step"), (2, "2 env steps"), (1200, "1,200 env steps")]
)
def test_one_thing_is_not_several(count, text):
    assert number_of(count, "env step") == text
