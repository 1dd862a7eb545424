"""A grid of features as tokens."""

import pytest
import torch

from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer


def patches(grid: int = 4) -> PatchTokenizer:
    torch.manual_seed(0)
    return PatchTokenizer(SlotTokenizer(LearnedStart(3, slot_dim=32)), grid).eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_masks_are_the_cells(pixels):
    tokens = patches().encode(pixels)
    assert tokens.masks_BTSYX.sum(dim=2).eq(1).all()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for slot in (0, 1, 7, 15):
        inside = tokens.masks_BTSYX[1, 2, slot].bool()
        assert inside.sum() == 16 * 16
        places = torch.stack([x[inside], y[inside]]) + 0.5
        torch.testing.assert_close(tokens.positions_BTS2[1, 2, slot], places.mean(dim=1) / 32 - 1)
        spread = (places / 32).std(dim=1, correction=0).mean()
        torch.testing.assert_close(tokens.scales_BTS1[1, 2, slot, 0], spread, atol=1e-3, rtol=0)


@torch.no_grad()
def test_patches_see_their_surroundings_and_their_frame_only(pixels):
    changed = pixels.clone()
    changed[:, 1, :, :8, -8:] = 0.0  # the top right corner is the last cell of the first row
    difference = patches().encode(changed).slots_BTSD - patches().encode(pixels).slots_BTSD
    difference_TS = difference.abs().amax(dim=(0, 3))
    assert difference_TS[1, 3] > 1e-3 and difference_TS[1, [8, 12]].max() < 1e-6
    assert difference_TS[[0, 2]].max() < 1e-6


@torch.no_grad()
def test_a_token_is_the_mean_and_the_first_moments_of_its_features(pixels):
    tokenizer = patches(8)
    features = tokenizer.trained.features(pixels[:, 0])  # (B, K, 16, 16): 2 x 2 cells a patch
    cell = features[0, :, 2:4, 6:8]  # row 1, column 3
    mean = cell.mean(dim=(1, 2))
    along_x = (cell[:, :, 1] - cell[:, :, 0]).mean(dim=1) * 0.25
    along_y = (cell[:, 1] - cell[:, 0]).mean(dim=1) * 0.25
    found = tokenizer.encode(pixels).slots_BTSD[0, 0, 8 + 3]
    torch.testing.assert_close(found, torch.cat([mean, along_x, along_y]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_token_is_its_features_where_nothing_is_pooled(pixels):
    tokenizer = patches(16)
    features = tokenizer.trained.features(pixels[:, 0])  # (B, K, 16, 16)
    tokens = tokenizer.encode(pixels).slots_BTSD
    assert (tokenizer.num_slots, tokenizer.slot_dim) == tokens.shape[2:] == (256, 32)
    torch.testing.assert_close(tokens[:, 0], features.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_a_grid_has_to_fit():
    with pytest.raises(ValueError, match="grid of 5"):
        patches(5)
    with pytest.raises(ValueError, match="OracleTokenizer has no grid"):
        PatchTokenizer(OracleTokenizer(2, ("x", "y")), 4)


@torch.no_grad()
def test_layer_norm(pixels):
    """Of each token over its values; files of both kinds are not taken for each other."""
    plain = patches()
    normed = PatchTokenizer(plain.trained, 4, layer_norm=True).eval()
    tokens, found = (tokenizer.encode(pixels).slots_BTSD for tokenizer in (plain, normed))
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    expected = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert fingerprint(plain) != fingerprint(normed)
