"""The loss of a world model, what a step draws, and what a training logs."""

import pytest
import torch

from cjepa.types import Clip
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.training import WorldModel
from tests.world_models.small import Zeros, a_clip, fit, small_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_nothing_hidden_costs_nothing():
    terms = small_model(ObjectMask(0)).loss_terms(a_clip(4), torch.Generator())
    assert terms["masked"].item() == 0.0 and terms["future"] > 0


def test_hidden_proprioception_never_reaches_the_loss_of_objects():
    """Only its next block is a target, which the last of four blocks is, after the longest history."""
    model, clip = small_model(ObjectMask(1, hide_proprio=1.0)), a_clip(4, batch=16)
    other = clip._replace(proprio_BTP=torch.cat([clip.proprio_BTP[:, :1], clip.proprio_BTP[:, 1:] + 1], dim=1))
    terms, found = (model.loss_terms(batch, torch.Generator().manual_seed(0)) for batch in (clip, other))
    assert torch.equal(terms["masked"], found["masked"]) and torch.equal(terms["future"], found["future"])
    assert terms["masked"] > 0 and not torch.equal(terms["proprio"], found["proprio"])


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.0), (0.0, 3.0)])
def test_the_loss_is_the_weighted_sum(weights):
    model = small_model(ObjectMask(1), masked_weight=weights[0], proprio_weight=weights[1])
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    model.log = lambda name, value, **_: logged.update({name: value})
    loss = model.training_step(a_clip(4), 0)
    expected = logged["train/future"] + weights[0] * logged["train/masked"] + weights[1] * logged["train/proprio"]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logged["train/loss"], loss)


def test_what_a_step_draws_depends_on_the_step_alone(monkeypatch):
    clip = a_clip(4, batch=16)

    def losses(steps, mask_seed=0, rank=0):
        model = small_model(ObjectMask(1), mask_seed=mask_seed)
        model.log_dict = model.log = lambda *_, **__: None
        monkeypatch.setattr(WorldModel, "global_rank", rank)
        found = []
        for step in steps:
            monkeypatch.setattr(WorldModel, "global_step", step)
            found.append(model.training_step(clip, 0).item())
        return found

    whole = losses(range(8))
    assert len(set(whole)) > 4  # histories of one block have nothing to hide
    assert losses(range(5, 8)) == whole[5:]  # resumed
    assert losses(range(8), mask_seed=1) != whole
    assert losses(range(8), rank=1) != whole


def test_batches_of_one_step_draw_apart(tokens_path):
    model, drawn = small_model(ObjectMask(1)), []
    model.loss_terms = lambda batch, generator: (
        drawn.append(generator.initial_seed()) or WorldModel.loss_terms(model, batch, generator)
    )
    fit(tokens_path, model, accumulate_grad_batches=2)
    assert len(set(drawn)) == len(drawn) == 4  # of two steps


def test_every_history_length_is_trained(monkeypatch):
    model = WorldModel(Zeros(), ObjectMask(0))
    model.log_dict = model.log = lambda *_, **__: None
    lengths = []
    for step in range(40):
        monkeypatch.setattr(WorldModel, "global_step", step)
        model.training_step(a_clip(4, dims=(2, 2, 1)), 0)
        lengths.append(model.dynamics.predictor.given[0].shape[1])
    assert set(lengths) == {1, 2, 3}


def test_histories_may_be_long_alone():
    model = WorldModel(Zeros(), ObjectMask(0), shortest_history=3)
    for seed in range(5):
        model.loss_terms(a_clip(4, dims=(2, 2, 1)), torch.Generator().manual_seed(seed))
        assert model.dynamics.predictor.given[0].shape[1] == 3
    with pytest.raises(ValueError, match="shortest_history is 4, expected 1..3"):
        WorldModel(Zeros(), ObjectMask(0), shortest_history=4)


def test_validation_by_hand():
    model = WorldModel(Zeros(), ObjectMask(0), proprio_weight=2.0)
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    tokens = torch.zeros(1, 5, 1, 2)
    tokens[0, :, 0, 0] = torch.tensor([9.0, 9.0, 1.0, 2.0, 4.0])  # 3 of history, then 2 to predict
    proprio = torch.zeros(1, 5, 2)
    proprio[0, 3] = 3.0
    model.validation_step(Clip(tokens, proprio, torch.arange(5.0).reshape(1, 5, 1)), 0)
    assert model.dynamics.predictor.given[2].flatten().tolist() == [1, 2, 3]  # the last action leads out of the clip
    assert {name: float(value) for name, value in logged.items()} == {
        "val/loss": 2.0 + 2 * 9.0,
        "val/future": 2.0,
        "val/proprio": 9.0,
        "val/error@1": 2.0,
        "val/copy_error@1": 0.5,
        "val/error@2": 8.0,
        "val/copy_error@2": 4.5,
    }


def test_a_short_training(tokens_path):
    model = small_model()
    metrics = fit(tokens_path, model).callback_metrics
    assert {"train/loss", "train/masked", "train/future", "train/proprio"} <= set(metrics)
    assert {"val/loss", "val/future", "val/proprio", "val/rollout_error@1", "val/rollout_error@5"} <= set(metrics)
    for block in (1, 5):
        ratio = metrics[f"val/error@{block}"] / metrics[f"val/copy_error@{block}"]
        torch.testing.assert_close(metrics[f"val/rollout_error@{block}"], ratio)
    assert model.dynamics.token_scale.fitted and model.dynamics.action_scale.fitted
    assert model.tokenizer_fingerprint == "0123456789abcdef"


def test_blocks_after_the_history_are_weighted():
    """Predictions of 0: the loss is the mean square of what followed, block by block."""
    model = WorldModel(Zeros(), ObjectMask(0), predict_blocks=3, future_decay=0.5)
    clip = a_clip(6, dims=(2, 2, 1))
    terms = model.loss_terms(clip, torch.Generator())
    blocks = model.dynamics.predictor.given[0].shape[1]  # of the last call, whose window is full
    squares_T = [values.square().mean(dim=(0, *range(2, values.ndim))) for values in clip[:2]]
    for name, square_T in zip(("future", "proprio"), squares_T, strict=True):
        expected = {
            (4 * square_T[b] + 2 * square_T[b + 1] + square_T[b + 2]).item() / 7 for b in range(1, min(blocks, 3) + 1)
        }
        assert min(abs(terms[name].item() - value) for value in expected) < 1e-6


@pytest.mark.parametrize(("option", "value"), [("norm", "l1"), ("matching", "hungarian")])
def test_options_of_the_loss_reach_it(option, value):
    """Predictions in the order of objects that the targets have not."""

    class LastBlockReversed(Zeros):
        def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE):
            reversed_B1SD = self.target_BTSD[:, tokens_BTSD.shape[1], None].flip(2)
            return super().forward(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)._replace(future_BFSD=reversed_B1SD)

    clip, terms = a_clip(4, dims=(2, 2, 1)), []
    for changes in ({}, {option: value}):
        model = WorldModel(LastBlockReversed(), ObjectMask(0), **changes)
        model.dynamics.predictor.target_BTSD = clip.tokens_BTSD
        terms.append(model.loss_terms(clip, torch.Generator().manual_seed(0)))
        assert model.describe_objective()[option] == changes.get(option, {"norm": "l2", "matching": "index"}[option])
    assert not torch.equal(terms[0]["future"], terms[1]["future"])
    assert (terms[1]["future"] == 0) == (option == "matching")
    assert torch.equal(terms[0]["proprio"], terms[1]["proprio"]) == (option == "matching")


def test_the_objective_is_described():
    described = small_model(ObjectMask(1, random_count=True), masked_weight=0.5).describe_objective()
    assert described["terms"] == {"future": 1.0, "masked": 0.5, "proprio": 1.0}
    drawn = {"num_masked": 1, "random_count": True, "shared_in_batch": False, "hide_proprio": 0.0}
    assert described["mask"] == {"class": "ObjectMask"} | drawn
    assert "frozen tokenizer" in described["against_collapse"]


def test_values_are_weighted():
    model = WorldModel(Zeros(), ObjectMask(0), value_weights=[(1, 0.5), (1, 1.5)], shortest_history=3)
    clip = a_clip(4, dims=(2, 2, 1))
    found = model.loss_terms(clip, torch.Generator())["future"]
    expected = (clip.tokens_BTSD[:, 3].square() * torch.tensor([0.5, 1.5])).mean()
    torch.testing.assert_close(found, expected)
    norm_l1 = WorldModel(Zeros(), ObjectMask(0), value_weights=[(1, 1.0), (1, 3.0)], shortest_history=3, norm="l1")
    expected = (clip.tokens_BTSD[:, 3].abs() * torch.tensor([0.5, 1.5])).mean()
    torch.testing.assert_close(norm_l1.loss_terms(clip, torch.Generator())["future"], expected)


WRONG_WEIGHTS = [
    ([], "expected 2 values"),
    ([(1, 1.0)], "expected 2 values"),
    ([(1, -1.0), (1, 1.0)], "below 0"),
    ([(1, float("nan")), (1, 1.0)], "expected finite ones"),
]


@pytest.mark.parametrize(("parts", "line"), WRONG_WEIGHTS)
def test_weights_of_other_values_are_refused(parts, line):
    with pytest.raises(ValueError, match=line):
        WorldModel(Zeros(), ObjectMask(0), value_weights=parts)
