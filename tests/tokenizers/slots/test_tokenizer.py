"""The slot tokenizer: losses by hand, and what a token holds."""

import math

import pytest
import torch

from cjepa.tokenizers.slots.sprites import CORRECTION_DIM, read_position
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import Slots, SlotTokenizer
from tests.contracts import stirred


def a_tokenizer(num_slots: int = 3, **changes) -> SlotTokenizer:
    torch.manual_seed(0)
    return SlotTokenizer(LearnedStart(num_slots, slot_dim=32), **changes).eval()


def test_the_width_of_a_token():
    assert a_tokenizer().slot_dim == 34 and a_tokenizer(content_dim=7).slot_dim == 25


@torch.no_grad()
def test_slots_follow_what_is_there():
    """Salience draws every slot to the only thing in the frame."""
    clips = torch.ones(2, 1, 3, 64, 64)
    clips[0, :, :, 8:16, 40:48] = 0.2  # y around 12, x around 44
    clips[1, :, :, 40:48, 8:16] = 0.2
    positions = a_tokenizer().encode(clips).positions_BTS2[:, 0]
    expected = torch.tensor([44.0, 12.0]) / 32 - 1
    torch.testing.assert_close(positions[0], expected.expand(3, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(positions[1], expected.flip(0).expand(3, 2), atol=0.1, rtol=0)


@torch.no_grad()
def test_a_tolerant_background_makes_the_same_tokens_of_a_table_without_its_border():
    plain, tolerant = a_tokenizer(), a_tokenizer(tolerant_background=True)
    clip = torch.ones(1, 2, 3, 64, 64)
    clip[..., 0], without = 0.8, clip.clone()
    without[..., 0] = 1.0
    for tokenizer in (plain, tolerant):
        tokenizer.foreground.background_3YX.copy_(clip[0, 0])
    for frames in (clip, without):
        frames[:, :, :, 8:16, 40:48] = 0.2
    assert torch.equal(tolerant.encode(clip).slots_BTSD, tolerant.encode(without).slots_BTSD)
    assert (plain.encode(clip).positions_BTS2 - plain.encode(without).positions_BTS2).abs().max() > 0.1


def test_the_loss_by_hand():
    tokenizer = a_tokenizer(foreground_weight=3.0)
    tokenizer.foreground.background_3YX.zero_()
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[0, 0, 0, 0] = 1.0  # the one pixel of foreground: its weight is 4
    frames = torch.zeros(1, 3, 64, 64)
    expected = 4.0 * 1.0 / 3 / (64 * 64 - 1 + 4)
    torch.testing.assert_close(tokenizer.reconstruction_loss(frames, pixels), torch.tensor(expected))
    assert tokenizer.reconstruction_loss(pixels, pixels) == 0


def test_what_differs_from_the_background_is_to_be_covered():
    tokenizer = a_tokenizer(foreground_weight=3.0)
    tokenizer.foreground.background_3YX.zero_()
    pixels, opacity = torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    pixels[0, 2, 0, :2] = 0.5
    opacity[0, :, 0, 0] = 0.3  # both together 0.6 of the first of two pixels of foreground
    opacity[0, 1, 9, 9] = 1.0  # and a pixel of background
    expected = (4 * 0.4**2 + 4 + 1) / (64 * 64 - 2 + 8)
    torch.testing.assert_close(tokenizer.coverage_loss(opacity, pixels), torch.tensor(expected))


def test_a_foreground_weight_of_zero_is_the_plain_error():
    tokenizer = a_tokenizer(foreground_weight=0.0)
    pixels, frames = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tokenizer.reconstruction_loss(frames, pixels), (frames - pixels).square().mean())


@torch.no_grad()
def test_slots_without_an_object_and_objects_out_of_view_are_not_drawn():
    tokenizer = a_tokenizer()
    generator = torch.Generator().manual_seed(0)
    tokenizer.foreground.background_3YX.copy_(torch.rand(3, 64, 64, generator=generator))
    tokens = torch.randn(1, 2, 3, tokenizer.slot_dim, generator=generator)
    tokens[..., -1] = 0.0  # out of view
    tokens[:, 1] = 0.0
    frames, masks = tokenizer.decode(tokens)
    torch.testing.assert_close(frames[0], tokenizer.foreground.background_3YX.expand(2, -1, -1, -1), atol=5e-3, rtol=0)
    assert masks.max() < 2e-3
    seen = tokens.clone()
    seen[:, 0, :, -1] = 1.0
    assert tokenizer.decode(seen)[1][:, 0].max() > 0.1


@torch.no_grad()
def test_packing_by_hand():
    tokenizer = a_tokenizer(num_slots=2, content_dim=1)
    ones = torch.ones(1, 1, 2, 1)
    alive = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1)
    slots = Slots(3 * ones, torch.zeros(1, 1, 2, 2), 0.5 * ones, 0.25 * alive, alive, *[None] * 4)
    token, empty = tokenizer.pack(slots)[0, 0]
    middle = [0.0] * 8 + [1.0] * 8
    assert token.tolist() == pytest.approx([3.0, *middle, math.log(0.5), 0.25], abs=1e-6)
    assert empty.eq(0).all()


@torch.no_grad()
def test_rounds_of_attention_at_the_first_frame_and_at_the_others():
    clip = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    usual, later, first = (
        stirred(a_tokenizer(iterations=at_first, later_iterations=at_others)).encode(clip).slots_BTSD[0]
        for at_first, at_others in ((2, 1), (2, 3), (3, 1))
    )
    assert torch.equal(usual[0], later[0]) and not torch.equal(usual[1], later[1])
    assert not torch.equal(usual[0], first[0])


@pytest.mark.parametrize("size", [0, 2, 66])
def test_sizes_that_cells_do_not_divide(size):
    with pytest.raises(ValueError, match=f"image_size: expected a multiple of 4, not {size}"):
        a_tokenizer(image_size=size)


@torch.no_grad()
def always_correct(tokenizer: SlotTokenizer, *correction: float) -> None:
    last = tokenizer.glimpse.mlp[-1]
    last.weight[-CORRECTION_DIM:] = 0.0
    last.bias[-CORRECTION_DIM:] = torch.tensor(correction)


def test_tokens_say_where_the_object_is_by_its_glimpse():
    """In the token, in the places beside it, and in the sprite that is drawn of it; also while it is out of view."""
    clip = torch.ones(1, 3, 3, 64, 64)
    clip[:, :2, :, 24:32, 40:48] = 0.0  # gone at the last frame
    tokenizer = stirred(a_tokenizer(num_slots=1))
    found = []
    for correction in ((0.0, 0.0, 0.0), (math.atanh(0.5), -20.0, math.atanh(-0.5))):
        always_correct(tokenizer, *correction)
        found.append(tokenizer.encode(clip))
    plain, moved = found
    expected = plain.positions_BTS2 + plain.scales_BTS1 * torch.tensor([0.5, -1.0])
    torch.testing.assert_close(moved.positions_BTS2, expected)
    torch.testing.assert_close(moved.scales_BTS1, plain.scales_BTS1 * math.exp(-0.25))
    embedding = moved.slots_BTSD[..., tokenizer.content_dim : -2]
    torch.testing.assert_close(read_position(embedding), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [32, 128])
def test_other_sizes_than_64(size):
    """The same picture in other sizes: the square is at the same place."""
    clip = torch.ones(1, 2, 3, size, size)
    unit = size // 16
    clip[..., 4 * unit : 8 * unit, 9 * unit : 13 * unit] = 0.0
    tokenizer = stirred(a_tokenizer(num_slots=1, image_size=size))
    always_correct(tokenizer, 0.0, 0.0, 0.0)
    tokens = tokenizer.encode(clip)
    assert tokens.masks_BTSYX.shape[-2:] == (size, size)
    torch.testing.assert_close(tokens.positions_BTS2[0, 0, 0], torch.tensor([0.375, -0.25]), atol=0.01, rtol=0)
    assert all(torch.isfinite(term) for term in tokenizer.loss_terms(clip).values())
