"""Bodies keep their colours, sheets their labels."""

import numpy as np

from cjepa.reporting.sheets import GROUP_GAP, beside, body_colours, labelled_grid, legend, stacked, with_legend
from cjepa.reporting.videos import GAP, SLOT_COLOURS

BLUE, GREY, RED = SLOT_COLOURS[1], SLOT_COLOURS[-1], SLOT_COLOURS[0]
AGENT, BLOCK = (65, 105, 225), (119, 136, 153)


def scene(*bodies, background=(255, 255, 255)):
    """One frame with a row per body in its colour, and the masks of the rows."""
    frame = np.empty((1, 4 * len(bodies), 8, 3), np.uint8)
    frame[:] = background
    masks = np.zeros((1, len(bodies), *frame.shape[1:3]))
    for number, colour in enumerate(bodies):
        frame[0, 4 * number, :] = colour
        masks[0, number, 4 * number] = 1.0
    return frame, masks


def test_masks_have_the_colours_of_their_bodies_in_any_order():
    np.testing.assert_array_equal(body_colours(*scene(AGENT, BLOCK)), [BLUE, GREY])
    np.testing.assert_array_equal(body_colours(*scene(BLOCK, AGENT)), [GREY, BLUE])


def test_a_body_that_is_mixed_with_the_background_keeps_its_colour():
    pale = tuple((np.array(AGENT) + 255) // 2)
    np.testing.assert_array_equal(body_colours(*scene(pale, BLOCK)), [BLUE, GREY])
    dark = (40, 40, 40)
    dim = tuple((np.array((230, 60, 50)) + 40) // 2)
    np.testing.assert_array_equal(body_colours(*scene(dim, background=dark)), [RED])


def test_bodies_that_look_alike_have_different_colours():
    frames, masks = scene(*[AGENT] * 11, (255, 255, 255))
    masks[0, -1] = 0
    colours = body_colours(frames, masks)
    assert len(np.unique(colours, axis=0)) == 12 == len(colours)


def test_a_grid_has_its_pictures_in_their_places():
    pictures = [[np.full((50, 40, 3), 10 * row + column, np.uint8) for column in range(2)] for row in range(2)]
    grid = labelled_grid(pictures, ["a\nlong label", "b"], ["first", "second"])
    left, top = grid.shape[1] - 2 * 40 - GAP, grid.shape[0] - 2 * (50 + GAP) + GAP
    for row in range(2):
        for column in range(2):
            y, x = top + row * (50 + GAP), left + column * (40 + GAP)
            assert (grid[y : y + 50, x : x + 40] == 10 * row + column).all()
    assert (grid[top:, left + 40 : left + 40 + GAP] == 255).all()  # the gap
    assert (grid[top : top + 50, :left] < 128).any() and (grid[:top, left:] < 128).any()  # labels are written
    assert (grid[:, 0] == 255).all()  # and not cut
    assert (grid[:, left - 2 : left] == 255).all()


def test_labels_of_small_pictures_are_not_cut():
    grid = labelled_grid([[np.zeros((4, 40, 3), np.uint8)]], ["a\nb\ng"], ["c"])
    assert (grid[-3:, :6] == 255).all() and (grid[-20:-3, :20] < 128).any()


def test_a_legend_has_all_names_within_its_width():
    names = {f"a body with a name, {k}": SLOT_COLOURS[k] for k in range(5)}
    image = legend(names, 200)
    assert image.shape[1] == 200 and (image[:, -1] == 255).all()
    for colour in names.values():
        assert (image == colour).all(axis=-1).sum() >= 100
    assert legend(names, 2000).shape[0] < image.shape[0]


def test_pictures_of_any_size_below_and_beside_each_other():
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((4, 5, 3), 9, np.uint8)
    below = stacked([black, grey], gap=1)
    assert (
        below.shape == (7, 5, 3) and (below[3:] == 9).all() and (below[2] == 255).all() and (below[:2, 3:] == 255).all()
    )
    row = beside([black, grey])
    right = 3 + GROUP_GAP
    assert row.shape == (4, right + 5, 3) and (row[:, right:] == 9).all() and (row[2:, :right] == 255).all()


def test_a_legend_of_a_video_keeps_even_sizes():
    frames = np.zeros((3, 10, 100, 3), np.uint8)
    drawn = with_legend(frames, {"agent": BLUE})
    assert drawn.shape[1] % 2 == 0 and (drawn[:, :10] == 0).all() and len(drawn) == 3
    assert with_legend(frames, {}) is frames
