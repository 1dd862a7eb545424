import pytest
import torch
from torch.nn.functional import layer_norm

from cjepa.world_models.adaln import AdaLNBlock
from cjepa.world_models.transformer import causal
from tests.contracts import stirred


def make(**changes) -> AdaLNBlock:
    torch.manual_seed(0)
    return AdaLNBlock(**{"dim": 8, "num_heads": 2, "mlp_dim": 16, "dropout": 0.0} | changes)


def inputs(length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, length, 8, generator=generator), torch.randn(3, length, 8, generator=generator)


def test_untrained_it_changes_nothing():
    tokens, condition = inputs()
    assert torch.equal(make()(tokens, condition), tokens)


def test_trained_by_hand():
    """Gates of 1 for the MLP alone: what is added is the MLP of (1 + scale) norm + shift."""
    block, (tokens, condition) = make(), inputs()
    shift, scale, gate = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        block.modulation[-1].bias[3 * 8 :] = torch.cat([shift, scale, gate])
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    normed = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    expected = tokens + gate * block.mlp(normed * (1 + scale) + shift)
    torch.testing.assert_close(block(tokens, condition), expected)


@pytest.mark.parametrize("norm_twice", [False, True])
def test_one_token_attends_to_itself_alone(norm_twice):
    """Attention over one token is its value, which is what a block without attention computes."""
    block, (tokens, condition) = stirred(make(norm_twice=norm_twice)), inputs(1)
    shift, scale, gate = block.modulation(condition).chunk(6, dim=-1)[:3]
    modulated = block.norm_1(tokens) * (1 + scale) + shift
    if norm_twice:
        norm, projected = block.to_qkv
        modulated = layer_norm(modulated, [8], norm.weight, norm.bias)
    values = (projected if norm_twice else block.to_qkv)(modulated).chunk(3, dim=-1)[2]
    attended = tokens + gate * block.to_out(values)
    with torch.no_grad():
        block.modulation[-1].weight[5 * 8 :], block.modulation[-1].bias[5 * 8 :] = 0, 0  # no MLP
    torch.testing.assert_close(block(tokens, condition), attended)


def test_a_second_norm_has_weights_and_is_of_what_the_condition_changed():
    block, (tokens, condition) = stirred(make(norm_twice=True)), inputs()
    with torch.no_grad():
        for part in (block.modulation[-1].weight, block.modulation[-1].bias):
            part[2 * 8 : 3 * 8] = 0  # no attention
    shift, scale, gate = block.modulation(condition).chunk(6, dim=-1)[3:]
    norm, *layers = block.mlp
    assert [type(layer).__name__ for layer in layers] == ["Linear", "GELU", "Linear"]
    normed = layer_norm(block.norm_2(tokens) * (1 + scale) + shift, [8], norm.weight, norm.bias)
    for layer in layers:
        normed = layer(normed)
    torch.testing.assert_close(block(tokens, condition), tokens + gate * normed)


def test_a_token_is_changed_by_its_own_condition_and_by_visible_ones():
    block, (tokens, condition) = stirred(make()), inputs()
    visible = causal(5)
    expected = block(tokens, condition, visible)
    changed = condition.clone()
    changed[:, 2] += 1
    found = block(tokens, changed, visible)
    assert torch.equal(found[:, :2], expected[:, :2])
    assert ((found - expected)[:, 2:].abs().amax(dim=-1) > 1e-5).all()


def test_one_condition_is_that_of_all_tokens():
    block, (tokens, condition) = stirred(make()), inputs()
    same = condition[:, :1]
    torch.testing.assert_close(block(tokens, same), block(tokens, same.expand(-1, 5, -1)))


@pytest.mark.parametrize(("head_width", "inner"), [(None, 8), (7, 14)])
def test_the_width_of_heads(head_width, inner):
    block = make(head_width=head_width)
    assert block.to_qkv.weight.shape == (3 * inner, 8) and block.to_out.weight.shape == (8, inner)
    assert stirred(block)(*inputs()).shape == (3, 5, 8)
