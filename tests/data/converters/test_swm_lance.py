import shutil

import cv2
import numpy as np
import pytest

from cjepa.data.converters.base import convert, open_source
from cjepa.errors import UserError
from tests.conftest import ignore_progress
from tests.data.converters.episodes import an_episode
from tests.data.converters.sources import jpeg, swm_lance

lance = pytest.importorskip("lance")
pa = pytest.importorskip("pyarrow")


def write(path, **columns):
    lance.write_dataset(pa.table(columns), str(path))
    return path


def table(episodes: list[int], **columns) -> dict:
    """``episode_idx`` and one number a row."""
    rows = len(episodes)
    states = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows, dtype=np.float32)), 1)
    return {"episode_idx": pa.array(np.array(episodes, np.int32)), "state": states, **columns}


@pytest.mark.parametrize("inside", [False, True], ids=["the table", "a folder with it"])
def test_values_are_those_of_the_source(inside, tmp_path):
    source = swm_lance(tmp_path, 5)
    source = source.parent if inside else source
    file = convert(open_source("swm-lance", source, {}), tmp_path / "out.h5", ignore_progress)
    for index, found in enumerate(file.episodes()):
        expected = an_episode(index)
        for name in ("proprio", "state"):
            np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found["action"][:-1], expected["action"][:-1])
        assert not found["action"][-1].any()
        assert np.abs(found["pixels"].astype(int) - expected["pixels"]).mean() < 3  # JPEG
    assert "step_idx" not in file.columns


def test_episodes_longer_and_shorter_than_a_batch_of_rows(tmp_path):
    episodes = [0] * 700 + [1] + [4] * 255 + [9] * 2
    path = write(tmp_path / "a.lance", **table(episodes))
    file = convert(open_source("swm-lance", path, {}), tmp_path / "out.h5", ignore_progress)
    assert file.lengths.tolist() == [700, 1, 255, 2]
    np.testing.assert_array_equal(file.read("state", 0, 958)[:, 0], np.arange(958))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (table([0, 0, 1, 0]), "episode_idx decreases from 1 to 0"),
        ({"state": pa.array([1.0])}, "no column 'episode_idx'"),
        (table([0, 0, 1, 1], step_idx=pa.array([0, 1, 1, 2])), "episode 1: its step_idx does not run from 0 to 1"),
        (table([0, 0, 0], step_idx=pa.array([0, 2, 1])), "episode 0: its step_idx does not run from 0 to 2"),
        (table([3, 3], step_idx=pa.array([0, None])), "episode 0, column 'step_idx': 1 values are missing"),
        (table([0, 0], state=pa.array([1.0, None])), "episode 0, column 'state': 1 values are missing"),
        (
            table([0, 0], state=pa.array([[1.0], [1.0, 2.0]])),
            "episode 0, column 'state': lists are missing or have different lengths",
        ),
        (table([0, 0], pixels=pa.array([b"hello", b""], pa.binary())), "'pixels', row 0: not a picture"),
        (table([0, 1], pixels=pa.array([jpeg(np.zeros((8, 8, 3), np.uint8)), None], pa.binary())), "episode 1"),
        (
            table([0, 0], pixels=pa.array([jpeg(np.zeros((side, side, 3), np.uint8)) for side in (8, 16)])),
            r"row 1: \(16, 16, 3\), but the first row has \(8, 8, 3\)",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(columns, message, tmp_path):
    path = write(tmp_path / "a.lance", **columns)
    with pytest.raises(UserError, match=message):
        convert(open_source("swm-lance", path, {}), tmp_path / "out.h5", ignore_progress)
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"a.lance"}


def test_masks_are_label_images(tmp_path):
    labels = np.array([[0, 1], [2, 23]], np.uint8)
    png = cv2.imencode(".png", labels)[1].tobytes()
    columns = table([0, 0], masks=pa.array([png] * 2), pixels=pa.array([jpeg(np.zeros((2, 2, 3), np.uint8))] * 2))
    source = open_source("swm-lance", write(tmp_path / "a.lance", **columns), {})
    file = convert(source, tmp_path / "out.h5", ignore_progress)
    assert file.columns["masks"] == ((2, 2, 2), np.uint8)
    np.testing.assert_array_equal(file.read("masks", 0, 2), [labels] * 2)


def test_several_tables_and_tables_of_videos_are_named(tmp_path):
    source = swm_lance(tmp_path, 1)
    shutil.copytree(source, tmp_path / "other.lance")
    with pytest.raises(UserError, match="found other.lance, swm.lance; give one of them"):
        open_source("swm-lance", tmp_path, {})
    path = write(tmp_path / "filmed.lance", **table([0, 0]))
    shutil.copytree(source, tmp_path / "filmed_videos.lance")
    with pytest.raises(UserError, match="separate table of videos"):
        open_source("swm-lance", path, {})


def test_without_the_library_the_error_says_what_to_type(tmp_path, monkeypatch):
    source = swm_lance(tmp_path, 1)
    monkeypatch.setitem(__import__("sys").modules, "lance", None)
    with pytest.raises(UserError, match=r"pip install 'cjepa\[lance\]'"):
        open_source("swm-lance", source, {})
