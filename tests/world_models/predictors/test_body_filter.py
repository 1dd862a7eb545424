import pytest
import torch

from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import start_at_zero
from cjepa.world_models.predictors.body_filter import BodyFilter
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.test_object_filter import PLACES, at, inputs

SIZES = {"token_dim": 11, "place": PLACES, "proprio_dim": 3, "action_dim": 4, "history_blocks": 3, "dim": 16}


def make(**changes) -> BodyFilter:
    torch.manual_seed(0)
    return stirred(BodyFilter(**SIZES | changes)).eval()


@pytest.fixture
def scale() -> Normaliser:
    normaliser = Normaliser(11)
    normaliser.fit(torch.randn(100, 11, generator=torch.Generator().manual_seed(2)) * 3 + 1)
    return normaliser


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(), *inputs(4))


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    history, future, next_proprio = BodyFilter(**SIZES).eval()(tokens, proprio, actions, mask)
    torch.testing.assert_close(future[:, 0], tokens[:, -1])
    torch.testing.assert_close(next_proprio, proprio[:, -1:])
    torch.testing.assert_close(history[:, 1:], tokens[:, :-1])


def test_the_same_scene_elsewhere_goes_on_alike(scale):
    """But for what is visible there, which the head of tokens says."""
    predictor = make(proprio_dim=0, action_dim=0)
    predictor.fit_scales(scale)
    start_at_zero(predictor.token_head[-1])
    place_N2 = 0.3 * torch.randn(18, 2, generator=torch.Generator().manual_seed(3))

    def turns(by_2: torch.Tensor) -> torch.Tensor:
        """By how much the next block turns every wave of a place."""
        tokens = torch.stack([at(place_2 + by_2, scale) for place_2 in place_N2]).reshape(2, 3, 3, 11)
        hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
        future = predictor(tokens, torch.zeros(2, 3, 0), torch.zeros(2, 3, 0), hidden).future_BFSD[:, 0]
        return predictor.geometry.surprise(future, predictor.geometry.waves(tokens[:, -1], torch.zeros(2, 3, 2)))

    here = turns(torch.zeros(2))
    assert here[..., :4].abs().min() > 1e-3
    torch.testing.assert_close(turns(torch.tensor([0.4, -0.3])), here, atol=1e-4, rtol=1e-4)


def test_an_empty_slot_acts_on_nothing(scale):
    tokens, proprio, actions, mask = inputs(3)
    predictor = make()
    predictor.fit_scales(scale)
    tokens[:, :, 2] = scale(torch.zeros(11))
    expected = predictor(tokens[:, :, :2], proprio, actions, mask[:, :, :2]).future_BFSD
    torch.testing.assert_close(predictor(tokens, proprio, actions, mask).future_BFSD[:, :, :2], expected)


def test_gradients_are_finite_where_bodies_lie_on_each_other_or_are_none(scale):
    predictor = make()
    predictor.fit_scales(scale)
    tokens, proprio, actions, mask = inputs(3)
    tokens[:, :, 1] = tokens[:, :, 0]
    tokens[:, :, 2] = scale(torch.zeros(11))
    tokens.requires_grad_()
    predictor(tokens, proprio, actions, mask).future_BFSD.square().sum().backward()
    assert all(value.isfinite().all() for value in [tokens.grad, *(p.grad for p in predictor.parameters())])


@pytest.mark.parametrize("place", [(-1, 2), (4, 2), (0, 0)])
def test_values_that_a_token_does_not_have(place):
    with pytest.raises(ValueError, match="place: expected the first of 4 values per wavelength within 11"):
        BodyFilter(**SIZES | {"place": place})
