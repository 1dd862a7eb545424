import pytest
import torch

from cjepa.world_models.predictors.slot_graph import SlotGraph
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import inputs

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "history_blocks": 3, "dim": 16}


def make(**changes) -> SlotGraph:
    torch.manual_seed(0)
    return stirred(SlotGraph(**SIZES | changes)).eval()


def changed_by(predictor: SlotGraph, given, slot: int) -> list[bool]:
    """Of each object, whether its next token depends on this object's present one."""
    tokens, proprio, actions, mask = given
    other = tokens.clone()
    other[:, 0, slot] *= 1.5  # no cosine changes, so neither does the graph
    found, expected = (predictor(t, proprio, actions, mask).future_BFSD[:, 0] for t in (other, tokens))
    return [not torch.equal(found[0, s], expected[0, s]) for s in range(tokens.shape[2])]


def test_messages_come_from_nearest_neighbours_alone():
    """In one block without proprioception: whoever is not a neighbour does not tell."""
    predictor = make(proprio_dim=0, num_neighbours=2)
    tokens, proprio, actions, mask = inputs(1, slots=6)
    given = tokens[:1], proprio[:1, :, :0], actions[:1], mask[:1]
    edges_SS = predictor.edges(tokens[:1, 0])[0]
    assert edges_SS.sum(dim=1).tolist() == [2] * 6
    for slot in range(6):
        receivers = edges_SS[:, slot].clone()
        receivers[slot] = True
        assert changed_by(predictor, given, slot) == receivers.tolist()


def test_proprioception_is_a_neighbour_of_all():
    edges_EE = make(num_neighbours=1).edges(inputs()[0][:, 0])[0]
    assert edges_EE[:-1, -1].all() and edges_EE[-1, :-1].all() and not edges_EE[-1, -1]
    assert edges_EE[:-1, :-1].sum(dim=1).tolist() == [1] * 4


def test_the_memory_tells_what_was_seen_before():
    predictor = make()
    tokens, proprio, actions, mask = inputs()
    state = predictor.observe(tokens, proprio, actions[:, :-1])
    assert torch.equal(state.tokens_BSD, tokens[:, -1])  # so the past is in the memory alone
    next_tokens = predictor.step(state, actions[:, -1]).tokens_BSD
    torch.testing.assert_close(next_tokens, predictor(tokens, proprio, actions, mask).future_BFSD[:, 0])
    forgotten = state._replace(memory_BEW=torch.zeros_like(state.memory_BEW))
    assert (predictor.step(forgotten, actions[:, -1]).tokens_BSD - next_tokens).abs().max() > 1e-3


def test_a_hidden_object_moves_as_predicted():
    predictor = make()
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 2] = True
    history = predictor(tokens, proprio, actions, mask).history_BTSD
    shown = tokens.clone()
    shown[:, 1:, 2] = history[:, 1:, 2]
    again = predictor(shown, proprio, actions, torch.zeros_like(mask))
    torch.testing.assert_close(again.future_BFSD, predictor(tokens, proprio, actions, mask).future_BFSD)


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    _, future, next_proprio = SlotGraph(**SIZES).eval()(tokens, proprio, actions, mask)
    assert torch.equal(future[:, 0], tokens[:, -1]) and torch.equal(next_proprio, proprio[:, -1:])


@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_object_order_does_not_matter(num_neighbours):
    assert_order_does_not_matter(make(num_neighbours=num_neighbours), *inputs())
