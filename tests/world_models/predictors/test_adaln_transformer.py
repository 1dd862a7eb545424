import pytest
import torch
import yaml

from cjepa.tokenizers.baselines.vit import ViTTokenizer
from cjepa.world_models.predictors.adaln_transformer import AdaLNTransformer
from tests.conftest import EXPERIMENTS
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import B, inputs

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32}


def make(**changes) -> AdaLNTransformer:
    torch.manual_seed(0)
    return stirred(AdaLNTransformer(**SIZES | changes)).eval()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def published(part: str) -> dict:
    """The sizes of a part of LeWorldModel, as the chain of YAMLs gives them."""
    sizes = {}
    for name in ("lewm", "lewm_paper"):
        content = yaml.safe_load((EXPERIMENTS / "pusht" / f"{name}.yaml").read_text())
        sizes |= content["model"]["init_args"][part]["init_args"]
    return sizes


def test_the_published_size():
    """Counted from module.py of the published code, whose blocks have two norms without weights and two with."""
    with torch.device("meta"):
        predictor = AdaLNTransformer(**published("predictor"))
    attention, mlp, modulation = 192 * 3072 + 1024 * 192 + 192, 2 * 192 * 2048 + 2048 + 192, 6 * 192 * 193
    assert count(predictor.blocks) == 6 * (attention + mlp + modulation + 2 * 2 * 192) == 6 * 1_798_400
    assert count(predictor.embed_action) == 110 + 11 * 768 + 769 * 192
    assert count(predictor.project) == 792_768
    rest = 2 * 192 + 3 * 192 + 192  # the last norm, times, the vector of hidden cells
    assert count(predictor) == sum(map(count, (predictor.blocks, predictor.embed_action, predictor.project))) + rest


def test_the_published_size_of_the_encoder():
    """A ViT-tiny and its head. The paper's 15 M are 5 of the transformer here and 10 of the predictor's blocks."""
    with torch.device("meta"):
        tokenizer = ViTTokenizer(**published("tokenizer"))
    places, blocks = (16**2 + 1) * 192, 12 * (12 * 192**2 + 13 * 192)
    encoder = (3 * 14**2 + 1) * 192 + 192 + places + blocks + 2 * 192
    assert count(tokenizer) - count(tokenizer.project) == encoder == 5_501_376
    assert count(tokenizer.project) == 792_768
    with torch.device("meta"):
        assert count(tokenizer) + count(AdaLNTransformer(**published("predictor"))) == 18_034_670


def test_every_block_predicts_the_next_from_those_before():
    """What a block says of the next one is what it says when nothing follows it."""
    predictor = make()
    tokens, proprio, actions, mask = inputs()
    whole = predictor(tokens, proprio, actions, mask)
    assert torch.equal(whole.history_BTSD[:, 0], tokens[:, 0])
    for blocks in (1, 2):
        alone = predictor(*(values[:, :blocks] for values in (tokens, proprio, actions, mask)))
        torch.testing.assert_close(alone.future_BFSD[:, 0], whole.history_BTSD[:, blocks])


def test_untrained_actions_change_nothing():
    """Zero-initialised: shifts, scales and gates are 0 whatever the action."""
    torch.manual_seed(0)
    predictor = AdaLNTransformer(**SIZES).eval()
    tokens, proprio, actions, mask = inputs()
    found = [predictor(tokens, proprio, a, mask).future_BFSD for a in (actions, actions + 1)]
    assert torch.equal(*found)
    assert not torch.equal(*(make()(tokens, proprio, a, mask).future_BFSD for a in (actions, actions + 1)))


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(), *inputs())


def test_the_head_with_a_batch_norm():
    predictor = make(projection_dim=32, token_dim=16)
    tokens = torch.randn(B, 3, 4, 16, generator=torch.Generator().manual_seed(2))
    assert predictor(tokens, *inputs()[1:]).future_BFSD.shape == (B, 1, 4, 16)
    assert [type(layer).__name__ for layer in predictor.project] == ["Linear", "BatchNorm1d", "GELU", "Linear"]
    assert isinstance(predictor.token_head, torch.nn.Identity)


def test_heads_that_do_not_fit():
    with pytest.raises(ValueError, match="num_heads is 3, expected a divisor of dim = 16, or set head_width"):
        AdaLNTransformer(**SIZES | {"num_heads": 3})
