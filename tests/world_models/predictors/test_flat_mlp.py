import pytest
import torch

from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.dynamics import copied_clip, rollout_clip
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.flat_mlp import FlatMLP
from tests.contracts import stirred
from tests.world_models.predictors.small import noise

SIZES = {"token_dim": 5, "num_tokens": 2, "proprio_dim": 3, "action_dim": 4, "dim": 8}


def inputs():
    return noise(6, 1, 2, (5, 3, 4))


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    _, future, next_proprio = FlatMLP(**SIZES)(tokens, proprio, actions, mask)
    assert torch.equal(future, tokens)
    assert torch.equal(next_proprio, proprio)


def test_untrained_it_is_the_floor_of_copying():
    """Persistence: every error is a share of that of copying the last frame, so this one's is 1 at any block."""
    dynamics = PredictorDynamics(FlatMLP(**SIZES, depth=0))
    tokens, proprio, actions, _ = noise(6, 5, 2, (5, 3, 4))
    clip = Clip(tokens, proprio, actions)
    predicted, copied = rollout_clip(dynamics, clip)[0], copied_clip(dynamics, clip)
    for blocks, last, seen in zip(predicted[:2], copied[:2], clip[:2], strict=True):
        assert blocks.shape[1] == 4 and torch.equal(blocks, last.expand_as(blocks))
        assert torch.equal(last[:, 0], seen[:, 0])


@pytest.mark.parametrize("depth", [0, 2])
def test_only_a_depth_of_zero_is_linear(depth):
    torch.manual_seed(0)
    predictor = stirred(FlatMLP(**SIZES, depth=depth))
    *values, mask = inputs()

    def future(*values: torch.Tensor) -> torch.Tensor:
        return predictor(*values, mask).future_BFSD

    at_zero, at_one, at_two = (future(*(scale * value for value in values)) for scale in (0.0, 1.0, 2.0))
    assert torch.allclose(at_two - at_one, at_one - at_zero, atol=1e-5) == (depth == 0)


def test_every_entity_tells_about_every_other():
    torch.manual_seed(0)
    predictor = stirred(FlatMLP(**SIZES))
    *values, mask = (value.requires_grad_(value.is_floating_point()) for value in inputs())
    predictor(*values, mask).future_BFSD[:, 0, 0].sum().backward()
    assert all((value.grad.abs().sum(dim=0) > 0).all() for value in values)


def test_another_number_of_tokens_is_refused():
    tokens, proprio, actions, mask = inputs()
    with pytest.raises(UserError, match="for 2 tokens a block, but there are 3"):
        FlatMLP(**SIZES)(tokens[:, :, [0, 1, 1]], proprio, actions, mask[:, :, [0, 1, 1]])
