from itertools import permutations

import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning import distances
from cjepa.planning.distances import AbsoluteByIndex, ByIndex, Matched, TokenDistance, matched_errors
from tests.contracts import build, concrete_subclasses

GOAL_BSD = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]]])
SHIFTED = torch.tensor([[2.0, 0.0], [5.0, 5.0], [1.0, 0.0]])[None, None, None]  # other slots, 1 off once


def test_by_index_by_hand():
    # squares: (4, 0), (9, 25), (16, 25)
    assert ByIndex()(SHIFTED, GOAL_BSD).item() == pytest.approx(79 / 6)
    assert ByIndex([0])(SHIFTED, GOAL_BSD).item() == 2.0
    assert ByIndex([1, 2])(SHIFTED, GOAL_BSD).item() == pytest.approx(75 / 4)


def test_absolute_by_index_by_hand():
    # absolute values: (2, 0), (3, 5), (4, 5)
    assert AbsoluteByIndex()(SHIFTED, GOAL_BSD).item() == pytest.approx(19 / 6)
    assert AbsoluteByIndex([0])(SHIFTED, GOAL_BSD).item() == 1.0
    assert AbsoluteByIndex([1, 2])(SHIFTED, GOAL_BSD).item() == pytest.approx(17 / 4)


def test_matched_by_hand():
    assert Matched()(SHIFTED, GOAL_BSD).item() == pytest.approx(1 / 6)
    assert Matched([0])(SHIFTED, GOAL_BSD).item() == 0.5  # the goal's first object is in the third slot
    assert Matched([1, 2])(SHIFTED, GOAL_BSD).item() == 0.0


def test_matched_against_all_permutations():
    generator = torch.Generator().manual_seed(0)
    tokens, goal = torch.randn(2, 3, 4, 5, 3, generator=generator), torch.randn(2, 5, 3, generator=generator)
    orders = [ByIndex()(tokens[..., order, :], goal) for order in map(list, permutations(range(5)))]
    torch.testing.assert_close(Matched()(tokens, goal), torch.stack(orders).amin(dim=0))


def test_many_tokens_are_matched_as_few_are(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    tokens, goal = torch.randn(2, 3, 4, 5, 3, generator=generator), torch.randn(2, 5, 3, generator=generator)
    few = Matched()(tokens, goal)
    monkeypatch.setattr(distances, "_FEW", 4)
    assert torch.equal(Matched()(tokens, goal), few)


def test_matched_errors_of_single_clips():
    torch.testing.assert_close(matched_errors(SHIFTED[0, 0], GOAL_BSD), torch.tensor([[0.5, 0.0, 0.0]]))


def test_matched_gradients_follow_the_assignment():
    tokens = SHIFTED.clone().requires_grad_()
    Matched()(tokens, GOAL_BSD).sum().backward()
    expected = torch.zeros(3, 2)
    expected[2, 0] = 2 * 1 / 6
    torch.testing.assert_close(tokens.grad[0, 0, 0], expected)


def test_tokens_that_are_nan_stay_nan():
    tokens = SHIFTED.repeat(1, 2, 1, 1, 1)
    tokens[0, 1, 0, 1] = torch.nan
    cost_BNH = Matched()(tokens, GOAL_BSD)
    assert cost_BNH[0, 0, 0].isfinite() and cost_BNH[0, 1, 0].isnan()


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.planning", TokenDistance), ids=lambda cls: cls.__name__)
def test_contract_of_distances(cls):
    distance = build(cls)
    assert not distance(GOAL_BSD[:, None, None].expand(1, 2, 3, -1, -1), GOAL_BSD).any()
    assert (distance(GOAL_BSD[:, None, None] + 1, GOAL_BSD) > 0).all()
    with pytest.raises(UserError, match=r"objects is \[3\], but there are 3 tokens"):
        build(cls, objects=[3])(SHIFTED, GOAL_BSD)


@pytest.mark.parametrize("objects", [[], [1, 1], [-1]])
def test_objects_are_checked(objects):
    with pytest.raises(ValueError, match="objects is"):
        ByIndex(objects)
