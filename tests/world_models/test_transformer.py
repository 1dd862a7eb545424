import pytest
import torch

from cjepa.world_models.transformer import Block, Dropout, causal, rotary_angles, turned
from tests.contracts import stirred


def tokens(length: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, length, 16, generator=torch.Generator().manual_seed(seed))


def block() -> Block:
    torch.manual_seed(0)
    return Block(16, 2, 32, 0.0).eval()


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


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_drops_the_right_share_and_scales_the_rest(probability):
    torch.manual_seed(0)
    given = torch.ones(2_001, 101, requires_grad=True)  # no multiple of the four values that share a random number
    values = Dropout(probability)(given)
    values.sum().backward()
    dropped = values.detach() == 0
    deviation = (probability * (1 - probability) / (given.numel() / 4)) ** 0.5
    for first in range(4):  # the four quarters of each random number
        assert abs(dropped.flatten()[first::4].float().mean() - probability) < 4 * deviation
    assert torch.allclose(values[~dropped], torch.tensor(1 / (1 - probability)))
    assert torch.equal(given.grad, values.detach())


def test_dropout_is_drawn_anew_and_repeats_with_the_seed():
    def drawn() -> torch.Tensor:
        return Dropout(0.3)(torch.ones(64, 8))

    torch.manual_seed(0)
    first, second = drawn(), drawn()
    torch.manual_seed(0)
    assert torch.equal(first, drawn()) and not torch.equal(first, second)


@pytest.mark.parametrize("layer", [Dropout(0.0), Dropout(0.3).eval()])
def test_dropout_that_does_nothing(layer):
    given = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(given), given)


def test_half_precision_is_close_to_full_precision():
    model, given = stirred(block()), tokens()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(given, causal(6))
    exact = model.double()(given.double(), causal(6))
    assert (rounded - exact).abs().max() < 0.02 * exact.abs().max()
    assert (model.float()(given, causal(6)) - exact).abs().max() < 1e-5


def test_tokens_after_others_are_the_same_as_all_at_once():
    model, given, angles = stirred(block()), tokens(), rotary_angles(torch.arange(6), 8)
    visible = causal(6)
    whole = model(given, visible, angles_LR=angles)
    first, seen = model.after(None, given[:, :4], visible[:4, :4], angles_MR=angles[:4])
    last, seen = model.after(seen, given[:, 4:], visible[4:], angles_MR=angles)
    torch.testing.assert_close(torch.cat([first, last], dim=1), whole)
    assert seen.keys_BHMK.shape == seen.values_BHMK.shape == (2, 2, 6, 8)


def test_angles_by_hand():
    """Of heads of width 4: one angle is time itself, the other a tenth of it, the root of 1 / 100."""
    angles_LR = rotary_angles(torch.tensor([0, 3]), 4)
    torch.testing.assert_close(angles_LR, torch.tensor([[0.0, 0.0], [3.0, 0.3]]))
    found = turned(torch.tensor([[[[1.0, 0.0, 0.0, 2.0]]]]), torch.tensor([[torch.pi / 2, torch.pi]]))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.0, 1.0, -2.0]]]]))


def test_attention_with_angles_knows_distances_alone():
    model, given = stirred(block()), tokens()
    early, late, reversed_time = (
        model(given, angles_LR=rotary_angles(time, 8))
        for time in (torch.arange(6), torch.arange(6) + 5, 5 - torch.arange(6))
    )
    torch.testing.assert_close(early, late)
    assert (early - reversed_time).abs().max() > 1e-4
