"""One token a frame."""

import pytest
import torch

from cjepa.tokenizers.baselines.global_token import GlobalTokenizer


@pytest.fixture
def tokenizer() -> GlobalTokenizer:
    torch.manual_seed(0)
    return GlobalTokenizer(dim=16, channels=8, image_size=32)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_token_is_all_there_is_of_a_frame(tokenizer, pixels):
    tokens = tokenizer.encode(pixels)
    assert tokens.slots_BTSD.shape == (2, 3, 1, 16)
    assert tokens.masks_BTSYX.eq(1).all() and tokens.positions_BTS2.eq(0).all()
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    spread = ((x + 0.5) / 16 - 1).std(correction=0)  # of a mask that is everywhere
    torch.testing.assert_close(tokens.scales_BTS1, spread.expand(2, 3, 1, 1), atol=1e-3, rtol=0)
    frames, masks = tokenizer.decode(tokens.slots_BTSD)
    assert frames.shape == pixels.shape and masks.eq(1).all()


@torch.no_grad()
def test_frames_are_apart(tokenizer, pixels):
    changed = pixels.clone()
    changed[:, 1] = 0.0
    difference = (tokenizer.encode(changed).slots_BTSD - tokenizer.encode(pixels).slots_BTSD).abs().amax(dim=(0, 2, 3))
    assert difference[1] > 1e-3 and difference[[0, 2]].max() < 1e-6


def test_it_learns_to_draw_what_it_saw(tokenizer, pixels):
    smooth = torch.nn.functional.interpolate(pixels.flatten(0, 1)[..., ::16, ::16], 32).unflatten(0, (2, 3))
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        loss = tokenizer.loss_terms(smooth)["reconstruction"]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("size", [4, 60, 96])
def test_frames_of_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"not {size}"):
        GlobalTokenizer(image_size=size)
