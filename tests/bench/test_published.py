import torch

from cjepa.bench.published import PublishedSearch, multihead_copy
from cjepa.types import Clip
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.bench.conftest import SMALL
from tests.contracts import stirred


class Swaps(EntityTransformer):
    """Objects change places in every block and move by 0.25; proprioception by the first action."""

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE):
        prediction = super().forward(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        return prediction._replace(
            future_BFSD=tokens_BTSD[:, -1:].flip(2) + 0.25,
            proprio_BFP=proprio_BTP[:, -1:] + actions_BTA[:, -1:, :4],
        )


def test_the_published_cost_by_hand():
    """Two objects at 0 and 10 that swap their slots are put back, are 0.5 off after two blocks; proprio is 2 off."""
    network = Swaps(3, 4, 10, 3, **SMALL).eval()
    now = Clip(torch.tensor([[[[0.0] * 3, [10.0] * 3]]]), torch.zeros(1, 1, 4), torch.zeros(1, 1, 10))
    search = PublishedSearch(network, now, now._replace(tokens_BTSD=now.tokens_BTSD.flip(2)), 2, 2, 1, 2)
    with torch.no_grad():
        cost_N = search.cost(torch.stack([torch.zeros(2, 10), torch.ones(2, 10)]))
        tokens_NSD, _ = search.last_block(torch.zeros(1, 2, 10))
    assert tokens_NSD[0, :, 0].tolist() == [0.5, 10.5]
    assert cost_N.tolist() == [0.25, 0.25 + 4]


def test_pytorchs_layers_are_the_same_network():
    network = stirred(EntityTransformer(6, 4, 10, 3, matching="hungarian", **SMALL)).eval()
    frames = (torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4), torch.randn(2, 3, 10), torch.zeros(2, 3, 4, dtype=bool))
    same = multihead_copy(network)
    assert same.matching == "index" and network.matching == "hungarian"
    network.matching = "index"
    for found, expected in zip(same(*frames), network(*frames), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
