"""What is wrong with a LeRobot dataset is named with its place."""

import numpy as np
import pytest

from cjepa.data.converters.base import open_source
from cjepa.errors import UserError
from cjepa.reporting.videos import write_video
from tests.data.converters.episodes import FPS, an_episode, frames
from tests.data.converters.lerobot_datasets import BOTH, DATA, VIDEO, converted, edit_info, edit_table

parquet = pytest.importorskip("pyarrow.parquet")


def drop_action(columns):
    del columns["action"]


def miss_action(columns):
    columns["action"][0] = None


def other_episode(columns):
    columns["episode_index"][-1] = 77


def forget_last_episode(root, version):
    """As when the end of the list was lost: all that it says is right."""
    if version == "v2.1":
        path = root / "meta" / "episodes.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    else:
        path = root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
        edit_table(path, lambda columns: [values.pop() for values in columns.values()])


@BOTH
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root, v: (root / DATA[v]).unlink(), "parquet: no such file, but meta/ lists it"),
        (lambda root, v: (root / DATA[v]).write_text("hello"), "not a readable Parquet file"),
        (lambda root, v: edit_table(root / DATA[v], drop_action), "no column 'action'"),
        (
            lambda root, v: edit_table(root / DATA[v], miss_action),
            "'action': lists are missing or have different lengths",
        ),
        (lambda root, v: edit_table(root / DATA[v], other_episode), "rows belong to another episode"),
        (forget_last_episode, "source: the episodes listed in meta/ have 114 frames, but info.json states 138"),
        (lambda root, v: (root / VIDEO[v]).unlink(), "mp4: no such video"),
        (lambda root, v: write_video(root / VIDEO[v], frames(0, 7), FPS), "ends after 7 frames"),
        (
            lambda root, v: edit_info(root, lambda info: info.update(codebase_version="v1.6")),
            "codebase_version is v1.6",
        ),
        (lambda root, v: edit_info(root, lambda info: info.pop("features")), "info.json: features: expected names"),
        (
            lambda root, v: edit_info(root, lambda info: info.update(data_path="{nope}")),
            "data_path: .* is not a LeRobot path template",
        ),
        (lambda root, v: edit_info(root, lambda info: info.update(data_path="../a")), "data_path points outside"),
        (lambda root, v: edit_info(root, lambda info: info.update(video_path="/a.mp4")), "video_path points outside"),
        (lambda root, v: (root / "meta" / "info.json").write_text("{"), "info.json: not valid JSON"),
        (lambda root, v: (root / "meta" / "info.json").unlink(), "info.json: no such file"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(version, damage, message, lerobot_copy, tmp_path):
    root = lerobot_copy(version)
    damage(root, version)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"source"}


def test_lists_of_episodes_that_are_wrong(lerobot_copy):
    root = lerobot_copy("v2.1")
    path = root / "meta" / "episodes.jsonl"
    path.write_text(path.read_text() + '{"episode_index": 5}\n')
    with pytest.raises(UserError, match="episodes.jsonl, line 6: length is None, expected an integer of at least 1"):
        list(open_source("lerobot", root, {}).episodes())
    path.unlink()
    with pytest.raises(UserError, match="episodes.jsonl: no such file"):
        list(open_source("lerobot", root, {}).episodes())


def changed_stamps(episode: int, **by: float):
    """A change of meta/episodes that moves time stamps of one episode by frames."""

    def change(columns):
        for name, frames_later in by.items():
            columns[f"videos/observation.image/{name}"][episode] += frames_later / FPS

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed_stamps(1, to_timestamp=3),
            "episode 1: its stretch of .*000.mp4 has 30 frames, its table 27 rows",
        ),
        (changed_stamps(0, from_timestamp=1), "episode 0: its stretch of .* has 23 frames, its table 24 rows"),
        (changed_stamps(2, from_timestamp=-1, to_timestamp=-1), "episodes 1 and 2 share frames .both have frame 50"),
        (changed_stamps(3, from_timestamp=-5, to_timestamp=-5), "episode 3: from_timestamp -0.5 and to_timestamp"),
        (changed_stamps(3, from_timestamp=float("nan")), "episode 3: from_timestamp nan"),
        (changed_stamps(0, from_timestamp=0.4, to_timestamp=0.4), "episode 0: from_timestamp 0.04 lies between two"),
    ],
)
def test_a_video_that_disagrees_with_the_table(lerobot_copy, tmp_path, change, message):
    """A discarded take that stayed in the video, a merge that went wrong."""
    root = lerobot_copy("v3.0")
    edit_table(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet", change)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_video_of_another_frame_rate(lerobot_copy, tmp_path):
    """As many frames, but from_timestamp counts them in another rate: episode 1 would get frames of episode 0."""
    root = lerobot_copy("v3.0")
    video = root / "videos" / "observation.image" / "chunk-000" / "file-000.mp4"
    write_video(video, np.concatenate([an_episode(index)["pixels"] for index in range(3)]), 2 * FPS)
    with pytest.raises(UserError, match=f"file-000.mp4: {2 * FPS} frames per second, but info.json states fps {FPS}"):
        converted(root, tmp_path / "out.h5")


def pause(columns):
    """One second without rows."""
    columns["timestamp"][5:] = [stamp + 1 for stamp in columns["timestamp"][5:]]


def turn(columns):
    columns["frame_index"][4:6] = columns["frame_index"][5:3:-1]


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pause, f"episode 0, row 5: timestamp points at frame {5 + FPS} of the episode, expected frame 5"),
        (turn, "episode 0, row 4: frame_index points at frame 5 of the episode, expected frame 4"),
    ],
)
def test_rows_that_belong_to_other_frames(version, change, message, lerobot_copy, tmp_path):
    root = lerobot_copy(version)
    edit_table(root / DATA[version].replace("episode_000001", "episode_000000"), change)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")


BOMB = "{episode_index:>2000000000}"


@BOTH
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_path", BOMB, "data_path: '{episode_index:>2000000000}' is not a LeRobot path template"),
        ("data_path", "{episode_index:{chunk_index}}", "data_path: .* is not a LeRobot path template"),
        ("data_path", "{episode_index.real}", "data_path: .* is not a LeRobot path template"),
        ("data_path", "a" * 10_000, "data_path: .* is not a LeRobot path template"),
        ("data_path", 7, "data_path: '7' is not a LeRobot path template"),
        ("video_path", "{video_key:>2000000000}", "video_path: .* is not a LeRobot"),
        ("fps", float("nan"), r"info.json: fps: a number that is not finite \(nan\)"),
        ("fps", -10, "fps is -10"),
        ("fps", 10**30, "info.json: fps: an integer beyond 64 bits"),
        ("fps", "10", "fps is 10"),
        ("chunks_size", 0, "chunks_size is 0, expected an integer of at least 1"),
        ("total_frames", -1, "total_frames is -1"),
        ("features", [1], "features: expected names with a dtype each"),
        ("features", {"action": 3}, "features: expected names with a dtype each"),
    ],
)
def test_values_of_info_that_make_no_sense(version, key, value, message, lerobot_copy):
    root = lerobot_copy(version)
    edit_info(root, lambda info: info.update({key: value}))
    with pytest.raises(UserError, match=message) as raised:
        open_source("lerobot", root, {})
    assert len(str(raised.value)) < 600


def test_two_features_for_one_column(lerobot_copy):
    root = lerobot_copy("v2.1")
    edit_info(root, lambda info: info["features"].update(proprio={"dtype": "float32"}))
    with pytest.raises(UserError, match="two features become the column 'proprio'"):
        open_source("lerobot", root, {})


@BOTH
def test_two_columns_of_one_name(version, lerobot_copy):
    root = lerobot_copy(version)
    table = parquet.read_table(root / DATA[version])
    parquet.write_table(table.append_column("action", table["action"]), root / DATA[version])
    with pytest.raises(UserError, match="parquet: two columns 'action'"):
        list(open_source("lerobot", root, {}).episodes())


def test_a_video_longer_than_its_episode(lerobot_copy):
    root = lerobot_copy("v2.1")
    write_video(root / VIDEO["v2.1"], frames(1, 40), FPS)
    with pytest.raises(UserError, match="more than 27 frames, the length of episode 1"):
        [read() for _, read in open_source("lerobot", root, {}).episodes()]
