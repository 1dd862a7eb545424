"""The loss of teacher forcing and of a short rollout, by hand."""

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.predictors.dino_wm import DinoWM
from cjepa.world_models.predictors.jepa_wm import JepaWM
from cjepa.world_models.predictors.vjepa2_ac import VJepa2AC
from cjepa.world_models.teacher_forcing import TeacherForcedModel
from cjepa.world_models.training import WorldModel
from tests.conftest import TOKEN_DIM, token_attributes
from tests.contracts import build, stirred
from tests.world_models.small import SMALL, a_clip, fit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def model(cls=DinoWM, **changes) -> TeacherForcedModel:
    torch.manual_seed(0)
    return TeacherForcedModel(stirred(build(cls, token_dim=6, **SMALL)), **changes).eval()


def error(predicted, target, norm: str):
    difference = predicted - target
    return (difference.abs() if norm == "l1" else difference.square()).mean()


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("cls", [DinoWM, JepaWM, VJepa2AC], ids=lambda cls: cls.__name__)
def test_every_block_is_predicted_from_true_ones(cls, norm):
    one, clip = model(cls, norm=norm), a_clip(5)
    terms = one.loss_terms(clip, torch.Generator())
    assert set(terms) == {"teacher", "proprio"}
    visible = torch.zeros(2, 3, 3, dtype=torch.bool)
    for name, target in (("teacher", clip.tokens_BTSD), ("proprio", clip.proprio_BTP)):
        each = []
        for blocks in (1, 2, 3):
            made = one.dynamics.predictor(*(values[:, :blocks] for values in clip), visible[:, :blocks])
            next_block = made.future_BFSD if name == "teacher" else made.proprio_BFP
            each.append(error(next_block[:, 0], target[:, blocks], norm))
        torch.testing.assert_close(terms[name], torch.stack(each).mean())


@pytest.mark.parametrize("cls", [JepaWM, VJepa2AC], ids=lambda cls: cls.__name__)
def test_a_rollout_of_two_blocks(cls):
    """The first one is predicted from the clip's first block, the second one from the first prediction too."""
    plain, one = model(cls, norm="l1"), model(cls, norm="l1", rollout_blocks=2, rollout_weight=0.5)
    clip = a_clip(4)
    terms, teacher = one.loss_terms(clip, torch.Generator()), plain.loss_terms(clip, torch.Generator())
    predictor, visible = one.dynamics.predictor, torch.zeros(2, 2, 3, dtype=torch.bool)
    tokens, proprio, actions = clip
    first = predictor(tokens[:, :1], proprio[:, :1], actions[:, :1], visible[:, :1])
    fed = torch.cat([tokens[:, :1], first.future_BFSD], 1), torch.cat([proprio[:, :1], first.proprio_BFP], 1)
    second = predictor(*fed, actions[:, :2], visible)
    of_tokens = [error(made.future_BFSD[:, 0], tokens[:, at], "l1") for at, made in ((1, first), (2, second))]
    of_proprio = [error(made.proprio_BFP[:, 0], proprio[:, at], "l1") for at, made in ((1, first), (2, second))]
    torch.testing.assert_close(terms["rollout"], torch.stack(of_tokens).mean())
    torch.testing.assert_close(terms["teacher"], teacher["teacher"])
    torch.testing.assert_close(terms["proprio"], teacher["proprio"] + 0.5 * torch.stack(of_proprio).mean())
    assert one.loss_weights == {"teacher": 1.0, "rollout": 0.5, "proprio": 1.0}


def test_fed_back_blocks_get_a_gradient_unless_it_is_stopped():
    """The first block's action reaches the second block's error through the prediction alone."""
    for stops in (False, True):
        one = TeacherForcedModel(stirred(build(JepaWM, token_dim=6, **SMALL, stop_gradient=stops)), rollout_blocks=2)
        one.dynamics.predictor.history_blocks = 1  # the second prediction sees the first one and nothing else
        clip = a_clip(4)
        visible = torch.zeros(2, 1, 3, dtype=torch.bool)
        actions = clip.actions_BTA[:, :2].clone().requires_grad_()
        made = one.dynamics.predictor.unroll(clip.tokens_BTSD[:, :1], clip.proprio_BTP[:, :1], actions, visible)
        gradient = torch.autograd.grad(made.future_BFSD[:, 1].sum(), actions)[0]
        assert (gradient[:, 0].abs().sum() == 0) == stops and gradient[:, 1].abs().sum() > 0


def test_random_starts_are_within_the_clip():
    one, clip = model(JepaWM, rollout_blocks=2, rollout_start="random"), a_clip(5)
    assert one.predict_blocks == 2 and model(JepaWM, rollout_blocks=2).predict_blocks == 1
    found = {one.loss_terms(clip, torch.Generator().manual_seed(seed))["rollout"].item() for seed in range(12)}
    assert len(found) == 3
    same = [one.loss_terms(clip, torch.Generator().manual_seed(3))["rollout"] for _ in range(2)]
    assert torch.equal(*same)


def test_blocks_behind_the_history_are_targets_only():
    one, clip = model(), a_clip(5)
    expected = one.loss_terms(clip, torch.Generator())
    changed = Clip(*(values.clone() for values in clip))
    changed.tokens_BTSD[:, 4:] += 1
    changed.actions_BTA[:, 3:] += 1
    found = one.loss_terms(changed, torch.Generator())
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("scale", [True, False])
def test_a_short_training(tokens_path, scale):
    one = TeacherForcedModel(build(JepaWM, token_dim=6, **SMALL), rollout_blocks=2, norm="l1", scale_tokens=scale)
    metrics = fit(tokens_path, one).callback_metrics
    assert {"train/teacher", "train/rollout", "train/proprio", "val/loss", "val/rollout_error@5"} <= set(metrics)
    assert bool((one.dynamics.token_scale.std == 1).all()) != scale
    described = one.describe_objective()
    assert described["norm"] == "l1" and described["rollout_blocks"] == 2 and described["scale_tokens"] == scale


@pytest.fixture
def normed_tokens_path(tmp_path, tokens_path):
    """The same tokens, layer-normed."""
    path = tmp_path / "normed.h5"
    with EpisodeWriter(path, "cjepa-tokens", token_attributes()) as writer:
        for episode in EpisodeFile(tokens_path).episodes(("action", "proprio", "tokens")):
            tokens = layer_norm(torch.from_numpy(episode["tokens"]).float(), [TOKEN_DIM])
            writer.append({**episode, "tokens": tokens.numpy().astype(np.float16)})
    return path


def test_layer_normed_predictions_are_trained_on_layer_normed_tokens(tokens_path, normed_tokens_path):
    def made(**changes) -> TeacherForcedModel:
        return TeacherForcedModel(build(VJepa2AC, token_dim=6, **SMALL), **changes)

    one = made(scale_tokens=False)
    fit(normed_tokens_path, one)
    assert bool((one.dynamics.token_scale.std == 1).all())
    for path, wrong, message in (
        (normed_tokens_path, made(), "VJepa2AC predicts layer-normed tokens, but this training scales"),
        (normed_tokens_path, WorldModel(build(VJepa2AC, token_dim=6, **SMALL), ObjectMask(1)), "scales its tokens"),
        (tokens_path, made(scale_tokens=False), "mean of 0 and a deviation of 1, but those of the data have"),
    ):
        wrong.on_train_start = lambda: pytest.fail("training began")
        with pytest.raises(UserError, match=message):
            fit(path, wrong)
