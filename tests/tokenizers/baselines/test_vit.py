"""LeWorldModel's encoder."""

import pytest
import torch

from cjepa.tokenizers.baselines.vit import ViTTokenizer

SMALL = {"dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8, "projection_dim": 32, "image_size": 32}


@pytest.fixture
def tokenizer() -> ViTTokenizer:
    torch.manual_seed(0)
    return ViTTokenizer(**SMALL)


def frames(count: int = 4) -> torch.Tensor:
    return torch.rand(2, count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_size():
    """ViT-tiny with patches of 14 px: 12 x (4 x 192 x 193 + 8 x 192² + 5 x 192 + 4 x 192) and its embeddings."""
    with torch.device("meta"):
        published = ViTTokenizer(192, 12, 3, 14, 2048, 224)
    blocks = 12 * (4 * 192 * 193 + 8 * 192**2 + 5 * 192 + 4 * 192)
    embeddings = 192 * (3 * 14**2 + 1) + 192 * (16**2 + 1) + 192
    head = 192 * 2048 + 2048 + 2 * 2048 + 2048 * 192 + 192
    assert count(published.project) == head == 792_768
    assert count(published) - head == blocks + embeddings + 2 * 192 == 5_501_376


@torch.no_grad()
def test_one_token_of_every_frame_that_owns_it(tokenizer):
    tokens = tokenizer.eval().encode(frames())
    assert tokens.slots_BTSD.shape == (2, 4, 1, 16) and tokens.masks_BTSYX.shape == (2, 4, 1, 32, 32)
    assert tokens.masks_BTSYX.eq(1).all() and tokenizer.decode(tokens.slots_BTSD) is None


@torch.no_grad()
def test_every_patch_tells_and_places_are_known(tokenizer):
    tokenizer.eval()
    pixels = frames(1)
    expected = tokenizer.encode(pixels).slots_BTSD
    for y in range(0, 32, 8):
        for x in range(0, 32, 8):
            other = pixels.clone()
            other[..., y : y + 8, x : x + 8] = 0
            assert (tokenizer.encode(other).slots_BTSD - expected).abs().max() > 1e-5
    assert (tokenizer.encode(pixels.roll(8, dims=-1)).slots_BTSD - expected).abs().max() > 1e-5


def test_every_weight_is_trained(tokenizer):
    tokenizer.encode(frames()).slots_BTSD.square().sum().backward()
    assert [name for name, p in tokenizer.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("changes", "message"), [({"num_heads": 3}, "num_heads is 3"), ({"patch_size": 7}, "patch_size is 7")]
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=f"{message}, expected a divisor of "):
        ViTTokenizer(**SMALL | changes)
