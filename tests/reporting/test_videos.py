"""Overlays mix the right colours, panels have the right places, files can be read back."""

import resource

import imageio.v3 as imageio
import numpy as np
import pytest

from cjepa.reporting import videos
from cjepa.reporting.videos import GAP, SLOT_COLOURS, contact_sheet, overlay_masks, side_by_side, write_png, write_video


def test_a_full_mask_mixes_its_slots_colour_and_an_empty_one_nothing():
    frames = np.full((1, 2, 2, 3), 100, np.uint8)
    masks = np.zeros((1, 3, 2, 2), np.float32)
    masks[0, 1, 0, 0] = 1.0
    drawn = overlay_masks(frames, masks, alpha=0.5)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[0, 0, 0], np.rint((100 + SLOT_COLOURS[1].astype(float)) / 2))
    np.testing.assert_array_equal(drawn[0, 1, 1], [100, 100, 100])


def test_overlapping_masks_share_a_pixel():
    frames = np.zeros((1, 1, 1, 3), np.uint8)
    drawn = overlay_masks(frames, np.ones((1, 2, 1, 1)), alpha=1.0)
    np.testing.assert_allclose(drawn[0, 0, 0], SLOT_COLOURS[:2].astype(float).mean(axis=0), atol=1)


def test_slot_colours_repeat_and_are_distinct():
    masks = np.zeros((1, 13, 1, 1), np.float32)
    masks[0, 12] = 1.0
    drawn = overlay_masks(np.zeros((1, 1, 1, 3), np.uint8), masks, alpha=1.0)
    np.testing.assert_array_equal(drawn[0, 0, 0], SLOT_COLOURS[0])
    assert len(np.unique(SLOT_COLOURS, axis=0)) == len(SLOT_COLOURS)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        overlay_masks(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 2, 4, 5)))


def test_side_by_side_places_scales_and_holds_the_last_frame():
    long = np.zeros((4, 5, 7, 3), np.uint8)
    short = np.stack([np.full((5, 7, 3), value, np.uint8) for value in (50, 200)])
    row = side_by_side([long, short], ["a", "a caption far too long for this panel"], scale=3)
    steps, height, width, _ = row.shape
    assert steps == 4 and height % 2 == 0 and width % 2 == 0
    assert width == 21 + GAP + 21 and height >= 15
    bottom = height - 15 - height % 2
    assert (row[:, -15:-1, :21] == 0).all()
    assert (row[:, :, 21 : 21 + GAP] == 255).all()
    assert [int(frame[-2, 21 + GAP + 4, 0]) for frame in row] == [50, 200, 200, 200]
    assert (row[0, :bottom, :21] < 200).any(), "the caption is written"


def test_side_by_side_wants_one_label_a_panel():
    with pytest.raises(ValueError, match="1 panels and 2 labels"):
        side_by_side([np.zeros((1, 2, 2, 3), np.uint8)], ["a", "b"])


def test_contact_sheet_fills_rows_first():
    frames = [np.full((3, 4, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(frames, columns=2)
    assert sheet.shape == (3 + GAP + 3, 4 + GAP + 4, 3)
    assert (sheet[0, 0, 0], sheet[0, 4 + GAP, 0], sheet[3 + GAP, 0, 0], sheet[3 + GAP, 4 + GAP, 0]) == (10, 20, 30, 255)


@pytest.mark.parametrize("size", [(32, 48), (31, 47)])
def test_video_reads_back_with_every_frame(tmp_path, size):
    frames = np.stack([np.full((*size, 3), 20 * step, np.uint8) for step in range(9)])
    path = write_video(tmp_path / "media" / "a.mp4", frames, fps=5)
    read = imageio.imread(path, plugin="FFMPEG")
    assert read.shape == (9, 32, 48, 3)
    np.testing.assert_allclose(read[:, 10, 10, 0], 20 * np.arange(9), atol=6)
    assert imageio.immeta(path, plugin="FFMPEG")["pix_fmt"].startswith("yuv420p")
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("frames", [np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.float32)])
def test_frames_of_another_kind_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="expected uint8"):
        write_video(tmp_path / "a.mp4", frames, fps=5)


def test_png_reads_back_exactly(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(imageio.imread(write_png(tmp_path / "a.png", image)), image)


def test_slots_have_the_colours_that_are_asked_for():
    frames, masks = np.zeros((1, 1, 2, 3), np.uint8), np.eye(2).reshape(1, 2, 1, 2)
    colours = np.array([(10, 20, 30), (40, 50, 60)], np.uint8)
    np.testing.assert_array_equal(overlay_masks(frames, masks, 1.0, colours)[0, 0], colours)


def test_the_size_of_a_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", np.zeros((2, 16, 32, 3), np.uint8), fps=5)
    assert videos.video_size(path) == (32, 16)
    path.write_bytes(b"no video")
    assert videos.video_size(path) == (16, 9)


def test_a_video_that_does_not_fit_the_disk_names_its_file_and_leaves_the_old_one(tmp_path):
    path = write_video(tmp_path / "video.mp4", np.zeros((2, 16, 16, 3), np.uint8), fps=5)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"video\.mp4: the video could not be written"):
            write_video(path, np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8), fps=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
