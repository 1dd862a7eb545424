"""Dynamics of a predictor: what the contract of dynamics promises, and that predictions are fed back rightly."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cjepa.errors import UserError
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import rollout_clip, take_rows
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.adaln_transformer import AdaLNTransformer
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from tests.contracts import build, concrete_subclasses, stirred
from tests.world_models.predictors.small import OPTIONS
from tests.world_models.small import SMALL, a_clip


def small_dynamics(cls: type[Predictor], **changes) -> PredictorDynamics:
    torch.manual_seed(0)
    sizes = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10} | SMALL
    model = PredictorDynamics(stirred(build(cls, **sizes | changes))).eval()
    model.fit_scales(a_clip(50, seed=3))
    return model


def test_a_predictor_of_the_users_that_lacks_its_sizes_is_named():
    class Own(EntityTransformer):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.token_dim = 6

    with pytest.raises(UserError, match="^Own.__init__ does not set proprio_dim, action_dim, history_blocks$"):
        PredictorDynamics(Own())


@pytest.fixture(params=concrete_subclasses("cjepa.world_models", Predictor), ids=lambda cls: cls.__name__)
def dynamics(request) -> PredictorDynamics:
    return small_dynamics(request.param)


ROUNDED = (PrefixTransformer, AdaLNTransformer)
"""Their matrix products round differently with the number of rows: of a batch, or of all blocks in one pass."""


def assert_same(dynamics: PredictorDynamics, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the bit, or to rounding."""
    if not isinstance(dynamics.predictor, ROUNDED):
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def plan(blocks: int) -> torch.Tensor:
    return torch.randn(2, blocks, 10, generator=torch.Generator().manual_seed(1))


def nothing_hidden(blocks: int) -> torch.Tensor:
    return torch.zeros(2, blocks, 3, dtype=torch.bool)


class MadeOn(TorchDispatchMode):
    """Which devices tensors are made on."""

    def __init__(self):
        super().__init__()
        self.devices: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.devices |= {value.device.type for value in tree_leaves(made) if isinstance(value, torch.Tensor)}
        return made


def test_a_step_of_training_makes_no_tensor_on_another_device(dynamics, monkeypatch):
    """A copy from the CPU would wait for the GPU at every step."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta device
    clip, hidden = Clip(*(values.to("meta") for values in a_clip(4))), nothing_hidden(3).to("meta")
    dynamics.to("meta")
    with MadeOn() as made:
        dynamics(clip, hidden)
    assert made.devices == {"meta"}


@pytest.mark.filterwarnings("ignore:var")
def test_for_nobody_nothing_is_predicted(dynamics):
    nobody = take_rows(dynamics.observe(a_clip(3)), slice(0, 0))
    assert dynamics.rollout(nobody, plan(2)[:0]).tokens_BHSD.shape == (0, 2, 3, 6)


def test_what_is_hidden_changes_the_prediction(dynamics):
    clip, hidden = a_clip(4), nothing_hidden(3)
    hidden[:, 1:, 0] = True
    assert not torch.equal(dynamics(clip, nothing_hidden(3)).future_BFSD, dynamics(clip, hidden).future_BFSD)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_training_with_an_empty_mask_is_what_planning_does(dynamics, blocks):
    clip = a_clip(blocks + 3)
    prediction = dynamics(dynamics.normalise(clip), nothing_hidden(blocks))
    state = dynamics.observe(Clip(*(values[:, :blocks] for values in clip)))
    rollout = dynamics.rollout(state, clip.actions_BTA[:, blocks - 1 : -1])
    torch.testing.assert_close(prediction.future_BFSD, rollout.tokens_BHSD)
    torch.testing.assert_close(prediction.proprio_BFP, rollout.proprio_BHP)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_with_every_option_too(changes, blocks):
    positions = {"num_positions": 3 if "num_positions" in changes else 0}
    test_training_with_an_empty_mask_is_what_planning_does(
        small_dynamics(EntityTransformer, **changes | positions), blocks
    )


def test_of_the_future_only_actions_are_read(dynamics):
    clip, mask = a_clip(6), nothing_hidden(3)
    expected = dynamics(clip, mask)
    tokens, proprio, actions = (values.clone() for values in clip)
    tokens[:, 3:], proprio[:, 3:], actions[:, 5:] = torch.nan, torch.nan, torch.nan
    for ours, theirs in zip(dynamics(Clip(tokens, proprio, actions), mask), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("history", [1, 2, 3, 5])
def test_a_rollout_is_repeated_one_step_prediction(history):
    dynamics = small_dynamics(EntityTransformer)
    context, horizon = a_clip(history), 4
    rollout = dynamics.rollout(dynamics.observe(context), plan(horizon))
    known = dynamics.normalise(context)
    tokens, proprio = list(known.tokens_BTSD.unbind(1)), list(known.proprio_BTP.unbind(1))
    actions = [*known.actions_BTA[:, :-1].unbind(1), *dynamics.action_scale(plan(horizon)).unbind(1)]
    for block in range(horizon):
        now = history + block
        window = slice(max(0, now - 3), now)
        clip = Clip(*(torch.stack(values[window], dim=1) for values in (tokens, proprio, actions)))
        prediction = dynamics.predictor(*clip, nothing_hidden(len(tokens[window])))
        tokens.append(prediction.future_BFSD[:, 0])
        proprio.append(prediction.proprio_BFP[:, 0])
    torch.testing.assert_close(rollout.tokens_BHSD, torch.stack(tokens[history:], dim=1))
    torch.testing.assert_close(rollout.proprio_BHP, torch.stack(proprio[history:], dim=1))


def test_rollouts_are_causal_and_ignore_the_last_action_of_the_context(dynamics):
    context = a_clip(2)
    expected = dynamics.rollout(dynamics.observe(context), plan(4)).tokens_BHSD
    other = plan(4)
    other[:, 2] += 1
    found = dynamics.rollout(dynamics.observe(context), other).tokens_BHSD
    assert torch.equal(found[:, :2], expected[:, :2])
    assert not torch.equal(found[:, 2], expected[:, 2])
    context.actions_BTA[:, -1] = 99.0
    assert torch.equal(dynamics.rollout(dynamics.observe(context), plan(4)).tokens_BHSD, expected)


def test_steps_are_a_rollout(dynamics):
    state = dynamics.observe(a_clip(2))
    whole = dynamics.rollout(state, plan(3))
    for block in range(3):
        state = dynamics.step(state, plan(3)[:, block])
        predicted = dynamics.predicted(state)
        assert_same(dynamics, predicted.tokens_BSD, whole.tokens_BHSD[:, block])
        assert_same(dynamics, predicted.proprio_BP, whole.proprio_BHP[:, block])


def test_a_rollout_keeps_the_gradient_of_its_actions(dynamics):
    actions = plan(3).requires_grad_()
    dynamics.rollout(dynamics.observe(a_clip(1)), actions).tokens_BHSD[:, -1].sum().backward()
    assert (actions.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_units(dynamics):
    clip = a_clip(4)
    normalised = dynamics.normalise(clip)
    back = dynamics.denormalise(Rollout(normalised.tokens_BTSD, normalised.proprio_BTP))
    torch.testing.assert_close(back.tokens_BHSD, clip.tokens_BTSD)
    torch.testing.assert_close(back.proprio_BHP, clip.proprio_BTP)
    rollout, followed = rollout_clip(dynamics, a_clip(5))
    assert rollout.tokens_BHSD.shape == followed.tokens_BHSD.shape == (2, 2, 3, 6)
    assert torch.equal(followed.tokens_BHSD, dynamics.normalise(a_clip(5)).tokens_BTSD[:, 3:])


def test_scales_are_fitted_once(dynamics):
    before = dynamics.token_scale.std.clone()
    dynamics.fit_scales(Clip(*(3 * values for values in a_clip(50, seed=3))))
    assert torch.equal(dynamics.token_scale.std, before)


def test_rows_are_repeated_together_and_taken(dynamics):
    clip = Clip(*(torch.tensor([1.0, 2.0]).reshape(2, *[1] * n) for n in (3, 2, 2)))
    repeated = take_rows(clip, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert repeated.proprio_BTP.flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert take_rows(repeated, slice(2, 4)).proprio_BTP.flatten().tolist() == [1, 2]
    state = take_rows(dynamics.observe(a_clip(2)), torch.tensor([0, 0, 1, 1]))
    repeated = dynamics.rollout(state, plan(2).repeat_interleave(2, 0)).tokens_BHSD
    expected = dynamics.rollout(dynamics.observe(a_clip(2)), plan(2)).tokens_BHSD
    for copies in (repeated[::2], repeated[1::2]):  # matrices of more rows are multiplied with another rounding
        torch.testing.assert_close(copies, expected, atol=1e-5, rtol=1e-5)
