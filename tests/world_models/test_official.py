"""The published loss and optimiser, by hand."""

from types import SimpleNamespace

import pytest
import torch

from cjepa.types import Clip
from cjepa.world_models.masks import FixedMask, ObjectMask
from cjepa.world_models.official import OfficialWorldModel
from cjepa.world_models.predictors.official import OfficialTransformer
from tests.world_models.small import a_clip, fit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"token_dim": 6, "history_blocks": 3, "depth": 1, "num_heads": 2, "mlp_dim": 8, "dropout": 0.0}


def model(mask=None, **changes) -> OfficialWorldModel:
    torch.manual_seed(0)
    return OfficialWorldModel(OfficialTransformer(**SMALL), mask or FixedMask(2, seed=1), **changes)


def test_the_loss_by_hand():
    """The hidden objects' visible first block counts too; proprioception counts as its embedding, without gradient."""
    one, clip = model(), a_clip(4)
    terms = one.loss_terms(clip, torch.Generator())
    predictor = one.dynamics.predictor
    hidden = [
        index for index in range(3) if FixedMask(2, seed=1).sample(clip.tokens_BTSD, torch.Generator())[0, 1, index]
    ]
    assert len(hidden) == 2
    mask_BTS = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask_BTS[:, 1:, hidden] = True
    prediction = predictor(*(values[:, :3] for values in clip), mask_BTS)
    masked = (prediction.history_BTSD - clip.tokens_BTSD[:, :3])[:, :, hidden].square().mean()
    torch.testing.assert_close(terms["masked"], masked)
    torch.testing.assert_close(terms["future"], (prediction.future_BFSD - clip.tokens_BTSD[:, 3:]).square().mean())
    entities = predictor.embedded(clip.tokens_BTSD, clip.proprio_BTP)
    passed = predictor.predict(
        entities[:, :3], predictor.embedded_actions(clip.actions_BTA[:, :3]), predictor.hidden(mask_BTS, 3)
    )
    target = (clip.proprio_BTP[:, 3] @ predictor.embed_proprio.weight.T + predictor.embed_proprio.bias).detach()
    torch.testing.assert_close(terms["proprio"], (passed[:, 3, 3] - target).square().mean())
    terms["proprio"].backward()
    expected = torch.autograd.grad((passed[:, 3, 3] - target).square().mean(), predictor.embed_proprio.weight)[0]
    torch.testing.assert_close(predictor.embed_proprio.weight.grad, expected)


def test_nothing_hidden_costs_nothing_and_nothing_after_the_clip_is_read():
    one, clip = model(ObjectMask(0)), a_clip(6)
    terms = one.loss_terms(clip, torch.Generator())
    assert terms["masked"] == 0
    changed = Clip(*(torch.cat([values[:, :4], values[:, 4:] + 1], dim=1) for values in clip))
    assert torch.equal(one.loss_terms(changed, torch.Generator())["future"], terms["future"])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_optimiser(schedule):
    one = model(schedule=schedule)
    one.trainer = SimpleNamespace(estimated_stepping_batches=10)
    made = one.configure_optimizers()
    optimizer = made["optimizer"]
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    embed = one.dynamics.predictor.embed_proprio
    assert {rates[id(embed.weight)], rates[id(embed.bias)]} == {1e-4}
    assert {rate for key, rate in rates.items() if key not in (id(embed.weight), id(embed.bias))} == {5e-4}
    assert len(rates) == len(list(one.parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-2}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    if schedule == "constant":
        assert "lr_scheduler" not in made
        return
    scheduler = made["lr_scheduler"]["scheduler"]
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-4) and made["lr_scheduler"]["interval"] == "step"


def test_tokens_stay_as_they_are_in_training(tokens_path):
    one = model()
    metrics = fit(tokens_path, one).callback_metrics
    assert {"train/loss", "train/masked", "train/future", "train/proprio", "val/rollout_error@5"} <= set(metrics)
    scales = one.dynamics
    assert not scales.token_scale.mean.any() and (scales.token_scale.std == 1).all() and scales.token_scale.fitted
    assert scales.proprio_scale.fitted and (scales.proprio_scale.std != 1).any() and scales.action_scale.fitted
    described = one.describe_objective()
    assert described["mask"]["class"] == "FixedMask" and described["predict_blocks"] == 1
