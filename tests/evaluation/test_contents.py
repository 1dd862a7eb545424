"""What an object consists of, as text."""

import numpy as np
import pytest
import torch
from torch import nn

from cjepa.errors import UserError
from cjepa.evaluation.contents import contents_text
from cjepa.planning.planners.cem import CEM


class Private:
    """Keeps all that it is in private attributes."""

    def __init__(self, value):
        self._value = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CEM(), CEM(iterations=29)),
        (Private(1), Private(2)),
        (Private(Private(0.5)), Private(Private(0.25))),
        (Private(torch.zeros(2)), Private(torch.tensor([0.0, 1e-9]))),
        (torch.zeros(2), torch.zeros(1, 2)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)),
        (np.arange(3), np.arange(3.0)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], (1, 2)),
        (None, "None"),
        (nn.Linear(1, 1), nn.Linear(1, 1)),
    ],
)
def test_different_objects_have_different_texts(one, other):
    assert contents_text(one) == contents_text(one)
    assert contents_text(one) != contents_text(other)


def test_equal_objects_have_equal_texts():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    for one, other in (
        (CEM(), CEM()),
        (Private({"b", "a", "c"}), Private({"c", "a", "b"})),
        (first, second),
        (torch.arange(4).reshape(2, 2).T, torch.tensor([[0, 2], [1, 3]])),
    ):
        assert contents_text(one) == contents_text(other)


def test_an_object_that_holds_itself_has_a_text():
    ring = Private(None)
    ring._value = [ring]
    assert "itself" in contents_text(ring)


@pytest.mark.parametrize("part", [lambda: 0, torch.Generator(), iter([1])])
def test_what_cannot_be_compared_is_named(part):
    with pytest.raises(UserError, match=r"Private\._value is a \w+, which cannot be compared between runs"):
        contents_text(Private(part))
