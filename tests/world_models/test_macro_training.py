import math

import lightning as L
import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.dynamics import rollout_clip
from cjepa.world_models.macro_training import MacroModel, divergence
from cjepa.world_models.predictors.object_filter import ObjectFilter
from tests.contracts import stirred
from tests.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def a_module(action_dim: int = 40, **options) -> MacroModel:
    torch.manual_seed(0)
    predictor = ObjectFilter(token_dim=6, proprio_dim=4, action_dim=3, history_blocks=1, dim=32, rounds=1)
    return MacroModel(predictor, action_dim, encoder_dim=16, **{"lr": 1e-2, "warmup_steps": 0} | options)


def test_a_history_that_no_plan_has_is_refused():
    """Of it, training would show whole ones alone, and plans one frame."""
    predictor = ObjectFilter(token_dim=6, proprio_dim=4, action_dim=3, history_blocks=3, dim=32, rounds=1)
    with pytest.raises(ValueError, match="history_blocks is 3, expected 1"):
        MacroModel(predictor, 40)


def a_clip(blocks: int = 3) -> Clip:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, blocks, 3, 6), (2, blocks, 4), (2, blocks, 40))
    return Clip(*(torch.randn(shape, generator=generator) for shape in shapes))


def test_divergence_by_hand():
    assert divergence(torch.tensor([1.0, -2.0]), torch.zeros(2)) == pytest.approx((1 + 4) / 2)
    assert divergence(torch.zeros(1), torch.tensor([math.log(3)])) == pytest.approx((3 - 1 - math.log(3)) / 2)


@pytest.mark.parametrize("first", [0, 1])
def test_a_rollout_sees_its_own_past_and_actions_only(first):
    """Gradients of the first block: from frame 0 and from its actions, from nothing that comes later."""
    module, clip = stirred(a_module()), Clip(*(values.requires_grad_() for values in a_clip()))
    rollout, _ = rollout_clip(module.dynamics, module.clip_of(clip))
    assert rollout.tokens_BHSD.shape == (2, 2, 3, 6)
    rollout.tokens_BHSD[:, first].sum().backward()
    tokens, actions = clip.tokens_BTSD.grad.abs().sum(dim=(0, 2, 3)), clip.actions_BTA.grad.abs().sum(dim=(0, 2))
    assert tokens[0] > 0 and not tokens[1:].any()
    assert (actions[: first + 1] > 0).all() and not actions[first + 1 :].any()


def test_a_rollout_goes_on_from_its_predictions_as_from_frames():
    module, clip = stirred(a_module()), a_clip()
    dynamics, codes = module.dynamics, module.clip_of(clip).actions_BTA
    start = Clip(*(values[:, :1] for values in clip[:2]), codes[:, :1])
    both = dynamics.denormalise(dynamics.rollout(dynamics.observe(start), codes[:, :2]))
    middle = Clip(both.tokens_BHSD[:, :1], both.proprio_BHP[:, :1], codes[:, :1])
    second = dynamics.denormalise(dynamics.rollout(dynamics.observe(middle), codes[:, 1:2]))
    torch.testing.assert_close(both.tokens_BHSD[:, 1:], second.tokens_BHSD)
    torch.testing.assert_close(both.proprio_BHP[:, 1:], second.proprio_BHP)


def test_a_loss_over_several_blocks_is_that_of_their_rollout():
    module, clip = stirred(a_module(predict_blocks=2, code_weight=0.0)), a_clip()
    with torch.no_grad():
        module.encoder.layers[-1].bias[3:] = -40.0  # a variance of almost 0: codes are their means
        module.encoder.layers[-1].weight[3:] = 0.0
    rollout, followed = rollout_clip(module.dynamics, module.clip_of(clip))
    found = module.loss_terms(clip, torch.Generator())
    torch.testing.assert_close(found["future"], (rollout.tokens_BHSD - followed.tokens_BHSD).square().mean())
    torch.testing.assert_close(found["proprio"], (rollout.proprio_BHP - followed.proprio_BHP).square().mean())


def test_codes_are_drawn_anew_in_every_step():
    module, clip = stirred(a_module()), a_clip(2)
    terms = [module.loss_terms(clip, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert set(terms[0]) == {"future", "proprio", "code"} == set(module.loss_weights)
    assert terms[0]["future"] == terms[1]["future"] != terms[2]["future"] and terms[0]["code"] == terms[2]["code"]


def test_a_search_tries_codes_that_training_knows():
    low_M, high_M = a_module().dynamics.bounds()
    assert low_M.tolist() == [-2.0] * 3 and high_M.tolist() == [2.0] * 3


def test_codes_learn_what_of_the_actions_changes_the_outcome():
    """The mean action moves every token; with the codes of other actions the prediction is wrong."""
    module, generator = a_module(code_weight=1e-3), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)

    def a_batch() -> Clip:
        actions = torch.randn(64, 2, 1, generator=generator).expand(-1, -1, 40)
        tokens = torch.randn(64, 1, 3, 6, generator=generator)
        return Clip(torch.cat([tokens, tokens + actions[:, :1, :1, None]], dim=1), torch.zeros(64, 2, 4), actions)

    for _ in range(60):
        terms = module.loss_terms(a_batch(), generator)
        optimizer.zero_grad()
        module.total(terms).backward()
        optimizer.step()
    batch = a_batch()
    other = batch._replace(actions_BTA=batch.actions_BTA.roll(1, dims=0))
    right, wrong = (float(module.loss_terms(clip, generator)["future"]) for clip in (batch, other))
    assert right < 0.3 < 1.0 < wrong


def fit(tokens_path, module: MacroModel, **data) -> L.Trainer:
    trainer = quiet_trainer(2)
    sizes = {"frame_stride": 20, "train_blocks": 2, "val_blocks": 2, "batch_size": 64, "val_clips": 64}
    trainer.fit(module, datamodule=TokenClips(str(tokens_path), **sizes | data))
    return trainer


@pytest.mark.parametrize(("matrix_lr", "optimiser"), [(None, "AdamW"), (1e-2, "MuonAndAdamW")])
def test_actions_are_scaled_before_they_are_codes(matrix_lr, optimiser, tokens_path):
    module = a_module(matrix_lr=matrix_lr)
    assert type(fit(tokens_path, module).optimizers[0]).__name__ == optimiser
    assert bool(module.encoder.scale.fitted) and (module.encoder.scale.std < 0.9).all()  # actions are in [-1, 1]
    assert module.dynamics.action_scale.std.tolist() == [1.0] * 3


def test_blocks_of_another_length_are_refused(tokens_path):
    with pytest.raises(UserError, match="action_dim is 40, but blocks of the data have 20 action values; set it to 20"):
        fit(tokens_path, a_module(), frame_stride=10)


@pytest.mark.parametrize("options", [{"action_dim": 0}, {"code_weight": -1.0}, {"matrix_lr": 0.0}])
def test_numbers_are_checked(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        a_module(**options)
