"""The published predictor against the published formulas, for any sizes; weights go the way that an import goes."""

import pytest
import torch

from cjepa.artifacts.import_official import read_official
from cjepa.world_models.predictors.official import OfficialTransformer
from tests.published import Published, published_weights

D, P, A = 12, 4, 10
SIZES = [  # slots, history, predicted, heads
    (1, 1, 1, 1),
    (4, 3, 1, 12),
    (2, 3, 2, 4),
    (7, 6, 10, 3),
]
by_name = {"ids": lambda sizes: "-".join(map(str, sizes))}


def both(
    tmp_path, history: int, predicted: int, heads: int, acts: bool = True
) -> tuple[OfficialTransformer, Published]:
    widths = {"proprio_dim": P, "action_dim": A} if acts else {}
    weights = published_weights(D, history + predicted, **widths)
    torch.save(weights, tmp_path / "weights.pt")
    official = read_official(tmp_path / "weights.pt", heads, predicted)
    predictor = OfficialTransformer(**official.sizes)
    predictor.load_state_dict(official.weights)
    return predictor.eval(), Published(weights, heads, predicted)


def a_history(blocks: int, slots: int, later: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = (3, blocks, slots, D), (3, blocks, P), (3, blocks + later, A)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@torch.no_grad()
@pytest.mark.parametrize("sizes", SIZES, **by_name)
@pytest.mark.parametrize("acts", [True, False], ids=["acts", "watches"])
def test_training_is_as_published(tmp_path, sizes, acts):
    slots, history, predicted, heads = sizes
    predictor, published = both(tmp_path, history, predicted, heads, acts)
    tokens, proprio, actions = a_history(history, slots)
    entities = tokens
    if acts:
        entities = torch.cat([tokens, published.embed("proprio", proprio), published.embed("action", actions)], dim=2)
    masked = torch.zeros(entities.shape[2], dtype=torch.bool)
    masked[slots // 2 : slots] = True
    expected = published.forward(entities, masked)
    mask_BTS = masked[:slots].repeat(3, history, 1)
    mask_BTS[:, 0] = False
    given = (tokens, proprio, actions) if acts else (tokens, proprio[..., :0], actions[..., :0])
    found = predictor(*given, mask_BTS)
    torch.testing.assert_close(found.history_BTSD, expected[:, :history, :slots], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.future_BFSD, expected[:, history:, :slots], atol=1e-5, rtol=0)
    if acts:
        hidden = predictor.hidden(mask_BTS, slots)
        every = predictor.predict(predictor.embedded(tokens, proprio), predictor.embedded_actions(actions), hidden)
        torch.testing.assert_close(every, expected[:, :, : slots + 1], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [SIZES[0], *SIZES[1:3]], **by_name)
@pytest.mark.parametrize("context", [1, 2, 3])
def test_rollouts_with_actions_are_as_published(tmp_path, sizes, context):
    """Objects are put into order after each pass; histories of one frame take the last time embeddings."""
    slots, history, predicted, heads = sizes
    context, steps = min(context, history), 5
    predictor, published = both(tmp_path, history, predicted, heads)
    assert predictor.matching == "hungarian"
    tokens, proprio, actions = a_history(context, slots, later=steps - 1)
    entities = torch.cat([tokens, published.embed("proprio", proprio)], dim=2)
    expected = published.rollout(entities, published.embed("action", actions), steps, history, matched=True)
    state = predictor.observe(tokens, proprio, actions[:, : context - 1])
    for block in range(steps):
        state = predictor.step(state, actions[:, context - 1 + block])
        tokens_BSD, proprio_BP, _ = predictor.predicted(state)
        torch.testing.assert_close(tokens_BSD, expected[:, block, :slots], atol=1e-5, rtol=0)
        nearest = published.embed("proprio", proprio_BP[:, None])[:, 0, 0]
        apart = (expected[:, block, -1] - nearest) @ predictor.embed_proprio.weight
        torch.testing.assert_close(apart, torch.zeros_like(apart), atol=1e-4, rtol=0)  # so no other one is nearer


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 4, 6])
def test_rollouts_without_actions_use_whole_passes(tmp_path, context):
    slots, history, predicted, heads = SIZES[3]
    predictor, published = both(tmp_path, history, predicted, heads, acts=False)
    tokens, proprio, actions = (
        values[..., :width] for values, width in zip(a_history(context, slots), (D, 0, 0), strict=True)
    )
    expected = published.rollout(tokens, None, 2 * predicted + 3, history, matched=False)
    state = predictor.observe(tokens, proprio, actions[:, : context - 1])
    found = []
    for _ in range(expected.shape[1]):
        state = predictor.step(state, actions[:, 0])
        found.append(predictor.predicted(state).tokens_BSD)
    torch.testing.assert_close(torch.stack(found, dim=1), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_proprioception_that_was_seen_is_read_back(tmp_path):
    predictor, _ = both(tmp_path, 3, 1, 4)
    tokens, proprio, actions = a_history(3, 2)
    state = predictor.observe(tokens, proprio, actions[:, :2])
    torch.testing.assert_close(predictor.predicted(state).proprio_BP, proprio[:, -1])


@torch.no_grad()
@pytest.mark.parametrize(("slots", "history", "predicted"), [(4, 3, 1), (7, 6, 10)], ids=["pusht", "clevrer"])
def test_the_released_sizes_compute_the_same(tmp_path, slots, history, predicted):
    """Width, depth, heads and MLP of the released weights, in double precision, which leaves no room for rounding."""
    weights = published_weights(128, history + predicted, depth=6, mlp_dim=2048)
    torch.save(weights, tmp_path / "weights.pt")
    official = read_official(tmp_path / "weights.pt")
    predictor = OfficialTransformer(**official.sizes).double().eval()
    predictor.load_state_dict(official.weights)
    published = Published({name: value.double() for name, value in weights.items()}, 16, predicted)
    tokens_BTSD = torch.randn(2, history, slots, 128, generator=torch.Generator().manual_seed(1)).double()
    hidden_BTS = torch.zeros(2, history, slots, dtype=torch.bool)
    hidden_BTS[:, 1:, 1] = True
    expected = published.forward(tokens_BTSD, hidden_BTS[0, -1])
    nothing = tokens_BTSD[:, :, 0, :0]
    found = predictor(tokens_BTSD, nothing, nothing, hidden_BTS)
    torch.testing.assert_close(torch.cat(found[:2], dim=1), expected, atol=1e-9, rtol=0)
    ahead = published.inference(tokens_BTSD[:, -1:])
    found = predictor(tokens_BTSD[:, -1:], nothing[:, -1:], nothing[:, -1:], hidden_BTS[:, :1])
    torch.testing.assert_close(found.future_BFSD, ahead, atol=1e-9, rtol=0)


def test_the_published_size():
    """Counted from the published code: 6 layers of width 128 with an MLP of 2048, heads of no matter."""
    layer = (3 * 128 * 128 + 3 * 128) + (128 * 128 + 128) + 2 * 128 + (128 * 2048 + 2048) + (2048 * 128 + 128)
    beside = 128 + 4 * 128 + 2 * (128 * 128 + 128) + 2 * 128 + (10 * 128 + 128) + (4 * 128 + 128)
    predictor = OfficialTransformer(token_dim=128)
    assert sum(value.numel() for value in predictor.parameters()) == 6 * layer + beside == 3_592_576


@pytest.mark.parametrize(("name", "value"), [("num_heads", 5), ("proprio_dim", 13), ("predict_blocks", 0)])
def test_sizes_that_make_no_sense_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}, expected"):
        OfficialTransformer(**{"token_dim": D, "num_heads": 4, name: value})
