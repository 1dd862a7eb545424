import pytest
import torch
from torch import nn

from cjepa.world_models.predictors.sparse_attention import SparseBlock, SparseTransformer, gates, path_matrix
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import B, inputs

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "history_blocks": 3, "dim": 16, "depth": 2, "mlp_dim": 32}


def make(**changes) -> SparseTransformer:
    torch.manual_seed(0)
    return stirred(SparseTransformer(**SIZES | changes)).eval()


def with_products(predictor: SparseTransformer, value: float) -> SparseTransformer:
    """All products of queries and keys are ``value``; values are those of before."""
    with torch.no_grad():
        for block in predictor.blocks:
            block.to_qkv.weight[:32] = 0
            block.to_qkv.bias[:16] = 1
            block.to_qkv.bias[16:32] = value / 16
    return predictor


def test_paths_by_hand():
    """1 attends to 0 in the first layer, 2 to 1 in the second: 0 reaches 2 in this order alone."""
    first, second = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    first[0, 1, 0], second[0, 2, 1] = 1, 1
    assert path_matrix([first, second]).tolist() == [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]
    assert path_matrix([second, first]).tolist() == [[[1, 0, 0], [1, 1, 0], [0, 1, 1]]]
    assert path_matrix([first, first])[0, 1, 0] == 2


def test_gates_without_a_generator():
    logits = torch.tensor([[[-3.0, 0.1], [0.0, 5.0]]], requires_grad=True)
    found = gates(logits, None)
    assert found.tolist() == [[[0, 1], [0, 1]]] and not found.requires_grad


def test_gates_are_drawn_with_their_probability():
    logits = torch.tensor([-2.0, 0.0, 1.0]).expand(1, 20_000, 3)
    found = gates(logits, torch.Generator().manual_seed(0))
    assert set(found.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(found.mean(dim=1), logits[:, 0].sigmoid(), atol=0.02, rtol=0)
    assert torch.equal(gates(logits, torch.Generator().manual_seed(0)), found)


def test_the_gradient_of_a_gate_is_that_of_the_relaxed_one():
    logits = torch.tensor([[[-1.0, 2.0]]], requires_grad=True)
    gates(logits, torch.Generator().manual_seed(3)).sum().backward()
    uniform = torch.rand(1, 1, 2, generator=torch.Generator().manual_seed(3))
    relaxed = (logits.detach() + uniform.logit()).sigmoid()
    torch.testing.assert_close(logits.grad, relaxed * (1 - relaxed))


def test_a_closed_gate_leaves_the_denominator_as_it_is():
    """Entities 1, 2 and -1 of width 1, with themselves as queries and keys and ten times themselves as values."""
    block = SparseBlock(1, 4, 0.0)
    block.norm_1, block.to_out, block.mlp = nn.Identity(), nn.Identity(), nn.Linear(1, 1)
    with torch.no_grad():
        block.to_qkv.weight.copy_(torch.tensor([[1.0], [1.0], [10.0]]))
        block.to_qkv.bias.zero_()
        block.mlp.weight.zero_()
        block.mlp.bias.zero_()
    after, opened = block(torch.tensor([[[1.0], [2.0], [-1.0]]]), None)
    assert opened.tolist() == [[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]
    share = torch.tensor([1.0, 2.0, -1.0]).softmax(dim=0)
    torch.testing.assert_close(after[0, 0, 0], 1 + 10 * share[0] + 20 * share[1])
    own = torch.tensor([-1.0, -2.0, 1.0]).softmax(dim=0)[2]
    torch.testing.assert_close(after[0, 2, 0], -1 - 10 * own)


@pytest.mark.parametrize(("product", "connected"), [(-1.0, False), (1.0, True)])
def test_sources_are_what_a_prediction_depends_on(product, connected):
    predictor = with_products(make(), product)
    tokens, proprio, actions, mask = inputs()
    state = predictor.observe(tokens, proprio, actions[:, :-1])
    sources = predictor.sources(state, actions[:, -1])
    assert sources.shape == (B, 5, 5) and sources.diagonal(dim1=1, dim2=2).all()
    assert sources[0, 0, 1].item() is connected
    other = tokens.clone()
    other[:, :, 1] += 1
    found, expected = (predictor(t, proprio, actions, mask).future_BFSD[:, 0] for t in (other, tokens))
    assert (not torch.equal(found[:, 0], expected[:, 0])) is connected
    assert not torch.equal(found[:, 1], expected[:, 1])


def test_what_is_watched():
    predictor, (tokens, proprio, actions, mask) = make(), inputs()
    longer = torch.cat([actions, actions[:, :1]], dim=1)

    def passed(seed):
        with predictor.watched(None if seed is None else torch.Generator().manual_seed(seed)) as paths:
            future = predictor.unroll(tokens, proprio, longer, mask).future_BFSD
        return paths, future

    paths, future = passed(0)
    assert [path.shape for path in paths] == [(B, 5, 5)] * 2  # of the two predicted blocks
    assert torch.equal(passed(0)[1], future) and not torch.equal(passed(1)[1], future)
    most_probable = passed(None)[1]
    assert not torch.equal(most_probable, future)
    assert torch.equal(predictor.unroll(tokens, proprio, longer, mask).future_BFSD, most_probable)
    assert len(paths) == 2  # nothing is added once it is closed


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(), *inputs())


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    _, future, next_proprio = SparseTransformer(**SIZES)(tokens, proprio, actions, mask)
    assert torch.equal(future[:, 0], tokens[:, -1]) and torch.equal(next_proprio, proprio[:, -1:])
