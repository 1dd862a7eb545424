"""Latent interventions change what they say and nothing else, in every predictor."""

import inspect

import pytest
import torch

from cjepa.errors import UserError
from cjepa.interventions.edits import Freeze, Mask, Remove, Replace, SetVelocity, Shift, imagine
from cjepa.interventions.quantities import LinearQuantity
from cjepa.types import Clip, Predicted
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.flat_mlp import FlatMLP
from tests.contracts import build, concrete_subclasses, stirred
from tests.world_models.small import SMALL, a_clip

PLACE = LinearQuantity(torch.eye(6)[:, :2] * 2, torch.tensor([1.0, -1.0]))
VELOCITY = LinearQuantity(torch.eye(6)[:, 2:4], torch.zeros(2))


def of_any_number_of_objects() -> list[type[Predictor]]:
    found = concrete_subclasses("cjepa.world_models", Predictor)
    return [cls for cls in found if "num_tokens" not in inspect.signature(cls).parameters]


@pytest.fixture(params=of_any_number_of_objects(), ids=lambda cls: cls.__name__)
def dynamics(request) -> PredictorDynamics:
    torch.manual_seed(0)
    model = PredictorDynamics(stirred(build(request.param, token_dim=6, proprio_dim=4, action_dim=10, **SMALL))).eval()
    model.fit_scales(a_clip(50, seed=3))
    return model


def scene(horizon: int = 2) -> tuple[Clip, torch.Tensor]:
    """A history of three blocks, and the actions of its last block and those after it."""
    clip = a_clip(3 + horizon)
    return Clip(*(values[:, :3] for values in clip)), clip.actions_BTA[:, 2:-1]


def test_a_masked_history_is_never_read_but_for_its_anchor(dynamics):
    history, actions = scene()
    expected = imagine(dynamics, history, actions, Mask(1))
    assert not torch.equal(expected.changed.tokens_BHSD, expected.factual.tokens_BHSD)
    history.tokens_BTSD[:, 1:, 1] = torch.nan
    found = Mask(1).rollout(dynamics, history, actions)
    torch.testing.assert_close(found.tokens_BHSD, expected.changed.tokens_BHSD)
    history.tokens_BTSD[:, 0, 1] += 1
    assert not torch.equal(Mask(1).rollout(dynamics, history, actions).tokens_BHSD, found.tokens_BHSD)


def test_a_removed_object_tells_nothing_and_the_others_keep_their_index(dynamics):
    history, actions = scene()
    found = imagine(dynamics, history, actions, Remove(torch.tensor([0, 2])))
    assert found.changed.tokens_BHSD.isnan().all(dim=(1, 3)).tolist() == [[True, False, False], [False, False, True]]
    alone = Clip(history.tokens_BTSD[:1, :, 1:], history.proprio_BTP[:1], history.actions_BTA[:1])
    expected = dynamics.rollout(dynamics.observe(alone), actions[:1])
    torch.testing.assert_close(found.changed.tokens_BHSD[:1, :, 1:], expected.tokens_BHSD)
    torch.testing.assert_close(found.changed.proprio_BHP[:1], expected.proprio_BHP)
    if expected.disagreement_BHS is not None:
        torch.testing.assert_close(found.changed.disagreement_BHS[:1, :, 1:], expected.disagreement_BHS)


def test_several_objects_at_once(dynamics):
    history, actions = scene()
    assert Remove([0, 2]).rollout(dynamics, history, actions).tokens_BHSD[:, :, 1].isfinite().all()
    both = Mask([0, 1]).hidden(history.tokens_BTSD)
    assert both[:, 1:, :2].all() and not both[:, 0].any() and not both[..., 2].any()
    with pytest.raises(UserError, match="at least one that stays"):
        Remove([0, 1, 2]).rollout(dynamics, history, actions)


@pytest.mark.parametrize("slots", [3, -1, torch.tensor([0, 3]), torch.tensor([0])])
def test_objects_that_are_not_there_are_refused(slots):
    with pytest.raises(UserError, match="expected 0..2"):
        Replace(slots, torch.zeros(6)).edit(scene()[0].tokens_BTSD)


def test_a_shift_moves_one_object_and_keeps_what_no_place_is_in():
    tokens = scene()[0].tokens_BTSD
    moved = Shift(torch.tensor([0, 2]), torch.tensor([10.0, -4.0]), PLACE).edit(tokens)
    torch.testing.assert_close(PLACE.read(moved[0, :, 0]), PLACE.read(tokens[0, :, 0]) + torch.tensor([10.0, -4.0]))
    assert torch.equal(moved[..., 2:], tokens[..., 2:])
    assert torch.equal(moved[0, :, 1:], tokens[0, :, 1:]) and torch.equal(moved[1, :, :2], tokens[1, :, :2])


def test_a_set_velocity_is_a_straight_line_that_ends_where_the_object_is():
    tokens = scene()[0].tokens_BTSD
    changed = SetVelocity(1, torch.tensor([3.0, 0.5]), 0.2, PLACE, VELOCITY).edit(tokens)
    steps = PLACE.read(changed[:, 1:, 1]) - PLACE.read(changed[:, :-1, 1])
    torch.testing.assert_close(steps, torch.tensor([0.6, 0.1]).expand_as(steps))
    torch.testing.assert_close(PLACE.read(changed[:, -1, 1]), PLACE.read(tokens[:, -1, 1]))
    torch.testing.assert_close(changed[:, :, 1, 2:4], torch.tensor([3.0, 0.5]).expand(2, 3, 2))
    assert torch.equal(changed[:, :, [0, 2]], tokens[:, :, [0, 2]])
    only_held = SetVelocity(1, torch.tensor([3.0, 0.5]), 0.2, None, VELOCITY).edit(tokens)
    assert torch.equal(only_held[..., :2], tokens[..., :2])


def test_a_frozen_object_stays_and_the_others_see_it_there(dynamics):
    history, actions = scene(horizon=3)
    frozen = Freeze(1, PLACE, Replace(1, torch.zeros(6)), VELOCITY)
    tokens = frozen.edit(history.tokens_BTSD)
    assert (tokens[:, :, 1] == tokens[:, :1, 1]).all() and (tokens[:, :, 1, 2:4] == 0).all()
    found = dynamics.denormalise(frozen.rollout(dynamics, history, actions)).tokens_BHSD
    torch.testing.assert_close(found[:, :, 1], tokens[:, -1:, 1].expand(-1, 3, -1))
    pushed = dynamics.rollout(dynamics.observe(history._replace(tokens_BTSD=tokens)), actions)
    change = found - dynamics.denormalise(pushed).tokens_BHSD
    by = PLACE.read(found) - PLACE.read(dynamics.denormalise(pushed).tokens_BHSD)
    torch.testing.assert_close(by[:, :, [0, 2]].sum(dim=2), by[:, :, 1])  # the push is shared by the others
    torch.testing.assert_close(change[:, :, [0, 2], 2:], torch.zeros(2, 3, 2, 4), atol=1e-5, rtol=0)


def test_only_one_object_of_a_sample_is_frozen(dynamics):
    history, actions = scene()
    with pytest.raises(UserError, match="2 objects of a sample, expected 1"):
        Freeze([0, 1], PLACE, Remove([0, 1])).rollout(dynamics, history, actions)


def two_balls(mass: float) -> Clip:
    """One of them comes near the other; a third one passes by."""
    row = [[0.0, 0.0, 2.0, 0.0, mass, 0.0], [2.0, 0.0, 0.0, 0.0, 1.0, 0.0], [9.0, 5.0, -1.0, 0.0, 1.0, 0.0]]
    return Clip(torch.tensor([[row]]), torch.zeros(1, 1, 0), torch.zeros(1, 1, 0))


@pytest.mark.parametrize("mass", [0.5, 1.0, 3.0])
def test_what_hits_a_frozen_body_bounces_off_as_from_a_wall(mass):
    """Of bodies that were only ever seen to push each other."""
    history, actions = two_balls(mass), torch.zeros(1, 3, 0)
    place = LinearQuantity(torch.eye(6)[:, :2], torch.zeros(2))
    found = Freeze(1, place, Remove(1)).rollout(Balls(), history, actions).tokens_BHSD[0, :, :, 0]
    torch.testing.assert_close(found, torch.tensor([[0.0, 2.0, 8.0], [-2.0, 2.0, 7.0], [-4.0, 2.0, 6.0]]))


def test_a_held_body_whose_token_fades_pushes_nothing_further():
    """Its place is followed in time; read from a faded token, it could be anywhere."""

    class Faded(LinearQuantity):
        def track(self, tokens_BTSD):
            return self.read(tokens_BTSD[:, :1]).expand(-1, tokens_BTSD.shape[1], -1, -1)

    history, actions = two_balls(mass=1.0), torch.zeros(1, 3, 0)
    place = Faded(torch.eye(6)[:, :2], torch.zeros(2))
    found = Freeze(1, place, Remove(1)).rollout(Balls(), history, actions).tokens_BHSD
    pushed = Balls().rollout(Balls().observe(history), actions).tokens_BHSD
    assert torch.equal(found[:, :, [0, 2]], pushed[:, :, [0, 2]]) and (pushed[:, -1, 1, 0] > 2).all()


class Balls(Dynamics):
    """Elastic balls of diameter 1 on a line, in all else free; a token is (x, y, vx, vy, mass, 0), a block a second."""

    token_dim, proprio_dim, action_dim, history_blocks = 6, 0, 0, 1

    def normalise(self, clip):
        return clip

    def denormalise(self, rollout):
        return rollout

    def observe(self, clip):
        return Predicted(clip.tokens_BTSD[:, -1], clip.proprio_BTP[:, -1])

    def step(self, state, actions_BA):
        tokens = state.tokens_BSD.clone()
        for _ in range(2):
            tokens[..., :2] += tokens[..., 2:4] / 2
            left, right = tokens[0, 0], tokens[0, 1]
            if right[1] == 0 and right[0] - left[0] <= 1 and left[2] > right[2]:
                common = (left[4] * left[2] + right[4] * right[2]) / (left[4] + right[4])
                left[2], right[2] = 2 * common - left[2], 2 * common - right[2]
        return Predicted(tokens, state.proprio_BP)

    def predicted(self, state):
        return state


def test_a_mask_needs_a_history(dynamics):
    history, actions = scene()
    with pytest.raises(UserError, match="one block"):
        Mask(0).rollout(dynamics, Clip(*(values[:, -1:] for values in history)), actions)


def test_a_model_without_objects_cannot_lose_one():
    history, actions = scene()
    flat = PredictorDynamics(FlatMLP(token_dim=6, num_tokens=3, dim=8))
    with pytest.raises(UserError, match="for 3 tokens a block, but there are 2; .*replace the object by an empty slot"):
        Remove(0).rollout(flat, history, actions)
    assert Replace(0, torch.zeros(6)).rollout(flat, history, actions).tokens_BHSD.shape == (2, 2, 3, 6)
