import pytest
import torch
import yaml
from torch import nn

from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from tests.conftest import EXPERIMENTS
from tests.contracts import assert_order_does_not_matter, build, stirred
from tests.world_models.predictors.small import noise

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32}
B, S = 3, 4


def make(**changes) -> PrefixTransformer:
    torch.manual_seed(0)
    return stirred(PrefixTransformer(**SIZES | changes)).eval()


def inputs(blocks: int = 1, later: int = 0):
    return noise(B, blocks, S, later=later)


def calls_of(module: nn.Module) -> list[tuple[int, ...]]:
    """The shapes that the module is called with from now on."""
    shapes = []
    module.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    return shapes


@pytest.mark.parametrize(
    ("chain", "token_dim", "proprio_dim", "count"),
    [
        (("fast_lewm", "fast_lewm_paper"), 34, 4, 13_198_470),
        (("lewm", "lewm_paper", "fast_lewm_pixels", "fast_lewm_pixels_paper"), 192, 0, 13_257_568),
    ],
    ids=["slots", "pixels"],
)
def test_the_published_size(chain, token_dim, proprio_dim, count):
    """The blocks of LeWorldModel's predictor and three causal ones over actions; only ends differ on slots."""
    sizes = {"token_dim": 34}
    for name in chain:
        content = yaml.safe_load((EXPERIMENTS / "pusht" / f"{name}.yaml").read_text())
        sizes |= content["model"]["init_args"]["predictor"]["init_args"]
    with torch.device("meta"):
        predictor = build(PrefixTransformer, **sizes)
    assert (predictor.token_dim, predictor.proprio_dim) == (token_dim, proprio_dim)
    width = 192
    prefixes = 3 * (12 * width**2 + 13 * width) + 2 * width + 6 * width  # with the last norm and the places
    wide = width * 4 * width + 4 * width + 4 * width * width + width  # an MLP of hidden width 4 W
    actions = (10 * 32 + 32) + (32 + 1) * 4 * width + 4 * width * width + width
    join = 2 * 3 * width + (3 * width + 1) * 4 * width + 4 * width * width + width
    entities = 1 + bool(proprio_dim)  # each is embedded, with a bias
    ends = (token_dim + proprio_dim + entities) * width + 2 * width  # with the last norm
    ends += (width + 1) * (token_dim + proprio_dim)
    assert 6 * 1_797_632 + prefixes + wide + actions + join + ends == count
    assert sum(value.numel() for value in predictor.parameters()) == count


def test_all_futures_are_one_pass():
    predictor = make()
    tokens, proprio, actions, mask = inputs(later=4)
    shapes = calls_of(predictor.blocks[0])
    predictor.unroll(tokens, proprio, actions, mask)
    assert shapes == [(5 * B, S + 1, 16)]
    predictor.rollout(predictor.observe(tokens, proprio, actions[:, :0]), actions)
    assert shapes == 2 * [(5 * B, S + 1, 16)]


def test_a_future_is_that_of_its_own_prefix():
    """With the actions up to it alone it is the same."""
    predictor = make()
    tokens, proprio, actions, mask = inputs(later=4)
    whole = predictor.unroll(tokens, proprio, actions, mask)
    for length in range(1, 6):
        alone = predictor.unroll(tokens, proprio, actions[:, :length], mask)
        torch.testing.assert_close(alone.future_BFSD[:, -1], whole.future_BFSD[:, length - 1])


def test_a_longer_plan_goes_on_from_its_last_prediction():
    """Eight blocks of prefixes of three: what is predicted for block 2 and 5 is what the next passes have seen."""
    for history in (1, 3):
        predictor = make(history_blocks=history, prefix_blocks=3)
        tokens, proprio, actions, _ = inputs(blocks=2, later=7)
        known = min(history, 2)
        state = predictor.observe(tokens[:, -known:], proprio[:, -known:], actions[:, 2 - known : 1])
        found = predictor.rollout(state, actions[:, 1:])
        seen = torch.cat([tokens[:, -known:], found.tokens_BHSD[:, :3]], dim=1)[:, -history:]
        seen_proprio = torch.cat([proprio[:, -known:], found.proprio_BHP[:, :3]], dim=1)[:, -history:]
        between = actions[:, 5 - seen.shape[1] : 4]
        again = predictor.rollout(predictor.observe(seen, seen_proprio, between), actions[:, 4:])
        torch.testing.assert_close(again.tokens_BHSD, found.tokens_BHSD[:, 3:])
        torch.testing.assert_close(again.proprio_BHP, found.proprio_BHP[:, 3:])


def test_a_rollout_goes_on_from_any_step():
    predictor = make(history_blocks=3, prefix_blocks=3)
    tokens, proprio, actions, _ = inputs(blocks=2, later=7)
    state = predictor.observe(tokens, proprio, actions[:, :1])
    whole = predictor.rollout(state, actions[:, 1:])
    for done in range(5):
        rest = predictor.rollout(state, actions[:, 1 + done :])
        torch.testing.assert_close(rest.tokens_BHSD, whole.tokens_BHSD[:, done:])
        state = predictor.step(state, actions[:, 1 + done])


def test_before_any_action_the_present_is_what_was_seen():
    predictor = make()
    tokens, proprio, actions, _ = inputs()
    found = predictor.predicted(predictor.observe(tokens, proprio, actions[:, :0]))
    assert torch.equal(found[0], tokens[:, -1]) and torch.equal(found[1], proprio[:, -1])


def test_the_order_of_actions_matters():
    predictor = make()
    tokens, proprio, actions, mask = inputs(later=2)
    last, turned = (predictor.unroll(tokens, proprio, a, mask).future_BFSD[:, -1] for a in (actions, actions.flip(1)))
    assert (last - turned).abs().max() > 1e-4


def test_without_actions_a_prefix_is_its_length():
    predictor = make(action_dim=0)
    tokens, proprio, actions, mask = inputs(later=2)
    future = predictor.unroll(tokens, proprio, actions[..., :0], mask).future_BFSD
    assert (future[:, 0] - future[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("history", [1, 3])
def test_untrained_it_says_that_nothing_changes(history):
    tokens, proprio, actions, mask = inputs(history, later=2)
    torch.manual_seed(0)
    untrained = PrefixTransformer(**SIZES, history_blocks=history).eval()
    _, future, next_proprio = untrained.unroll(tokens, proprio, actions, mask)
    assert torch.equal(future, tokens[:, -1:].expand(-1, 3, -1, -1))
    assert torch.equal(next_proprio, proprio[:, -1:].expand(-1, 3, -1))


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(history_blocks=3), *inputs(3))


def test_a_model_of_one_frame_has_nothing_that_is_not_trained():
    predictor = make()
    sum(values.square().sum() for values in predictor(*inputs())).backward()
    assert [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "num_heads is 3, expected a divisor of dim = 16, or set head_width"),
        ({"prefix_heads": 3}, "prefix_heads is 3, expected a divisor of dim = 16"),
        ({"prefix_blocks": 0}, "prefix_blocks is 0, expected 1 or more"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        PrefixTransformer(**SIZES | changes)
    assert make(num_heads=3, head_width=5)(*inputs()).future_BFSD.shape == (B, 1, S, 6)
