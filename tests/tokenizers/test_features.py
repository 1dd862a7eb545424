"""Frozen features: convolutions with random weights, and a small DINOv2 with random weights."""

import builtins
from pathlib import Path

import pytest
import torch

from cjepa.errors import UserError
from cjepa.tokenizers import features
from cjepa.tokenizers.baselines.initialisers import LearnedSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.videosaur import VideoSAUR
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.features import ConvFeatures, DinoV2Features, FeatureEncoder
from tests.conftest import save_dinov2


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def another_dinov2(tmp_path_factory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("dinov2"), seed=1)


@pytest.fixture(params=["conv", "dino"])
def encoder(request, tiny_dinov2) -> FeatureEncoder:
    torch.manual_seed(0)
    return ConvFeatures(channels=16) if request.param == "conv" else DinoV2Features(str(tiny_dinov2), 56)


def a_tokenizer(encoder: FeatureEncoder) -> VideoSAUR:
    torch.manual_seed(0)
    return VideoSAUR(encoder, LearnedSlots(3, 16), render_dim=16)


def test_features_are_a_square_grid(encoder, pixels):
    values, keys = encoder(pixels)
    assert values.shape == keys.shape == (4, encoder.channels, encoder.side, encoder.side)
    assert (values[0] - values[1]).abs().max() > 1e-3 and torch.isfinite(values).all()


def test_they_are_frozen_and_stay_in_eval_mode(encoder, pixels):
    tokenizer = a_tokenizer(encoder).train()
    assert tokenizer.training and not any(module.training for module in encoder.modules())
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=0.1)
    sum(tokenizer.loss_terms(pixels[None]).values()).backward()
    optimizer.step()
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in encoder.named_parameters())
    assert not encoder(pixels).values_BKYX.requires_grad


def test_patches_of_them_are_tokens(encoder, pixels):
    tokens = PatchTokenizer(a_tokenizer(encoder), 2).eval().encode(pixels[None])
    assert tokens.slots_BTSD.shape == (1, 4, 4, 3 * encoder.channels)
    assert tokens.masks_BTSYX.shape == (1, 4, 4, 64, 64) and tokens.masks_BTSYX.sum(dim=2).eq(1).all()


def test_random_convolutions_are_standardised_over_training_frames(pixels):
    encoder = ConvFeatures(channels=16)
    skewed = pixels * torch.tensor([1.0, 0.1, 0.01])[:, None, None] + 0.5
    encoder.prepare(skewed)
    std, mean = torch.std_mean(encoder(skewed).values_BKYX, dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(std, torch.ones(16), atol=1e-3, rtol=0)
    alone = encoder(skewed[:1]).values_BKYX  # by what training frames had, not by the batch
    torch.testing.assert_close(alone, encoder(skewed).values_BKYX[:1], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_dinov2_gives_its_last_block_and_its_keys(tiny_dinov2, pixels):
    encoder = DinoV2Features(str(tiny_dinov2), 64 // 14 * 14)
    model = encoder.model
    resized = torch.nn.functional.interpolate(pixels, (56, 56), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = (resized - mean[:, None, None]) / std[:, None, None]
    output = model(inputs, output_hidden_states=True)
    values, keys = (grid.flatten(2).transpose(1, 2) for grid in encoder(pixels))
    torch.testing.assert_close(model.layernorm(values), output.last_hidden_state[:, 1:], atol=1e-4, rtol=1e-4)
    block = model.encoder.layer[-1]
    expected = block.attention.k_proj(block.norm1(output.hidden_states[-2]))[:, 1:]
    torch.testing.assert_close(keys, expected, atol=1e-4, rtol=1e-4)


def test_dinov2_is_not_in_checkpoints(tiny_dinov2, tmp_path, pixels):
    tokenizer = a_tokenizer(DinoV2Features(str(tiny_dinov2), 56)).eval()
    state = tokenizer.state_dict()
    assert [name for name in state if name.startswith("backbone")] == ["backbone.digest"]
    torch.save(state, tmp_path / "weights.pt")
    torch.manual_seed(5)
    loaded = VideoSAUR(DinoV2Features(str(tiny_dinov2), 56), LearnedSlots(3, 16), render_dim=16).eval()
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(loaded.encode(pixels[None]).slots_BTSD, tokenizer.encode(pixels[None]).slots_BTSD)
    del state["mixer.cells_LD"]
    with pytest.raises(RuntimeError, match='Missing key.*: "mixer.cells_LD"'):  # other gaps are still noticed
        loaded.load_state_dict(state)


def test_another_dinov2_is_refused(tiny_dinov2, another_dinov2):
    state = a_tokenizer(DinoV2Features(str(tiny_dinov2), 56)).state_dict()
    with pytest.raises(UserError, match="not the DINOv2 of this checkpoint"):
        a_tokenizer(DinoV2Features(str(another_dinov2), 56)).load_state_dict(state)


def test_pooled_patches_of_frames_of_another_size_are_other_tokens(tiny_dinov2, pixels):
    """Neither the weights nor the shape of the tokens tell them apart."""
    small, large, usual = (PatchTokenizer(DinoV2Features(str(tiny_dinov2), size), 2) for size in (56, 84, 196))
    assert small.encode(pixels[None]).slots_BTSD.shape == large.encode(pixels[None]).slots_BTSD.shape
    assert len({fingerprint(tokenizer) for tokenizer in (small, large, usual)}) == 3
    assert usual.info.options == ""  # its fingerprint is that of earlier versions


def test_a_size_has_to_fit_the_patches(tiny_dinov2):
    with pytest.raises(UserError, match="64 is not a multiple of the patch size 14"):
        DinoV2Features(str(tiny_dinov2), 64)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=f"no DINOv2 at '{tmp_path}'"):
        DinoV2Features(str(tmp_path))


def test_a_missing_package_says_what_to_type(monkeypatch):
    real = builtins.__import__

    def without_transformers(name, *rest):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_transformers)
    with pytest.raises(UserError, match=r"pip install 'cjepa\[dino\]'"):
        DinoV2Features("anything")


def test_the_memory_of_a_dinov2_does_not_grow_with_the_number_of_frames(tiny_dinov2, monkeypatch):
    encoder = DinoV2Features(str(tiny_dinov2), 28)
    pixels = torch.rand(5, 3, 16, 16)
    whole = encoder(pixels)
    seen: list[int] = []
    encoder.model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    monkeypatch.setattr(features, "_FRAMES_AT_ONCE", 2)
    for found, expected in zip(encoder(pixels), whole, strict=True):
        torch.testing.assert_close(found, expected)
    assert seen == [2, 2, 1]


def test_large_features_of_small_frames_decide_the_memory_of_a_frame():
    """Forty times 16 channels of 16 x 16 cells in four bytes each; more is expected of a frame of 64 px."""
    tokenizer = a_tokenizer(ConvFeatures(channels=16))
    for each in (tokenizer, PatchTokenizer(tokenizer, 4), PatchTokenizer(tokenizer.backbone, 4)):
        assert each.peak_bytes(8 * 8 * 3) == 40 * 16 * 16 * 16 * 4
        assert each.peak_bytes(64 * 64 * 3) == 400 * 64 * 64 * 3
