"""A world model and the data that it is trained on: scales, what is missing, and what does not fit."""

import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.flat_mlp import FlatMLP
from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from cjepa.world_models.training import WorldModel
from tests.conftest import token_attributes
from tests.trainers import quiet_trainer
from tests.world_models.small import SMALL, fit, small_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_scales_make_training_values_standard(tokens_path):
    model = small_model()
    fit(tokens_path, model, max_steps=1)
    data = TokenClips(str(tokens_path))
    data.setup("fit")
    for values in model.dynamics.normalise(data.normalisation_sample()):
        flat = values.reshape(-1, values.shape[-1])
        torch.testing.assert_close(flat.mean(dim=0), torch.zeros(flat.shape[1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(flat.std(dim=0), torch.ones(flat.shape[1]), atol=1e-2, rtol=0)


@pytest.fixture
def bare_tokens_path(tmp_path, tokens_path):
    """The same tokens in a file that knows of no actions and no proprioception."""
    source, path = EpisodeFile(tokens_path), tmp_path / "bare.h5"
    with EpisodeWriter(path, "cjepa-tokens", token_attributes()) as writer:
        for episode in source.episodes(["tokens"]):
            writer.append(episode)
    return path


@pytest.mark.parametrize("bare", [False, True], ids=["columns-unused", "no-columns"])
def test_nobody_acts(tokens_path, bare_tokens_path, bare):
    torch.manual_seed(0)
    model = WorldModel(EntityTransformer(token_dim=6, proprio_dim=0, action_dim=0, **SMALL), ObjectMask(1))
    trainer = fit(bare_tokens_path if bare else tokens_path, model)
    metrics = trainer.callback_metrics
    assert "train/proprio" not in metrics and "val/proprio" not in metrics
    torch.testing.assert_close(metrics["val/loss"], metrics["val/future"])
    assert all(torch.isfinite(value) for value in metrics.values())
    clip = next(iter(trainer.datamodule.val_dataloader()))
    predicted = model.eval().predict_step(clip, 0)
    assert predicted.tokens_BHSD.shape[1] == 5 and torch.isfinite(predicted.tokens_BHSD).all()
    assert predicted.proprio_BHP.shape[2] == 0
    changed = clip._replace(actions_BTA=clip.actions_BTA + 1, proprio_BTP=clip.proprio_BTP + 1)
    assert torch.equal(model.predict_step(changed, 0).tokens_BHSD, predicted.tokens_BHSD)


def test_entities_that_the_data_do_not_have_are_named(bare_tokens_path):
    with pytest.raises(UserError, match="proprio_dim is 4, but the data have 0; set it to 0"):
        fit(bare_tokens_path, small_model())


def test_other_sizes_and_other_tokens_are_refused(tokens_path):
    model = WorldModel(EntityTransformer(token_dim=7, **SMALL), ObjectMask(1))
    with pytest.raises(UserError, match="token_dim is 7.*set it to 6"):
        fit(tokens_path, model)
    model, checkpoint = small_model(), {}
    model.on_save_checkpoint(checkpoint)
    model.on_load_checkpoint(checkpoint | {"tokenizer_fingerprint": "another one"})
    with pytest.raises(UserError, match="another one.*0123456789abcdef"):
        fit(tokens_path, model)


def test_frames_are_refused(episodes_path):
    data = VideoClips(str(episodes_path), train_blocks=4, val_blocks=4, batch_size=4)
    line = "WorldModel is trained on tokens, but VideoClips .* data.class_path to cjepa.data.token_clips.TokenClips"
    with pytest.raises(UserError, match=line):
        quiet_trainer().fit(small_model(), datamodule=data)


@pytest.mark.parametrize(
    ("predictor", "num_masked", "named"),
    [
        (EntityTransformer(token_dim=6, num_positions=2, **SMALL), 1, "for 2 tokens a block, but there are 3"),
        (FlatMLP(token_dim=6, num_tokens=4, dim=4), 1, "for 4 tokens a block, but there are 3"),
        (Ensemble(lambda: FlatMLP(token_dim=6, num_tokens=4, dim=4), 2), 1, "for 4 tokens a block"),
        (EntityTransformer(token_dim=6, **SMALL), 4, "num_masked is 4, expected 0 to 3"),
        (PrefixTransformer(token_dim=6, **SMALL), 1, "prefix_blocks is 5, but the loss is over 1 of the predicted"),
    ],
    ids=["positions", "flat", "ensemble", "mask", "pass"],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tokens_path, predictor, num_masked, named):
    model = WorldModel(predictor, ObjectMask(num_masked))
    model.on_train_start = lambda: pytest.fail("training began")
    with pytest.raises(UserError, match=named):
        fit(tokens_path, model)


@pytest.mark.parametrize(("blocks", "name"), [({"train_blocks": 3}, "train_blocks"), ({"val_blocks": 3}, "val_blocks")])
def test_clips_that_are_not_longer_than_the_history(tokens_path, blocks, name):
    data = TokenClips(str(tokens_path), **{"train_blocks": 4, "val_blocks": 8, "batch_size": 16} | blocks)
    with pytest.raises(UserError, match=f"{name} is 3, .*history_blocks of 3 .*; set it to 4 or more"):
        quiet_trainer().fit(small_model(), datamodule=data)


def test_training_clips_have_the_blocks_to_predict(tokens_path):
    data = TokenClips(str(tokens_path), train_blocks=5, val_blocks=8, batch_size=16)
    with pytest.raises(UserError, match="train_blocks is 5, .* and 3 to predict; set it to 6 or more"):
        quiet_trainer().fit(small_model(predict_blocks=3), datamodule=data)
