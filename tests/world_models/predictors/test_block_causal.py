"""DINO-WM, JEPA-WM and V-JEPA 2-AC: nothing looks ahead, and each is what its publication says."""

from math import prod

import pytest
import torch
import yaml

from cjepa.errors import UserError
from cjepa.world_models.predictors.block_causal import BlockCausal, ProprioCode, grid_angles
from cjepa.world_models.predictors.dino_wm import DinoWM
from cjepa.world_models.predictors.jepa_wm import JepaWM
from cjepa.world_models.predictors.vjepa2_ac import VJepa2AC
from cjepa.world_models.transformer import turned
from tests.conftest import EXPERIMENTS
from tests.contracts import build, concrete_subclasses
from tests.world_models.predictors.small import SIZES, D, inputs, make

CLASSES = concrete_subclasses("cjepa.world_models", BlockCausal)
S, T = 4, 3


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def predictor(request) -> BlockCausal:
    return make(request.param)


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["tokens", "proprio", "actions"])
def test_predictions_do_not_look_ahead_to_the_bit(predictor, block, part):
    given = list(inputs()[:3])
    expected = predictor.next_blocks(*given)
    given[part] = given[part].clone()
    given[part][:, block:] += 1
    found = predictor.next_blocks(*given)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[:, :block], theirs[:, :block])
        assert (ours[:, block:] - theirs[:, block:]).flatten(2).abs().amax(dim=-1).min() > 1e-4


@torch.no_grad()
def test_a_prediction_is_the_same_within_a_longer_history(predictor):
    tokens, proprio, actions, mask = inputs()
    whole = predictor.next_blocks(tokens, proprio, actions)
    for blocks in (1, 2, 3):
        part = predictor(*(values[:, :blocks] for values in (tokens, proprio, actions, mask)))
        torch.testing.assert_close(part.future_BFSD[:, 0], whole[0][:, blocks - 1])
        torch.testing.assert_close(part.proprio_BFP[:, 0], whole[1][:, blocks - 1])


@torch.no_grad()
def test_a_rollout_reads_nothing_but_what_it_predicted(predictor):
    """Its second block is what a history that ends with the first one predicts."""
    tokens, proprio, actions, mask = inputs()
    state = predictor.observe(tokens[:, :1], proprio[:, :1], actions[:, :0])
    seen = [(tokens[:, 0], proprio[:, 0])]
    for block in range(3):
        state = predictor.step(state, actions[:, block])
        history = [torch.stack(values, dim=1) for values in zip(*seen, strict=True)]
        found = predictor.predicted(state)
        expected = predictor.next_blocks(*history, actions[:, : block + 1])
        torch.testing.assert_close(found.tokens_BSD, expected[0][:, -1])
        torch.testing.assert_close(found.proprio_BP, expected[1][:, -1])
        seen.append((found.tokens_BSD, found.proprio_BP))


@torch.no_grad()
def test_dino_wm_concatenates_and_keeps_the_width():
    predictor, given = make(DinoWM), []
    predictor.blocks[0].register_forward_pre_hook(lambda _, args: given.append(args))
    tokens, proprio, actions, _ = inputs()
    next_BTSD, next_BTP = predictor.next_blocks(tokens, proprio, actions)
    extra = predictor.embed_proprio(proprio), predictor.embed_action(actions)
    expected = torch.cat([tokens, *(e[:, :, None].expand(-1, -1, S, -1) for e in extra)], dim=-1) + predictor.place
    cells, visible = given[0]
    torch.testing.assert_close(cells, expected.flatten(1, 2))
    assert visible.tolist() == [[row // S >= column // S for column in range(T * S)] for row in range(T * S)]
    for block in predictor.blocks:
        cells = block(cells, visible)
    out = predictor.norm(cells).unflatten(1, (T, S))
    torch.testing.assert_close(next_BTSD, out[..., :D])
    torch.testing.assert_close(next_BTP, predictor.embed_proprio.decode(out[..., D : D + 10].mean(dim=2)))


@torch.no_grad()
def test_jepa_wm_modulates_every_layer_with_the_action_of_the_block():
    """A layer by hand: norm, scale, shift, attention or MLP, gate."""
    block, generator = make(JepaWM).blocks[0], torch.Generator().manual_seed(0)
    width, tokens = block.norm_1.normalized_shape[0], 5
    x, c = (torch.randn(2, tokens, width, generator=generator) for _ in range(2))
    angles, visible = torch.zeros(tokens, 1), torch.ones(tokens, tokens, dtype=torch.bool)
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
        block.modulation(c * torch.sigmoid(c)).unflatten(-1, (6, width)).unbind(-2)
    )
    normed = block.norm_1(x) * (1 + scale_1) + shift_1
    y = x + gate_1 * block.attend(normed, None, visible, angles)[0]
    y = y + gate_2 * block.mlp(block.norm_2(y) * (1 + scale_2) + shift_2)
    torch.testing.assert_close(block(x, c, visible, angles), y)
    predictor, given = make(JepaWM), []
    predictor.blocks[-1].register_forward_pre_hook(lambda _, args: given.append(args))
    tokens, proprio, actions, _ = inputs()
    predictor.next_blocks(tokens, proprio, actions)
    torch.testing.assert_close(given[0][1], predictor.embed_action(actions).repeat_interleave(S, dim=1))


@torch.no_grad()
def test_vjepa2_ac_interleaves_action_state_and_patches():
    predictor, given = make(VJepa2AC), []
    predictor.blocks[0].register_forward_pre_hook(lambda _, args: given.append(args))
    tokens, proprio, actions, _ = inputs()
    next_BTSD, _ = predictor.next_blocks(tokens, proprio, actions)
    cells, visible, _ = given[0]
    cells = cells.unflatten(1, (T, S + 2))
    torch.testing.assert_close(cells[:, :, 0], predictor.embed_action(actions))
    torch.testing.assert_close(cells[:, :, 1], predictor.embed_proprio(proprio))
    torch.testing.assert_close(cells[:, :, 2:], predictor.embed_token(tokens))
    each = S + 2
    assert visible.tolist() == [
        [row // each >= column // each for column in range(T * each)] for row in range(T * each)
    ]
    torch.testing.assert_close(next_BTSD.mean(dim=-1), torch.zeros(next_BTSD.shape[:3]), atol=1e-5, rtol=0)
    spread = next_BTSD.var(dim=-1, correction=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-3, rtol=0)


def test_rotary_places_are_relative_in_time_row_and_column():
    """Attention between two tokens stays the same if both move by a block, a row or a column."""
    angles = grid_angles(3, 9, 0, 25, torch.device("cpu")).unflatten(0, (3, 3, 3))
    assert angles.shape == (3, 3, 3, 12)  # 24 of 25 values turn, as in the published code
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 25, generator=generator)

    def product(at: tuple, other: tuple) -> torch.Tensor:
        return (turned(query, angles[at][None]) * turned(key, angles[other][None])).sum()

    expected = product((0, 0, 1), (1, 1, 0))
    for moved in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        first, second = (tuple(a + b for a, b in zip(at, moved, strict=True)) for at in ((0, 0, 1), (1, 1, 0)))
        torch.testing.assert_close(product(first, second), expected)
    for other in ((0, 1, 0), (1, 0, 0), (1, 1, 1)):
        assert (product((0, 0, 1), other) - expected).abs() > 1e-3
    in_front = grid_angles(2, 4, 2, 12, torch.device("cpu")).unflatten(0, (2, 6))
    assert not in_front[0, :3].any() and in_front[0, 3:].any(dim=-1).all()  # patch 0 is at row 0 and column 0 too


def test_an_embedding_of_proprioception_is_read_back():
    code, proprio = ProprioCode(4, 10), inputs()[1]
    torch.testing.assert_close(code.decode(code(proprio)), proprio)
    with pytest.raises(ValueError, match="proprio_dim is 4, expected at most 3"):
        ProprioCode(4, 3)


def test_mixed_precision_does_not_round_what_is_read_back():
    code, proprio = ProprioCode(4, 10), inputs()[1]
    embedded = code(proprio)
    with torch.autocast("cpu", torch.bfloat16):
        found = code.decode(embedded)
    assert torch.equal(found, code.decode(embedded))


def published(name: str, **changes) -> BlockCausal:
    """On no device, as a chain of YAMLs sizes it; what the later files leave out comes from those before."""
    sizes = {}
    for file in ("dino_wm", name, f"{name}_paper"):
        predictor = yaml.safe_load((EXPERIMENTS / "pusht" / f"{file}.yaml").read_text())["model"]["init_args"][
            "predictor"
        ]
        sizes |= predictor["init_args"]
    cls = {"dino_wm": DinoWM, "jepa_wm": JepaWM, "vjepa2_ac": VJepa2AC}[name]
    with torch.device("meta"):
        return build(cls, **sizes | changes)


def count(predictor: BlockCausal) -> int:
    return sum(prod(value.shape) for value in predictor.parameters())


def test_dino_wm_has_the_published_size():
    """Counted from models/vit.py and models/proprio.py of github.com/gaoyuezhou/dino_wm; 384 + 10 + 10 per token."""
    width, inner = 404, 16 * 64
    attention = 2 * width + width * 3 * inner + inner * width + width
    mlp = 2 * width + (width * 2048 + 2048) + (2048 * width + width)
    beside = 2 * width + 3 * 196 * width + (10 * 10 + 10) + (4 * 10 + 10)
    assert count(published("dino_wm")) == 6 * (attention + mlp) + beside == 20_122_760


def test_jepa_wm_has_the_published_size():
    """Counted from AdaLN_vit.py of github.com/facebookresearch/jepa-wms and its configuration for Push-T."""
    width = 384 + 16
    attention = width * 3 * width + 3 * width + width * width + width
    mlp = (width * 4 * width + 4 * width) + (4 * width * width + width)
    layer = attention + mlp + 4 * width + (width * 6 * width + 6 * width)
    beside = 2 * (384 * 384 + 384) + (10 * width + width) + 2 * width + (4 * 16 + 16)
    assert count(published("jepa_wm")) == 6 * layer + beside == 17_626_560


def test_vjepa2_ac_has_the_published_size():
    """Counted from ac_predictor.py of github.com/facebookresearch/vjepa2; the paper says 300 M."""
    layer = 12 * 1024 * 1024 + 13 * 1024
    beside = (1408 * 1024 + 1024) + (1024 * 1408 + 1408) + 2 * 1024
    droid = published("vjepa2_ac", action_dim=7, proprio_dim=7)
    assert count(droid) == 24 * layer + beside + 2 * (7 * 1024 + 1024)
    assert abs(count(droid) / 300e6 - 1) < 0.02
    assert count(published("vjepa2_ac")) == 24 * layer + beside + (10 * 1024 + 1024) + (4 * 1024 + 1024)


def test_another_number_of_patches_is_named():
    with pytest.raises(UserError, match="for 5 tokens a block, but there are 4"):
        build(DinoWM, **SIZES, num_tokens=5)(*inputs())


@pytest.mark.parametrize("cls", [JepaWM, VJepa2AC])
def test_narrow_heads_are_named(cls):
    with pytest.raises(ValueError, match="heads are 4 wide, expected 6 or more"):
        make(cls, dim=16, num_heads=4, proprio_dim=0)
