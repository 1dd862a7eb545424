"""Pictures of slots show the clips, frames and places that they say they show."""

import sys

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.reporting.sheets import body_colours
from cjepa.reporting.slots import (
    ClipView,
    Failure,
    SlotOverlays,
    clip_sheet,
    clip_video,
    draw_tracks,
    failure_gallery,
    frame_scores,
    view_clips,
    worst_clips,
)
from cjepa.reporting.videos import GAP, SLOT_COLOURS
from cjepa.tokenizers.scoring import Encoded
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import VideoBatch
from tests.evaluation.tokenizers.test_tokens import ColourTokenizer

SIDE, BLOCKS = 8, 3
GREY = 100


def a_view(drawn: bool = True) -> ClipView:
    """Slot 0 has the left half and slot 1 the right; the first object is the upper half."""
    frames = np.stack([np.full((SIDE, SIDE, 3), GREY + t, np.uint8) for t in range(BLOCKS)])
    masks = np.zeros((BLOCKS, 2, SIDE, SIDE))
    masks[:, 0, :, : SIDE // 2] = masks[:, 1, :, SIDE // 2 :] = 1.0
    labels = np.zeros((BLOCKS, SIDE, SIDE), np.uint8)
    labels[:, : SIDE // 2] = 1
    positions = np.tile(np.array([[-0.5, 0.0], [0.5, 0.0]]), (BLOCKS, 1, 1))
    covers = np.ones((BLOCKS, 2), bool)
    return ClipView(frames, 255 - frames if drawn else None, masks, labels, positions, covers, 7, 20)


def near(pixel: np.ndarray, colour: np.ndarray, tolerance: int) -> bool:
    return bool((np.abs(pixel.astype(int) - colour.astype(int)) <= tolerance).all())


def test_frame_scores_are_fg_ari_by_frame():
    labels = torch.tensor([[[[1, 1], [2, 2]], [[1, 1], [2, 2]], [[1, 1], [0, 0]]]], dtype=torch.uint8)
    owner = torch.tensor([[[[1, 1], [0, 0]], [[1, 1], [1, 1]], [[1, 1], [0, 0]]]])
    encoded = Encoded(None, None, torch.nn.functional.one_hot(owner, 2).movedim(-1, 2).float())
    (scores,) = frame_scores(encoded, VideoBatch(None, labels, None, None, None))
    assert scores[:2].tolist() == [1.0, 0.0] and np.isnan(scores[2])  # the last shows one object
    assert frame_scores(encoded, VideoBatch(None, None, None, None, None)) == []


def test_the_worst_come_first_and_what_has_no_score_not_at_all():
    scores = [np.array([1.0, 0.5, np.nan]), np.array([np.nan] * 3), np.array([0.2, 0.4, 0.3]), np.array([0.9] * 3)]
    assert worst_clips(scores, 2) == [Failure(2, 0, pytest.approx(0.3)), Failure(0, 1, pytest.approx(0.75))]
    assert [failure.clip for failure in worst_clips(scores, 16)] == [2, 0, 3]


@pytest.mark.parametrize(("drawn", "panels"), [(True, 4), (False, 3)])
def test_a_video_has_its_panels_side_by_side(drawn, panels):
    video = clip_video(a_view(drawn))
    assert video.dtype == np.uint8 and len(video) == BLOCKS
    width = 3 * SIDE  # a panel is magnified three times
    assert panels * width <= video.shape[2] <= panels * (width + GAP)
    middle = video[1, 22 + width // 2]  # a row through the panels, below their captions
    assert near(middle[width // 4], np.array([GREY + 1] * 3), 0)
    slots = width + GAP if not drawn else 2 * (width + GAP)
    colours = body_colours(a_view().frames_TYXC, a_view().masks_TSYX)
    assert near(middle[slots + width // 4], colours[0], 30)
    assert near(middle[slots + 3 * width // 4], colours[1], 30)
    if drawn:
        assert near(middle[width + GAP + width // 4], np.array([255 - GREY - 1] * 3), 0)
    for colour in colours:  # the legend below
        assert (video[1, 22 + width :] == colour).all(axis=-1).sum() > 100


def test_the_gallery_shows_the_worst_frame():
    gallery = failure_gallery([a_view()] * 3, [Failure(0, frame, 0.1) for frame in range(BLOCKS)])
    for frame in range(BLOCKS):
        same = (gallery == GREY + frame).all(axis=-1)
        assert same.sum() >= (2 * SIDE) ** 2, frame  # the input at twice its size; nothing else has that grey
    colour = body_colours(a_view().frames_TYXC, a_view().masks_TSYX)[0]
    assert (np.abs(gallery.astype(int) - colour).max(axis=-1) < 30).sum() > SIDE**2


def test_a_sheet_has_the_last_frame_of_every_clip():
    one, two = (clip_sheet([a_view()] * count) for count in (1, 2))
    assert two.shape[0] - one.shape[0] >= 3 * SIDE + GAP
    last = (two == GREY + BLOCKS - 1).all(axis=-1)
    assert last.sum() >= 2 * (3 * SIDE) ** 2


def test_tracks_are_where_slots_were():
    white = np.full((3, 40, 40, 3), 255, np.uint8)
    positions = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5]])[:, None]
    drawn = draw_tracks(white, positions, np.ones((3, 1), bool), SLOT_COLOURS)
    for t, (x, y) in enumerate([(10, 10), (30, 10), (30, 30)]):
        assert near(drawn[t, y, x], SLOT_COLOURS[0], 2)
        assert t == 2 or near(drawn[t, 30, 30], np.array([255] * 3), 0)  # not there yet
    assert near(drawn[1, 10, 20], SLOT_COLOURS[0], 60) and near(drawn[2, 10, 20], SLOT_COLOURS[0], 60)
    assert (white == 255).all()


def test_tracks_break_where_a_slot_has_no_place():
    white = np.full((3, 40, 40, 3), 255, np.uint8)
    positions = np.array([[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]])[:, None]
    drawn = draw_tracks(white, positions, np.array([[True], [False], [True]]), SLOT_COLOURS)
    assert (drawn[1] == 255).all() and near(drawn[2, 19, 30], SLOT_COLOURS[0], 60)
    assert (drawn[2, :, 16:24] == 255).all()


def test_views_are_of_the_clips_that_are_asked_for(episodes_path):
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=4, batch_size=2)
    data.setup("fit")
    dataset = data.val_dataloader().dataset
    module = TokenizerTraining(ColourTokenizer(), [], {}).eval()
    chosen = np.array([5, 0, 9])
    before = dataset.starts.copy()
    views = view_clips(module, data, dataset, chosen)
    assert np.array_equal(dataset.starts, before) and len(views) == 3
    batch = dataset.__getitems__(chosen.tolist())
    for clip, view in enumerate(views):
        assert np.array_equal(view.frames_TYXC, batch.pixels_BTYXC[clip].numpy())
        assert np.array_equal(view.labels_TYX, batch.labels_BTYX[clip].numpy())
        first = data.file.episode(view.episode, ["pixels"])["pixels"][view.env_step]
        assert np.array_equal(first, view.frames_TYXC[0])
        assert view.drawn_TYXC is None and view.masks_TSYX.shape == (4, 2, 64, 64)


def test_a_run_leaves_videos_and_failures(slots_run):
    media = slots_run / "media"
    assert {path.name for path in media.iterdir()} >= {"slots.png", "failures.png", "slots_0.mp4", "slots_3.mp4"}
    reader = imageio_ffmpeg.read_frames(str(media / "slots_0.mp4"))
    about = next(reader)
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    assert len(frames) == 8 and about["fps"] == 5.0  # blocks of two env steps, ten a second
    assert np.stack(frames).std() > 1


def test_predictions_need_no_opencv(monkeypatch):
    """They draw nothing; validation and test say at once what they lack."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    SlotOverlays().setup(None, None, "predict")
    for stage in ("fit", "validate", "test"):
        with pytest.raises(UserError, match="OpenCV draws"):
            SlotOverlays().setup(None, None, stage)
