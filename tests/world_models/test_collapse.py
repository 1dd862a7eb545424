import pytest
import torch

from cjepa.errors import TrainingFailed
from cjepa.world_models.collapse import Spread, check_spread, effective_rank, spread_of

LEAST = Spread(2.0, 0.05)


def test_spread_by_hand():
    """Four corners of a square of side 2: two directions, variance 1 in each of two of four values."""
    tokens = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    tokens = torch.cat([tokens, torch.zeros(4, 2)], dim=1).reshape(2, 2, 1, 4)
    assert spread_of(tokens + 5) == pytest.approx((2.0, 0.5**0.5))


@pytest.mark.parametrize(("singular", "rank"), [([1, 1, 1], 3.0), ([1, 0, 0], 1.0), ([0, 0, 0], 1.0)])
def test_rank_by_hand(singular, rank):
    assert effective_rank(torch.diag(torch.tensor(singular).double()) ** 2).item() == pytest.approx(rank)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.ones(4, 4, 1, 3), "step 7: the tokens have collapsed: their effective rank is 1, expected 2 or more"),
        (torch.arange(16.0).reshape(4, 4, 1, 1) * torch.ones(3), "effective rank is 1"),
        (torch.arange(16.0).reshape(4, 4, 1, 1), "effective rank is 1"),
        (1e-3 * torch.randn(4, 4, 1, 3), "standard deviation is 0.00.*, expected 0.05 or more"),
    ],
    ids=["point", "line", "one-value", "small"],
)
def test_collapsed_tokens_stop_the_training(tokens, message):
    with pytest.raises(TrainingFailed, match=message) as stopped:
        check_spread(spread_of(tokens), 7, LEAST)
    assert "\n" not in str(stopped.value)


def test_spread_tokens_do_not():
    torch.manual_seed(0)
    check_spread(spread_of(torch.randn(4, 4, 1, 3)), 7, LEAST)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_tokens_that_are_not_finite_are_named(value):
    tokens = torch.randn(4, 4, 1, 3)
    tokens[1, 2, 0, 1] = value
    with pytest.raises(TrainingFailed, match="step 7: the tokens are not finite; give training a lower learning rate"):
        check_spread(spread_of(tokens), 7, LEAST)
