"""Influence matrices of a model whose influences are known, and of the predictors."""

import pytest
import torch
from torch import nn

from cjepa.errors import UserError
from cjepa.interventions.influence import (
    ByAttention,
    ByEmptying,
    ByGradient,
    ByMasking,
    ByPath,
    ByRemoving,
    attention_by_layer,
    attention_map,
)
from cjepa.types import Clip
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.slot_graph import SlotGraph
from tests.contracts import stirred
from tests.world_models.small import SMALL, a_clip


class Pull(Predictor):
    """The first of the objects whose value is above 10 is pulled by 3 x the last value of the object of value 1."""

    token_dim, proprio_dim, action_dim, history_blocks = 2, 0, 0, 2

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS):
        seen = tokens_BTSD.masked_fill(mask_BTS[..., None], 0.0)
        puller = (tokens_BTSD[:, :1, :, 0] == 1).float()
        pull = 3 * (puller[..., None] * seen[:, -1:]).sum(dim=2)[:, :, None, 1]
        pulled = (tokens_BTSD[:, :1, :, 0] > 10).float()
        change = torch.stack([torch.zeros_like(pulled), pulled * pull], dim=-1)
        return Prediction(tokens_BTSD, tokens_BTSD[:, -1:] + change, proprio_BTP[:, -1:])


def scene() -> tuple[PredictorDynamics, Clip]:
    """Object 2 pulls object 0 by 3 x 0.5; nothing pulls object 1. Three blocks: a history of two, one that follows."""
    clip = a_clip(3, batch=2, slots=3, dims=(2, 0, 0))
    clip.tokens_BTSD[..., 0] = torch.tensor([11.0, 5.0, 1.0])
    clip.tokens_BTSD[..., 1] = torch.tensor([0.0, 4.0, 0.5])
    clip.tokens_BTSD[:, 2, 0, 1] = 1.5  # what follows is what Pull predicts
    return PredictorDynamics(Pull()), clip


@pytest.mark.parametrize("influence", [ByMasking(), ByRemoving(), ByEmptying(torch.zeros(2))], ids=lambda one: one.name)
def test_hiding_finds_who_pulls_whom(influence):
    found = influence(*scene())
    expected = torch.zeros(3, 3)
    expected[0, 2] = 1.5**2 / 2  # the mean over two token values
    expected.fill_diagonal_(torch.nan)
    for name in ("moved", "worsened"):
        values = found[f"{influence.name}_{name}"]
        torch.testing.assert_close(values, expected.expand(2, 1, 3, 3), equal_nan=True)


def test_a_prediction_that_gets_better_counts_as_negative():
    dynamics, clip = scene()
    clip.tokens_BTSD[:, 2, 0, 1] = 0.0  # the pull did not happen
    found = ByRemoving()(dynamics, clip)
    assert (found["remove_worsened"][:, 0, 0, 2] == -(1.5**2) / 2).all() and (
        found["remove_moved"][:, 0, 0, 2] > 0
    ).all()


def test_the_gradient_is_the_size_of_the_jacobian():
    found = ByGradient(directions=200)(*scene())["gradient"][0, 0]
    assert found[0, 2] == pytest.approx(3.0, rel=0.15)  # of the pulled value by the puller's last value
    assert found[1, 2] == found[2, 0] == found[1, 0] == 0 and found.diagonal().isnan().all()


def test_gradients_are_in_the_units_of_the_model():
    dynamics, clip = scene()
    dynamics.token_scale.std[1], dynamics.token_scale.mean[1] = 10.0, 3.0
    clip.tokens_BTSD[..., 1] = 10 * clip.tokens_BTSD[..., 1] + 3
    found = ByGradient(directions=200)(dynamics, clip)["gradient"][0, 0]
    assert found[0, 2] == pytest.approx(3.0, rel=0.15)


@pytest.mark.parametrize("conditioning", ["entities", "concatenated"])
@pytest.mark.parametrize("sizes", [(4, 10), (0, 10), (4, 0), (0, 0)])
def test_attention_that_looks_at_one_object_only(sizes, conditioning):
    """Keys of a token whose first value is large are found by every query; the rest of a layer is the identity."""
    proprio, action = sizes
    torch.manual_seed(0)
    sizes_of_model = {"token_dim": 6, "proprio_dim": proprio, "action_dim": action} | SMALL
    predictor = EntityTransformer(**sizes_of_model, conditioning=conditioning)
    dynamics = PredictorDynamics(predictor).eval()
    clip = a_clip(5, slots=3, dims=(6, *sizes))
    found = ByAttention()(dynamics, clip)["attention"]
    assert found.shape == (2, 2, 3, 3) and found.diagonal(dim1=2, dim2=3).isnan().all()
    with torch.no_grad():
        predictor.blocks[0].to_qkv.weight.zero_()
        predictor.blocks[0].to_qkv.bias.zero_()
    even = ByAttention()(dynamics, clip)["attention"]
    length = 4 * 3  # evenly over all entries, half of it through the residual
    if conditioning == "entities":
        length += 4 * bool(proprio) + 3 * bool(action)
    off_diagonal = even[~even.isnan()]
    torch.testing.assert_close(off_diagonal, torch.full_like(off_diagonal, 4 / length / 2))
    by_layer = attention_by_layer(dynamics, clip)
    assert by_layer.shape == (2, 1, 3, 3)
    torch.testing.assert_close(by_layer, torch.full_like(by_layer, 4 / length))  # itself included


def test_attention_is_a_softmax_of_products():
    qkv = torch.zeros(1, 2, 6)
    qkv[0, :, 0], qkv[0, 0, 2] = 100.0, 100.0  # both tokens ask for what the first has
    torch.testing.assert_close(attention_map(qkv, 1), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))


def test_attention_needs_a_transformer():
    with pytest.raises(UserError, match="EntityTransformer"):
        ByAttention()(*scene())
    turned = PredictorDynamics(EntityTransformer(token_dim=6, **SMALL, time="rotary")).eval()
    with pytest.raises(UserError, match="time: learned"):
        ByAttention()(turned, a_clip(5))


class Handed(Pull):
    """Three objects whose edges are 0 -> 1 in the first predicted block and 1 -> 2 in the second."""

    def sources(self, state, actions_BA):
        edges_SS = torch.eye(3, dtype=torch.bool)
        edge = (1, 0) if (state.tokens_BTSD[:, -1, 0, 1] < 0.5).all() else (2, 1)
        edges_SS[edge] = True
        return edges_SS[None].expand(len(actions_BA), 3, 3)

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS):
        return Prediction(tokens_BTSD, tokens_BTSD[:, -1:] + 1, proprio_BTP[:, -1:])


def test_paths_go_on_from_block_to_block():
    clip = a_clip(4, batch=2, slots=3, dims=(2, 0, 0))
    clip = clip._replace(tokens_BTSD=torch.zeros_like(clip.tokens_BTSD))
    found = ByPath()(PredictorDynamics(Handed()), clip)["path"]
    nan = float("nan")
    first = torch.tensor([[nan, 0, 0], [1, nan, 0], [0, 0, nan]])
    then = torch.tensor([[nan, 0, 0], [1, nan, 0], [1, 1, nan]])
    torch.testing.assert_close(found, torch.stack([first, then]).expand(2, 2, 3, 3), equal_nan=True)


def test_nearest_neighbours_are_paths():
    """Objects in two directions, one neighbour each; proprioception would tell everybody of everybody."""
    predictor = SlotGraph(token_dim=2, proprio_dim=0, action_dim=0, history_blocks=2, dim=8, num_neighbours=1)
    clip = a_clip(4, batch=1, slots=4, dims=(2, 0, 0))
    clip.tokens_BTSD[:] = torch.tensor([[1.0, 0.1], [1, 0], [0, 1], [0.1, 1]])
    found = ByPath()(PredictorDynamics(predictor.eval()), clip)["path"].nan_to_num(1.0)
    expected = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    torch.testing.assert_close(found, expected.expand(1, 2, 4, 4))


def test_paths_need_edges():
    with pytest.raises(UserError, match="the model chooses no edges"):
        ByPath()(*scene())


def test_order_of_objects_does_not_matter_to_the_estimates():
    torch.manual_seed(0)
    dynamics = PredictorDynamics(stirred(EntityTransformer(token_dim=6, **SMALL))).eval()
    clip, order = a_clip(5, slots=3), torch.tensor([2, 0, 1])
    for influence in (ByMasking(), ByRemoving(), ByAttention()):
        expected = influence(dynamics, clip)
        found = influence(dynamics, clip._replace(tokens_BTSD=clip.tokens_BTSD[:, :, order]))
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values[:, :, order][..., order], equal_nan=True)
