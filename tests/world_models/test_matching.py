"""Objects of two sets are paired such that all pairs together are closest."""

from itertools import permutations

import pytest
import torch

from cjepa.errors import UserError
from cjepa.world_models.matching import assignment, reordered, take_slots
from tests.world_models.test_model import MadeOn


def costs(batch: int, slots: int) -> torch.Tensor:
    return torch.rand(batch, slots, slots, generator=torch.Generator().manual_seed(slots))


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_no_other_pairs_cost_less(slots):
    cost_BSS = costs(50, slots)
    found_BS = assignment(cost_BSS)
    orders = torch.tensor(list(permutations(range(slots))))
    total_BK = cost_BSS[:, torch.arange(slots), orders].sum(dim=-1)
    assert torch.equal(found_BS, orders[total_BK.argmin(dim=1)])


def test_the_nearest_one_is_not_always_taken():
    """Row 0 gives up its best column, 0, since row 1 would lose more."""
    assert assignment(torch.tensor([[[1.0, 2.0], [1.0, 9.0]]])).tolist() == [[1, 0]]


def test_pairs_that_are_not_allowed():
    cost_SS = torch.tensor([[torch.inf, 5.0, 5.0], [0.0, torch.inf, torch.inf], [1.0, 9.0, 7.0]])
    assert assignment(cost_SS[None]).tolist() == [[1, 0, 2]]


def test_leading_axes_and_a_large_number_of_objects():
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    cost_SS = 1 - torch.eye(12)[order]
    assert torch.equal(assignment(cost_SS.expand(2, 3, -1, -1)), order.expand(2, 3, -1))


def test_what_is_made_once_is_never_copied_to_a_device_again():
    """A GPU would have to be waited for in every step of a rollout."""
    cost_BSS = costs(2, 4).to("meta")
    assignment(cost_BSS)
    with MadeOn() as made:
        assignment(cost_BSS)
    assert made.devices == {"meta"}


def test_too_many_objects_are_refused():
    with pytest.raises(UserError, match="matching: hungarian takes up to 12 objects, got 13"):
        assignment(costs(1, 13))


def test_objects_get_their_order_back_and_their_gradient():
    like_BSD = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1))
    order_BS = torch.stack([torch.randperm(5, generator=torch.Generator().manual_seed(b)) for b in range(4)])
    mixed_BSD = (take_slots(like_BSD, order_BS) + 0.01).requires_grad_()
    found_BSD = reordered(mixed_BSD, like_BSD)
    torch.testing.assert_close(found_BSD, like_BSD + 0.01)
    found_BSD[:, 0].sum().backward()
    assert torch.equal(mixed_BSD.grad[..., 0], (order_BS == 0).float())
