import torch
from torch import nn

from cjepa.world_models.predictors.interaction_network import InteractionNetwork
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import inputs

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "history_blocks": 3, "dim": 16, "depth": 2}


def make(**changes) -> InteractionNetwork:
    torch.manual_seed(0)
    return stirred(InteractionNetwork(**SIZES | changes)).eval()


def test_effects_of_others_are_summed():
    """A relation that returns the sender: an entity receives the sum of all others."""
    predictor = make(dim=2)
    predictor.relation = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        predictor.relation.weight.copy_(torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1]]))
    entities = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]])
    assert predictor.effects(entities).tolist() == [[[6, 60], [5, 50], [3, 30]]]


def test_effects_add_up_pair_by_pair():
    """The effect of two others is the sum of the effects of each alone."""
    predictor, entities = make(), torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(2))
    of_each = [predictor.effects(entities[:, [0, other]])[:, 0] for other in (1, 2)]
    torch.testing.assert_close(predictor.effects(entities)[:, 0], sum(of_each))


def test_an_object_alone_has_no_effects():
    assert not make().effects(torch.randn(2, 1, 16)).any()


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(), *inputs())


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 0] = True
    history, future, next_proprio = InteractionNetwork(**SIZES)(tokens, proprio, actions, mask)
    assert torch.equal(future[:, 0, 1:], tokens[:, -1, 1:]) and torch.equal(next_proprio, proprio[:, -1:])
    assert torch.equal(history[:, :, 0], tokens[:, :1, 0].expand(-1, 3, -1)) and torch.equal(
        future[:, 0, 0], tokens[:, 0, 0]
    )


def test_published_layers():
    """Relation MLP: four hidden layers of 150."""
    shapes = [layer.weight.shape for layer in InteractionNetwork(6).relation if isinstance(layer, nn.Linear)]
    assert shapes == [(150, 300), (150, 150), (150, 150), (150, 150), (150, 150)]
