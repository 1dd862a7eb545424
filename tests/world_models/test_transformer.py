import torch

from cjepa.world_models.transformer import Block, causal
from tests.contracts import stirred


def tokens(length: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, length, 16, generator=torch.Generator().manual_seed(seed))


def block(**changes) -> Block:
    torch.manual_seed(0)
    return Block(16, 2, 32, 0.0, **changes).eval()


def test_without_a_mask_every_token_sees_every_other():
    model, given = stirred(block()), tokens().requires_grad_()
    model(given)[:, 0].sum().backward()
    assert (given.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert torch.equal(model(given), model(given, torch.ones(6, 6, dtype=torch.bool)))


def test_a_causal_mask_hides_later_blocks_to_the_bit():
    model, given = stirred(block()), tokens()
    later = given.clone()
    later[:, 4:] += 5.0
    visible = causal(6, block=2)
    assert torch.equal(model(given, visible)[:, :4], model(later, visible)[:, :4])
    assert not torch.equal(model(given, visible)[:, 4:], model(later, visible)[:, 4:])


def test_causal_by_hand():
    assert causal(4, block=2).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert causal(2).int().tolist() == [[1, 0], [1, 1]]


def test_a_condition_does_nothing_at_first_and_something_later():
    model, given = block(condition_dim=3), tokens()
    condition = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(model(given, condition_BLC=condition), given)  # AdaLN-zero: both branches are closed
    model = stirred(model)
    changed = model(given, condition_BLC=condition + 1)
    assert (changed - model(given, condition_BLC=condition)).abs().max() > 1e-4


def test_a_condition_of_each_token():
    model, given = stirred(block(condition_dim=3)), tokens()
    condition = torch.zeros(2, 6, 3)
    whole = model(given, causal(6), condition)
    condition[:, 5] = 1.0
    changed = model(given, causal(6), condition)
    assert torch.equal(changed[:, :5], whole[:, :5]) and not torch.equal(changed[:, 5], whole[:, 5])
