"""SAVi: conditioning, training, and the tokenizer back from its checkpoint."""

import pytest
import torch

from cjepa.cli import main
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.tokenizers.baselines.initialisers import ConditionedSlots, GaussianSlots, LearnedSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.savi import SAVi
from cjepa.tokenizers.hints import hints_from_labels
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import VideoBatch, to_float_pixels
from tests.conftest import configs

SLOTS, SIDE = 3, 16


def a_tokenizer(initialiser=LearnedSlots, stride: int = 1) -> SAVi:
    torch.manual_seed(0)
    sizes = {"channels": 8, "decoder_channels": 8, "stride": stride, "image_size": SIDE}
    return SAVi(initialiser(SLOTS, 16), **sizes).eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def batch(episodes_path) -> VideoBatch:
    data = VideoClips(str(episodes_path), frame_stride=2, train_blocks=2, batch_size=2)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_masks_are_the_attention_at_full_resolution(pixels, stride):
    tokenizer = a_tokenizer(stride=stride)
    attention = tokenizer.slots(pixels).attention_BTSL
    masks = tokenizer.encode(pixels).masks_BTSYX
    assert masks.shape == (2, 3, SLOTS, SIDE, SIDE) and attention.shape[-1] == (SIDE // stride) ** 2
    assert torch.equal(masks[..., ::stride, ::stride].flatten(3), attention)
    torch.testing.assert_close(masks.sum(dim=2), torch.ones(2, 3, SIDE, SIDE))


@torch.no_grad()
def test_features_know_where_they_are():
    """The same patch of colour has other features elsewhere."""
    grey = torch.full((1, 3, SIDE, SIDE), 0.5)
    features = a_tokenizer().features(grey)[0, :, 4:-4, 4:-4]  # away from the frame's edge
    assert features.std(dim=(1, 2)).max() > 1e-3


@torch.no_grad()
def test_patches_of_its_features_are_tokens(pixels):
    tokens = PatchTokenizer(a_tokenizer(stride=2), 4).eval().encode(pixels)
    assert tokens.slots_BTSD.shape == (2, 3, 16, 24)


@torch.no_grad()
def test_the_loss_is_the_error_of_what_the_slots_draw(pixels):
    tokenizer = a_tokenizer()
    frames, _ = tokenizer.decode(tokenizer.encode(pixels).slots_BTSD)
    assert set(tokenizer.loss_terms(pixels)) == {"reconstruction"}
    torch.testing.assert_close(tokenizer.loss_terms(pixels)["reconstruction"], (frames - pixels).square().mean())


@pytest.mark.slow
def test_it_learns_to_draw_a_clip(pixels):
    tokenizer = a_tokenizer(GaussianSlots).train()
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
    smooth = torch.nn.functional.avg_pool2d(pixels.flatten(0, 1), 8).repeat_interleave(8, -1).repeat_interleave(8, -2)
    smooth = smooth.unflatten(0, (2, 3))
    losses = []
    for _ in range(60):
        loss = tokenizer.loss_terms(smooth)["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) / 5 < 0.2 * losses[0]


@torch.no_grad()
def test_swapped_hints_swap_the_tokens(pixels):
    """Nothing but its hint ties a slot to its index."""
    tokenizer = a_tokenizer(ConditionedSlots)
    hints = torch.tensor([[[torch.nan] * 2, [0.5, -0.5], [-0.5, 0.5]]]).expand(2, -1, -1)
    order = [0, 2, 1]
    found, swapped = tokenizer.encode(pixels, hints), tokenizer.encode(pixels, hints[:, order])
    for first, second in zip(found, swapped, strict=True):
        torch.testing.assert_close(second, first[:, :, order], atol=1e-5, rtol=1e-4)
    assert (found.slots_BTSD[:, :, 1] - found.slots_BTSD[:, :, 2]).abs().max() > 1e-3


@torch.no_grad()
def test_training_hints_at_the_objects_of_the_first_frame(batch):
    torch.manual_seed(0)
    tokenizer = SAVi(ConditionedSlots(SLOTS, 16), channels=4, decoder_channels=4, stride=2)
    seen = []
    loss_terms = tokenizer.loss_terms
    tokenizer.loss_terms = lambda *inputs: seen.append(inputs) or loss_terms(*inputs)
    module = TokenizerTraining(tokenizer, [], {"reconstruction": 1.0})
    module.log = module.log_dict = lambda *_, **__: None
    module.training_step(batch, 0)
    module.validation_step(batch, 0)
    for pixels, hints in seen:
        assert torch.equal(pixels, to_float_pixels(batch.pixels_BTYXC))
        expected = hints_from_labels(batch.labels_BTYX[:, 0], SLOTS, 2)
        torch.testing.assert_close(hints, expected, equal_nan=True)
        assert torch.isfinite(hints[:, 1:]).all()  # agent and block are in view
    assert len(seen) == 2
    with pytest.raises(UserError, match="needs hints from label images"):
        module.training_step(batch._replace(labels_BTYX=None), 0)


def test_a_size_that_does_not_fit_is_one_line_about_it(tmp_path, capsys):
    words = [*configs("pusht/savi.yaml"), "--model.init_args.tokenizer.init_args.image_size", "60"]
    assert main(["fit", *words, "--run_dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith("image_size: expected 8 times a power of two, not 60") and "Namespace" not in said
