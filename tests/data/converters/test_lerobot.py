import json
import shutil

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.errors import UserError
from cjepa.reporting.videos import write_video
from tests.data.converters.episodes import FPS, an_episode, frames
from tests.data.converters.lerobot_datasets import BOTH, EPISODES, converted, edit_info, edit_table
from tests.data.converters.sources import jpeg

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@BOTH
def test_values_are_those_of_the_source(version, lerobot_roots, tmp_path):
    file = converted(lerobot_roots[version], tmp_path / "out.h5")
    assert len(file) == EPISODES
    for index, found in enumerate(file.episodes()):
        expected = an_episode(index)
        rows = len(expected["action"])
        np.testing.assert_array_equal(found["action"], expected["action"])
        np.testing.assert_array_equal(found["proprio"], expected["proprio"][:, :2])
        np.testing.assert_array_equal(found["reward"], np.arange(rows, dtype=np.float32) / 7)
        assert found["terminated"].tolist() == [0] * (rows - 1) + [1]
        errors = [np.abs(found["pixels"].astype(int) - np.roll(expected["pixels"], by, 0)).mean() for by in (-1, 0, 1)]
        assert errors[1] < 3 and errors[1] == min(errors)
    assert set(file.columns) == {"action", "proprio", "reward", "terminated", "pixels", "timestamp", "task_index"}


@BOTH
def test_provenance(version, lerobot_roots, tmp_path):
    attributes = converted(lerobot_roots[version], tmp_path / "out.h5").attributes
    assert attributes["source_version"] == version and attributes["env_steps_per_second"] == FPS
    renamed = json.loads(attributes["source_columns"])
    assert renamed["proprio"] == "observation.state" and renamed["pixels"] == "observation.image"


def test_converted_episodes_are_tokenized(lerobot_roots, tmp_path, slots_run):
    episodes, tokens = tmp_path / "episodes.h5", tmp_path / "tokens.h5"
    assert main(["convert", str(lerobot_roots["v3.0"]), str(episodes), "--from", "lerobot", "--image_size", "64"]) == 0
    assert main(["tokenize", str(slots_run), str(episodes), "--out", str(tokens)]) == 0
    np.testing.assert_array_equal(EpisodeFile(tokens).episode(2)["action"], an_episode(2)["action"])


def test_frames_between_episodes_are_passed_over(lerobot_copy, tmp_path):
    """As after episodes were deleted: the episode begins where from_timestamp says."""
    root = lerobot_copy("v3.0")
    meta = root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    pixels = [an_episode(index)["pixels"] for index in range(3)]
    video = np.concatenate([pixels[0], frames(77, 13), pixels[1], pixels[2]])
    write_video(root / "videos" / "observation.image" / "chunk-000" / "file-000.mp4", video, FPS)

    def later(columns):
        for name in ("from_timestamp", "to_timestamp"):
            stamps = columns[f"videos/observation.image/{name}"]
            stamps[1:3] = [stamp + 13 / FPS for stamp in stamps[1:3]]

    edit_table(meta, later)
    for found, expected in zip(converted(root, tmp_path / "out.h5").episodes(["pixels"]), pixels, strict=False):
        assert np.abs(found["pixels"].astype(int) - expected).mean() < 3


def test_episodes_in_another_order_than_in_their_video(lerobot_copy, tmp_path):
    root = lerobot_copy("v3.0")

    def turned(columns):
        for name, values in columns.items():
            values[:3] = values[2::-1] if name.startswith("videos/") or name == "length" else values[:3]

    edit_table(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet", turned)
    table = parquet.read_table(root / "data" / "chunk-000" / "file-000.parquet")
    order = [row for index in (2, 1, 0) for row in np.flatnonzero(np.array(table["episode_index"]) == index)]
    names = {2: 0, 1: 1, 0: 2}
    renamed = pa.array([names[value] for value in table["episode_index"].take(order).to_pylist()])
    table = table.take(order).set_column(table.schema.get_field_index("episode_index"), "episode_index", renamed)
    parquet.write_table(table, root / "data" / "chunk-000" / "file-000.parquet")
    for index, found in zip((2, 1, 0), converted(root, tmp_path / "out.h5").episodes(), strict=False):
        np.testing.assert_array_equal(found["action"], an_episode(index)["action"])
        assert np.abs(found["pixels"].astype(int) - an_episode(index)["pixels"]).mean() < 3


def test_pictures_in_the_table(lerobot_copy, tmp_path):
    """Datasets without videos keep them as PNG or JPEG beside the numbers."""
    root = lerobot_copy("v2.1")
    for index in range(EPISODES):

        def add(columns, index=index):
            pictures = [{"bytes": jpeg(frame), "path": None} for frame in an_episode(index)["pixels"]]
            columns["observation.image"] = pictures

        edit_table(root / "data" / "chunk-000" / f"episode_{index:06d}.parquet", add)
    edit_info(root, lambda info: info["features"]["observation.image"].update(dtype="image"))
    edit_info(root, lambda info: info.update(video_path=None))
    shutil.rmtree(root / "videos")
    for index, found in enumerate(converted(root, tmp_path / "out.h5").episodes()):
        assert np.abs(found["pixels"].astype(int) - an_episode(index)["pixels"]).mean() < 3


def test_one_of_several_cameras(lerobot_copy, tmp_path):
    root = lerobot_copy("v2.1")
    edit_info(root, lambda info: info["features"].update({"observation.images.top": {"dtype": "video", "shape": [9]}}))
    shutil.copytree(
        root / "videos" / "chunk-000" / "observation.image", root / "videos" / "chunk-000" / "observation.images.top"
    )
    with pytest.raises(UserError, match="choose one with --camera: observation.image, observation.images.top"):
        open_source("lerobot", root, {})
    with pytest.raises(
        UserError, match="no such camera; expected one of observation.image, observation.images.top, none"
    ):
        open_source("lerobot", root, {"camera": "side"})
    file = converted(root, tmp_path / "out.h5", camera="observation.images.top")
    assert json.loads(file.attributes["source_columns"])["pixels"] == "observation.images.top"
    assert open_source("lerobot", root, {"camera": "observation.image"}).left_out == ["observation.images.top"]


def test_a_depth_camera_is_left_out(lerobot_copy, tmp_path):
    root, depth = lerobot_copy("v2.1"), {"dtype": "video", "info": {"video.is_depth_map": True}}
    edit_info(root, lambda info: info["features"].update({"observation.depth": depth}))
    file = converted(root, tmp_path / "out.h5")
    assert json.loads(file.attributes["source_columns"])["pixels"] == "observation.image"
    assert json.loads(file.attributes["left_out"]) == ["observation.depth"]
    with pytest.raises(UserError, match="--camera observation.depth: depth cannot become pixels; choose another"):
        open_source("lerobot", root, {"camera": "observation.depth"})


def test_without_any_camera(lerobot_copy, tmp_path):
    file = converted(lerobot_copy("v3.0"), tmp_path / "out.h5", camera="none")
    assert "pixels" not in file.columns and json.loads(file.attributes["left_out"]) == ["observation.image"]
    np.testing.assert_array_equal(file.episode(1)["action"], an_episode(1)["action"])


def test_without_the_library_the_error_says_what_to_type(lerobot_roots, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'cjepa\[lerobot\]'"):
        open_source("lerobot", lerobot_roots["v3.0"], {})
