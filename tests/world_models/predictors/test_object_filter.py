import pytest
import torch

from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.geometry import Geometry
from cjepa.world_models.predictors.object_filter import ObjectFilter
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.predictors.small import noise

PLACES = (2, 2)  # token values 2..5 are sines of x, y, 2 x, 2 y, and 6..9 cosines
SIZES = {"token_dim": 11, "proprio_dim": 3, "action_dim": 4, "history_blocks": 3, "dim": 16}


def make(**changes) -> ObjectFilter:
    torch.manual_seed(0)
    return stirred(ObjectFilter(**SIZES | {"place": PLACES} | changes)).eval()


def inputs(slots: int = 3, blocks: int = 3):
    return noise(2, blocks, slots, (11, 3, 4), seed=1)


@pytest.mark.parametrize("place", [None, PLACES])
def test_object_order_does_not_matter(place):
    assert_order_does_not_matter(make(place=place), *inputs(4))


def test_untrained_it_says_that_nothing_changes():
    tokens, proprio, actions, mask = inputs()
    history, future, next_proprio = ObjectFilter(**SIZES, place=PLACES).eval()(tokens, proprio, actions, mask)
    torch.testing.assert_close(future[:, 0], tokens[:, -1])
    torch.testing.assert_close(next_proprio, proprio[:, -1:])
    torch.testing.assert_close(history[:, 1:], tokens[:, :-1])


def test_a_model_of_one_frame_has_nothing_that_is_not_trained():
    predictor = make(history_blocks=1)
    tokens, proprio, actions, mask = inputs(blocks=1)
    sum(values.square().sum() for values in predictor(tokens, proprio, actions, mask)).backward()
    assert [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_what_was_seen_before_the_last_frame_tells():
    """Without proprioception the speed of an object is only in the change from frame to frame."""
    predictor = make()
    tokens, proprio, actions, mask = inputs()
    other = tokens.clone()
    other[:, 0, 1] += 1
    for first, second in [(0, 0), (0, 1)]:  # the object itself, and another
        found = predictor(other, proprio, actions, mask).future_BFSD[:, first, second]
        assert (found - predictor(tokens, proprio, actions, mask).future_BFSD[:, first, second]).abs().max() > 1e-4


def at(place_2: torch.Tensor, scale: Normaliser) -> torch.Tensor:
    """A normalised token (11,) of an object at this x and y, in rad of the longer of two waves."""
    phase_4 = torch.cat([place_2, 2 * place_2])
    return scale(torch.cat([torch.tensor([0.3, -2.0]), phase_4.sin(), phase_4.cos(), torch.tensor([1.5])]))


@pytest.fixture
def scale() -> Normaliser:
    normaliser = Normaliser(11)
    normaliser.fit(torch.randn(100, 11, generator=torch.Generator().manual_seed(2)) * 3 + 1)
    return normaliser


@pytest.fixture
def geometry(scale) -> Geometry:
    geometry = Geometry(11, *PLACES)
    geometry.fit(scale)
    return geometry


def test_geometry_is_where_others_are(geometry, scale):
    first, second, moved = torch.tensor([0.1, 1.0]), torch.tensor([0.4, -1.0]), torch.tensor([0.3, -0.2])
    tokens = torch.stack([at(first, scale), at(second - moved, scale)])[None]
    found_SSG = geometry(tokens, torch.stack([torch.zeros(2), moved])[None])[0]
    assert found_SSG.shape == (2, 2, 8)
    for row, column, difference in [(0, 1, second - first), (1, 0, first - second), (0, 0, torch.zeros(2))]:
        phase = torch.cat([difference, 2 * difference])
        torch.testing.assert_close(found_SSG[row, column], torch.cat([phase.sin(), phase.cos()]))


def test_a_motion_changes_the_place_and_nothing_else(geometry, scale):
    place, moved = torch.tensor([0.1, 1.0]), torch.tensor([0.5, -2.2])
    token = at(place, scale)[None, None]
    found = token + geometry.change(token, moved[None, None])
    torch.testing.assert_close(found[0, 0], at(place + moved, scale))


def test_the_same_scene_elsewhere_has_the_same_geometry(geometry, scale):
    shift = torch.tensor([0.7, -0.3])
    places = [torch.tensor([0.1, 1.0]), torch.tensor([0.4, -1.0]), torch.tensor([-0.9, 0.2])]
    scenes = torch.stack([torch.stack([at(place + by, scale) for place in places]) for by in (0 * shift, shift)])
    here, there = geometry(scenes, torch.zeros(2, 3, 2))
    torch.testing.assert_close(here, there)


@pytest.mark.parametrize("place", [(-1, 2), (4, 2), (0, 0)])
def test_values_that_a_token_does_not_have(place):
    with pytest.raises(ValueError, match="place: expected the first of 4 values per wavelength within 11"):
        ObjectFilter(**SIZES, place=place)
