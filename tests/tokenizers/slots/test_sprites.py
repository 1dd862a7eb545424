"""Places in and out of tokens, glimpses at a place, sprites at a place."""

import pytest
import torch
from torch.nn.functional import grid_sample

from cjepa.tokenizers.grid import centroids
from cjepa.tokenizers.slots.sprites import (
    POSITION_DIM,
    GlimpseEncoder,
    SpriteDecoder,
    _look,
    corrected,
    embed_position,
    read_position,
)


def places(count: int = 50) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2


def test_a_position_comes_back_from_its_embedding():
    embedded = embed_position(places())
    assert embedded.shape == (50, POSITION_DIM) and embedded.abs().max() <= 1
    torch.testing.assert_close(read_position(embedded), places(), atol=1e-5, rtol=0)
    torch.testing.assert_close(read_position(0.7 * embedded), places(), atol=1e-5, rtol=0)  # as predictions may shrink


def test_an_embedding_by_hand():
    embedded = embed_position(torch.tensor([0.5, -1.0]))
    # x: an eighth, a quarter, a half and a whole of the wavelengths 4, 2, 1 and 1/2; y: twice that, backwards
    half = 0.5**0.5
    torch.testing.assert_close(embedded[:8], torch.tensor([half, -1.0, 1, 0, 0, 0, 0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded[8:], torch.tensor([half, 0, 0, -1.0, -1.0, 1, 1, 1]), atol=1e-5, rtol=0)


def test_nearby_places_have_nearby_embeddings():
    middle = torch.zeros(1, 2)
    steps = torch.stack([torch.linspace(0, 0.2, 11), torch.zeros(11)], dim=1)
    distance = (embed_position(steps) - embed_position(middle)).norm(dim=1)
    assert (distance.diff() > 0).all()


def test_corrections_are_small():
    position, scale = torch.tensor([[0.3, -0.2]]), torch.tensor([[0.1]])
    untouched = corrected(position, scale, torch.zeros(1, 3))
    assert torch.equal(untouched[0], position) and torch.equal(untouched[1], scale)
    farthest = corrected(position, scale, torch.tensor([[100.0, -100.0, 100.0]]))
    torch.testing.assert_close(farthest[0], torch.tensor([[0.4, -0.3]]))
    torch.testing.assert_close(farthest[1], torch.tensor([[0.1648721]]))


def test_an_untrained_glimpse_corrects_nothing():
    encoder = GlimpseEncoder(4, 8)
    frames, owned = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 16, 16)
    glimpsed = encoder(frames, owned, torch.zeros(2, 3, 2), torch.full((2, 3, 1), 0.2))
    assert glimpsed.shape == (2, 3, 7) and not glimpsed[..., 4:].any() and glimpsed[..., :4].all()


@pytest.fixture
def decoder() -> SpriteDecoder:
    torch.manual_seed(0)
    decoder = SpriteDecoder(4, 8)
    with torch.no_grad():
        decoder.to_sprite[-1].weight.zero_()
        decoder.to_sprite[-1].bias.copy_(torch.tensor([0.5, 4.0]).repeat_interleave(256))  # pale, and opaque all over
    return decoder


@torch.no_grad()
def test_a_sprite_is_drawn_at_its_place_in_its_size(decoder):
    position = torch.tensor([[[-0.25, 0.5], [0.5, -0.5]]])
    scale = torch.tensor([[[0.1], [0.05]]])
    colour, shade, logits = decoder(torch.zeros(1, 2, 4), position, scale, 64)
    assert colour.shape == (1, 2, 3) and logits.shape == shade.shape == (1, 2, 64, 64)
    opacity = logits.sigmoid()
    torch.testing.assert_close(centroids(opacity * (opacity > 0.5)), position, atol=0.02, rtol=0)
    side = (opacity > 0.5).flatten(2).sum(dim=2).sqrt() / 32
    torch.testing.assert_close(side, 5 * scale[..., 0], atol=0.07, rtol=0)  # windows of 2.5 deviations either way
    assert opacity[0, 0, :, 48:].max() < 0.01  # transparent outside
    assert shade[0, 0, 48, 24] == 1.5 and shade[0, 0, 0, 63] == 1.0


@torch.no_grad()
def test_a_glimpse_does_not_depend_on_where_the_object_is():
    torch.manual_seed(0)
    glimpse = GlimpseEncoder(4, 8)
    thing = torch.rand(3, 8, 8)
    frames, owned = torch.zeros(3, 3, 64, 64), torch.zeros(3, 1, 64, 64)
    corners = [(8, 8), (40, 24)]
    for frame, (x, y) in enumerate(corners):
        frames[frame, :, y : y + 8, x : x + 8] = thing
        owned[frame, :, y : y + 8, x : x + 8] = 1.0
    frames[2, :, 8:16, 8:16], owned[2] = thing.flip(2), owned[0]
    centres = (torch.tensor([*corners, corners[0]]) + 4) / 32 - 1
    content = glimpse(frames, owned, centres[:, None], torch.full((3, 1, 1), 0.1))
    torch.testing.assert_close(content[0], content[1], atol=1e-5, rtol=0)
    assert (content[0] - content[2]).abs().max() > 1e-3  # but on what it looks like it does


def test_glimpses_and_sprites_are_bilinear(decoder):
    """As PyTorch's own sampling, which is slower on a CPU; also at and beyond the border."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 12, 20, generator=generator)
    places = torch.rand(3, 4, 2, 9, generator=generator) * 2.6 - 1.3
    x, y = places[:, :, 0], places[:, :, 1]
    grid = torch.stack([x[..., None, :].expand(-1, -1, 9, -1), y[..., :, None].expand(-1, -1, -1, 9)], dim=-1)
    for slot in range(4):
        expected = grid_sample(images, grid[:, slot], align_corners=False)
        torch.testing.assert_close(_look(images[:, None], places)[:, slot], expected, atol=1e-5, rtol=1e-5)
