"""Training of a slot tokenizer, and the tokenizer back from its checkpoint."""

import pytest
import torch

from cjepa.data.modules import FrameData
from cjepa.errors import UserError
from cjepa.evaluation.metrics import ForegroundARI
from cjepa.tokenizers.cache import encode_frames, fingerprint
from cjepa.tokenizers.slots import SlotTokenizer
from cjepa.tokenizers.training import TokenizerTraining, load_tokenizer, read_checkpoint
from cjepa.types import to_float_pixels


@pytest.fixture(scope="module")
def frames(episodes_path) -> torch.Tensor:
    data = FrameData(str(episodes_path))
    data.setup("fit")
    return data.sample_frames(8)


def a_module(**changes) -> TokenizerTraining:
    torch.manual_seed(0)
    return TokenizerTraining(SlotTokenizer(num_slots=2, image_size=64), [ForegroundARI()], **changes)


def test_the_trained_module_and_the_loaded_tokenizer_give_the_same_tokens(slots_run, frames):
    checkpoint = slots_run / "checkpoints" / "last.ckpt"
    module = TokenizerTraining.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    tokenizer = load_tokenizer(checkpoint)
    assert not tokenizer.training and not any(p.requires_grad for p in tokenizer.parameters())
    with torch.no_grad():
        pixels = to_float_pixels(frames)
        assert torch.equal(tokenizer.encode(pixels).slots_BSD, module.tokenizer.encode(pixels).slots_BSD)
    assert torch.equal(encode_frames(tokenizer, frames), encode_frames(module.tokenizer, frames))
    assert fingerprint(tokenizer) == fingerprint(module.tokenizer)


def test_two_checkpoints_differ(slots_run):
    first = load_tokenizer(slots_run / "checkpoints" / "last.ckpt")
    torch.manual_seed(1)
    fresh = SlotTokenizer(num_slots=first.num_slots, image_size=64)
    assert fingerprint(fresh) != fingerprint(first)


def test_the_background_is_the_median_of_training_frames(slots_run, episodes_path):
    """The agent and the block move, so the median has neither."""
    background = load_tokenizer(slots_run / "checkpoints" / "last.ckpt").background_3YX
    data = FrameData(str(episodes_path))
    data.setup("fit")
    expected = to_float_pixels(data.sample_frames(512)).median(dim=0).values
    torch.testing.assert_close(background, expected)


def test_the_loss_by_hand():
    module = a_module(foreground_weight=3.0)
    module.tokenizer.background_3YX.zero_()
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[0, 0, 0, 0] = 1.0  # the one pixel of foreground: its weight is 4
    frames = torch.zeros(1, 3, 64, 64)
    expected = 4.0 * 1.0 / 3 / (64 * 64 - 1 + 4)
    torch.testing.assert_close(module.reconstruction_loss(frames, pixels), torch.tensor(expected))
    assert module.reconstruction_loss(pixels, pixels) == 0


def test_a_foreground_weight_of_zero_is_the_plain_error():
    module = a_module(foreground_weight=0.0)
    pixels, frames = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module.reconstruction_loss(frames, pixels), (frames - pixels).square().mean())


def test_every_parameter_learns(frames):
    module = a_module()
    module.log = module.log_dict = lambda *_, **__: None
    pixels = frames
    module.tokenizer.background_3YX.copy_(to_float_pixels(pixels).median(dim=0).values)
    batch = type("Batch", (), {"pixels_BYXC": pixels})()
    module.training_step(batch, 0).backward()
    dead = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_metrics_of_validation_and_test_are_apart():
    module = a_module()
    assert set(module.scores) == {"val", "test"}
    assert module.scores["val"]["fg_ari"] is not module.scores["test"]["fg_ari"]
    assert set(module.scores["test"].keys()) == {"test/fg_ari"}


def test_other_files_are_refused(tmp_path, world_model_run):
    with pytest.raises(UserError, match="not a tokenizer"):
        load_tokenizer(world_model_run / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="text.ckpt: not a checkpoint"):
        read_checkpoint(tmp_path / "text.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="other.ckpt: not a checkpoint of"):
        read_checkpoint(tmp_path / "other.ckpt")
