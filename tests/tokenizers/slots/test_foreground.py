"""What stands out from a background, and which of it belongs together: two by two cells, by hand."""

import math

import pytest
import torch

from cjepa.tokenizers.slots.foreground import Foreground, likeness, nearness

BLACK, RED, GREEN = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
NEXT = math.exp(-(1.0**2) / (2 * 0.5**2))  # nearness of neighbouring cells, 1 apart
ONE_SLOT, BY_CELL = torch.tensor([[[1.0] * 4, [0.0] * 4]]), torch.tensor([[[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]]])


def frame(*colours: tuple) -> torch.Tensor:
    """Of four cells, row by row: float (1, 3, 8, 8)."""
    cells = torch.tensor(colours).reshape(1, 2, 2, 3).permute(0, 3, 1, 2)
    return cells.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def on_black() -> Foreground:
    foreground = Foreground(8, patch=4)
    foreground.background_3YX.zero_()
    return foreground


def grouping(pixels: torch.Tensor, attention_BSL: torch.Tensor) -> float:
    looked, cells_BL = on_black().look(pixels, torch.zeros(1, 4, 1))
    return float(on_black().grouping_loss(looked, attention_BSL[:, :, cells_BL[0]]))


def test_the_background_is_what_is_there_most_of_the_time():
    foreground = Foreground(8, patch=4)
    frames = torch.cat([frame(RED, BLACK, BLACK, GREEN), frame(BLACK, RED, BLACK, GREEN), frame(*[BLACK] * 3, GREEN)])
    foreground.fit(frames)
    assert torch.equal(foreground.background_3YX, frame(BLACK, BLACK, BLACK, GREEN)[0])
    assert foreground.salience(foreground.difference(frames)).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_salience_by_hand():
    pixels = frame((0.1, 0.0, 0.0), (0.0, 0.2, 0.05), (0.0, 0.0, 0.9), BLACK)
    pixels[0, :, :2, :4] = 0.0  # half of the first cell
    found = on_black().salience(pixels)
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0, 1.0, 0.0]]))  # full from a difference of 0.2 on


def test_the_hue_is_the_same_where_a_cell_is_covered_in_part():
    pixels = frame(RED, GREEN, (0.3, 0.3, 0.0), BLACK)
    pixels[0, :, :3, :4] = 0.0
    half = 0.5**0.5
    expected = torch.tensor([[RED, GREEN, (half, half, 0.0), BLACK]])
    torch.testing.assert_close(on_black().hues(pixels), expected)


def bordered() -> torch.Tensor:
    """A white table of 64 x 64 pixels with a grey line at its left: float (3, 64, 64)."""
    table = torch.ones(3, 64, 64)
    table[:, :, 0] = 0.8
    return table


def tolerant(background_3YX: torch.Tensor) -> Foreground:
    foreground = Foreground(64, patch=4, tolerant=True)
    foreground.background_3YX.copy_(background_3YX)
    return foreground


def test_a_foreground_is_exact_unless_it_is_tolerant():
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    foreground = Foreground(64, patch=4)
    assert torch.equal(foreground.unexplained(pixels), pixels - 1)
    assert torch.equal(foreground.unexplained(pixels), foreground.difference(pixels))


def test_what_a_background_may_be_is_no_object():
    """The line has gone, is two pixels off, in shade; noise; all of it darker, or darker on one side."""
    table = bordered()
    gone, moved, shade = (table.clone() for _ in range(3))
    gone[:, :, 0] = 1.0
    moved[:, :, 0], moved[:, :, 2] = 1.0, 0.8
    shade[:, :, 0] = 0.9
    noise = torch.randint(-7, 8, table.shape, generator=torch.Generator().manual_seed(0)) / 255
    falling = table - torch.linspace(0, 0.1, 64)
    frames = torch.stack([table, gone, moved, shade, table + noise, table - 0.2, falling])
    assert tolerant(table).unexplained(frames).abs().amax(dim=(1, 2, 3)).tolist() == pytest.approx([0] * 7, abs=1e-6)
    assert Foreground(64, patch=4).unexplained(gone[None] - 0.2).abs().max() == pytest.approx(0.2)


def test_a_line_three_pixels_off_is_an_object():
    table = bordered()
    moved = table.roll(3, dims=2)
    found = tolerant(table).unexplained(moved[None])
    assert torch.equal(found[0, 0, 0].nonzero()[:, 0], torch.tensor([3]))
    torch.testing.assert_close(found[0, :, :, 3], torch.full((3, 64), -0.2))


def test_the_soft_rim_of_an_object_is_kept():
    frame = torch.ones(3, 64, 64)
    frame[:, 20:40, 20:40], frame[:, 19], frame[:, 10] = 0.5, 0.97, 0.97  # the rows differ by less than 10 of 255
    found = tolerant(torch.ones(3, 64, 64)).unexplained(frame[None])[0]
    torch.testing.assert_close(found[:, 19, 19:41], torch.full((3, 22), -0.03))
    assert found[:, 10].eq(0).all() and found[:, 19, :19].eq(0).all()


def test_an_object_stands_out_from_the_table_as_it_is_lit():
    table = bordered()
    frame = table - 0.2
    frame[:, 20:40, 20:40] = torch.tensor([0.1, 0.8, 0.3])[:, None, None]
    found = tolerant(table).unexplained(frame[None])[0]
    assert found[:, :20].abs().max() < 1e-6 and found[:, :, 40:].abs().max() < 1e-6
    expected = torch.tensor([-0.7, 0.0, -0.5])[:, None, None].expand(3, 20, 20)
    torch.testing.assert_close(found[:, 20:40, 20:40], expected)


def test_slots_look_at_the_cells_that_stand_out_most():
    """On a grid of 16 x 16 cells, 96 of them; each with its own feature, hue and place."""
    foreground = Foreground(64, patch=4)
    foreground.background_3YX.zero_()
    picked = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:40]
    salience = torch.zeros(256)
    salience[picked] = torch.linspace(0.01, 0.2, 40)
    cells = salience.reshape(1, 1, 16, 16).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    pixels = torch.cat([cells, torch.zeros(1, 2, 64, 64)], dim=1)
    features = torch.randn(1, 256, 5, generator=torch.Generator().manual_seed(1))
    looked, cells_BL = foreground.look(pixels, features)
    assert cells_BL.shape == (1, 96) and cells_BL[0, :40].tolist() == picked.flip(0).tolist()
    assert torch.equal(looked.features_BLK[0], features[0, cells_BL[0]])
    assert torch.equal(looked.places_BL2[0], foreground.grid_G2[cells_BL[0]])
    torch.testing.assert_close(looked.salience_BL[0, :40], torch.linspace(1, 0.05, 40))
    assert looked.salience_BL[0, 40:].eq(0).all() and looked.hues_BL3[0, :40, 0].eq(1).all()


def test_likeness_and_nearness_by_hand():
    hues = torch.tensor([[RED, GREEN, (1.0, 0.1, 0.0)]])
    expected = torch.tensor([[1.0, 0.0, math.exp(-0.5)]])
    torch.testing.assert_close(likeness(hues[:, :1], hues)[0], expected, atol=1e-5, rtol=0)
    places = torch.tensor([[[0.0, 0.0], [0.3, 0.4], [1.0, 0.0]]])
    expected = torch.tensor([[1.0, math.exp(-0.5), math.exp(-2.0)]])
    torch.testing.assert_close(nearness(places[:, :1], places)[0], expected)


def test_one_object_should_be_one_slot():
    pixels = frame(RED, RED, BLACK, BLACK)
    assert grouping(pixels, ONE_SLOT) == pytest.approx(0, abs=1e-5)
    # of the pairs (0, 0), (1, 1), (0, 1), (1, 0) the last two are apart
    assert grouping(pixels, BY_CELL) == pytest.approx(2 * NEXT / (2 + 2 * NEXT), rel=1e-4)
    shared = torch.full((1, 2, 4), 0.5)  # every pair is half together
    assert grouping(pixels, shared) == pytest.approx(0.5, rel=1e-4)


def test_two_colours_should_be_two_slots():
    pixels = frame(RED, GREEN, BLACK, BLACK)
    assert grouping(pixels, BY_CELL) == pytest.approx(0, abs=1e-5)
    assert grouping(pixels, ONE_SLOT) == pytest.approx(1, rel=1e-4)


def test_the_background_does_not_matter():
    pixels = frame(RED, RED, BLACK, BLACK)
    background = torch.tensor([[[1.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5]]])
    assert grouping(pixels, background) == pytest.approx(grouping(pixels, ONE_SLOT), abs=1e-5)
    assert grouping(frame(*[BLACK] * 4), BY_CELL) == 0
