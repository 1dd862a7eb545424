import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.constraints import Box

ACTIONS = torch.tensor([[-3.0, 0.2, 9.0, -1.0], [0.0, 0.5, 0.1, 2.0]])[None, None]  # two blocks of two env steps


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 0.5, [[-1.0, 0.2, 0.5, -1.0], [0.0, 0.5, 0.1, 0.5]]),
        ([-1.0, 0.0], [1.0, 0.3], [[-1.0, 0.2, 1.0, 0.0], [0.0, 0.3, 0.1, 0.3]]),
        (-2.0, [1.0, 0.1], [[-2.0, 0.1, 1.0, -1.0], [0.0, 0.1, 0.1, 0.1]]),
    ],
)
def test_a_box_by_hand(low, high, expected):
    before = ACTIONS.clone()
    inside = Box(low, high).project(ACTIONS)
    assert torch.equal(inside, torch.tensor(expected)[None, None]) and torch.equal(ACTIONS, before)
    assert torch.equal(Box(low, high).project(inside), inside)


BAD = [(1, 0.5), ([0.0, 0.0], [1.0, -1.0]), (float("nan"), 1.0), (0, float("inf")), ([0.0] * 2, [1.0] * 3), ([], 1)]


@pytest.mark.parametrize(("low", "high"), BAD)
def test_a_box_that_holds_nothing_is_refused(low, high):
    with pytest.raises(ValueError, match="expected finite low <= high"):
        Box(low, high)


def test_a_box_of_another_number_of_values_is_refused():
    with pytest.raises(UserError, match="Box: 3 bounds, but a block has 4 action values"):
        Box([0.0, 0.0, 0.0], 1.0).project(ACTIONS)
