"""Training of a tokenizer by its own losses, and the tokenizer back from its checkpoint."""

import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.evaluation.metrics import ForegroundARI
from cjepa.tokenizers.baselines.global_token import GlobalTokenizer
from cjepa.tokenizers.encode import encode_clips, fingerprint
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.tokenizers.training import TokenizerTraining, load_tokenizer
from cjepa.types import VideoBatch, to_float_pixels
from tests.trainers import quiet_trainer


@pytest.fixture(scope="module")
def data(episodes_path) -> VideoClips:
    data = VideoClips(str(episodes_path), frame_stride=2, train_blocks=3, batch_size=4)
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def batch(data) -> VideoBatch:
    return next(iter(data.train_dataloader()))


def a_tokenizer(**changes) -> SlotTokenizer:
    torch.manual_seed(0)
    return SlotTokenizer(LearnedStart(2, slot_dim=32), **changes)


def a_module(**loss_weights: float) -> TokenizerTraining:
    module = TokenizerTraining(a_tokenizer(), [ForegroundARI()], loss_weights or {"reconstruction": 1.0})
    module.logged = {}
    module.log = lambda name, value, **_: module.logged.update({name: value})
    module.log_dict = lambda values, **_: module.logged.update(values)
    return module


def test_the_trained_module_and_the_loaded_tokenizer_give_the_same_tokens(slots_run, batch):
    checkpoint = slots_run / "checkpoints" / "last.ckpt"
    module = TokenizerTraining.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    tokenizer = load_tokenizer(checkpoint)
    assert not tokenizer.training and not any(p.requires_grad for p in tokenizer.parameters())
    with torch.no_grad():
        pixels = to_float_pixels(batch.pixels_BTYXC)
        assert torch.equal(tokenizer.encode(pixels).slots_BTSD, module.tokenizer.encode(pixels).slots_BTSD)
    tokens = encode_clips(tokenizer, batch)
    assert torch.equal(tokens, encode_clips(module.tokenizer, batch))
    assert fingerprint(tokenizer) == fingerprint(module.tokenizer) != fingerprint(a_tokenizer())


def test_the_background_is_the_median_of_training_frames(slots_run, data):
    """The agent and the block move, so the median has neither."""
    background = load_tokenizer(slots_run / "checkpoints" / "last.ckpt").foreground.background_3YX
    expected = to_float_pixels(data.sample_frames(512)).median(dim=0).values
    torch.testing.assert_close(background, expected)


def test_the_loss_is_the_weighted_sum_of_the_terms(batch):
    module = a_module(reconstruction=2.0, grouping=0.5)
    module.tokenizer.loss_terms = lambda pixels: {
        "reconstruction": torch.tensor(3.0),
        "grouping": torch.tensor(4.0),
        "contrast": torch.tensor(100.0),
    }
    assert module.training_step(batch, 0) == 2 * 3 + 0.5 * 4
    assert {name: float(value) for name, value in module.logged.items()} == {
        "train/reconstruction": 3,
        "train/grouping": 4,
        "train/contrast": 100,
        "train/loss": 8,
    }


def test_clips_with_label_images_give_further_losses(batch):
    module = a_module()
    module.tokenizer.learns_from_labels = True
    module.tokenizer.loss_terms = lambda pixels, labels: {} if labels is None else {"objects": (labels > 0).sum()}
    assert module.loss_terms(batch)["objects"] == (batch.labels_BTYX > 0).sum() > 0
    assert module.loss_terms(batch._replace(labels_BTYX=None)) == {}


def test_a_weight_for_nothing_is_the_users_error(batch):
    with pytest.raises(UserError, match="'gruping'.*contrast.*grouping.*reconstruction"):
        a_module(reconstruction=1.0, gruping=0.1).training_step(batch, 0)


def test_every_parameter_learns_from_what_is_weighted(batch):
    module = a_module(reconstruction=1.0, grouping=0.1)
    module.tokenizer.prepare(to_float_pixels(batch.pixels_BTYXC.flatten(0, 1)))
    module.training_step(batch, 0).backward()
    dead = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_a_tokenizer_hears_of_every_step_of_the_optimiser(data, monkeypatch):
    module, heard = TokenizerTraining(GlobalTokenizer(dim=4, channels=2), [], {"reconstruction": 1.0}), []
    monkeypatch.setattr(module.tokenizer, "after_step", heard.append)
    quiet_trainer(2, accumulate_grad_batches=2, limit_val_batches=0).fit(module, datamodule=data)
    assert heard == [0.5, 1.0]


@torch.no_grad()
def test_what_is_not_finite_gets_no_score(batch):
    module = a_module().eval()
    next(module.tokenizer.glimpse.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="^SlotTokenizer: its tokens are not finite; its training diverged"):
        module.test_step(batch, 0)


@torch.no_grad()
def test_validation_scores_what_is_decoded(batch):
    module = a_module().eval()
    module.validation_step(batch, 0)
    pixels = to_float_pixels(batch.pixels_BTYXC)
    frames, masks = module.tokenizer.decode(module.tokenizer.encode(pixels).slots_BTSD)
    expected = -10 * (frames - pixels).square().mean().log10()
    torch.testing.assert_close(module.logged["val/psnr"], expected)
    alone = ForegroundARI()
    alone.update(masks, batch.labels_BTYX)
    assert module.scores["val"]["fg_ari"].compute() == alone.compute()
    module.logged.clear()
    module.test_step(batch._replace(labels_BTYX=None), 0)
    assert "test/loss" in module.logged and "test/fg_ari" not in module.logged  # nothing to score against


def test_metrics_of_validation_and_test_are_apart():
    module = a_module()
    assert set(module.scores) == {"val", "test"}
    assert module.scores["val"]["fg_ari"] is not module.scores["test"]["fg_ari"]
    assert set(module.scores["test"].keys()) == {"test/fg_ari"}


def test_other_files_are_refused(world_model_run):
    with pytest.raises(UserError, match="not a tokenizer"):
        load_tokenizer(world_model_run / "checkpoints" / "last.ckpt")


def test_tokens_are_refused(tokens_path):
    module = TokenizerTraining(a_tokenizer(), [], {"reconstruction": 1.0})
    line = "TokenizerTraining is trained on frames, but TokenClips .* data.class_path to cjepa.data.video_clips.Video"
    with pytest.raises(UserError, match=line):
        quiet_trainer().fit(module, datamodule=TokenClips(str(tokens_path), batch_size=4))
