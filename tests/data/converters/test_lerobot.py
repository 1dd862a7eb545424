import json
import shutil

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.errors import UserError
from cjepa.reporting.videos import write_video
from tests.conftest import ignore_progress
from tests.data.converters.episodes import FPS, an_episode, frames
from tests.data.converters.lerobot_datasets import lerobot_v2, lerobot_v3
from tests.data.converters.sources import jpeg

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

EPISODES = 5
VERSIONS = {"v2.1": lerobot_v2, "v3.0": lerobot_v3}
BOTH = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return {version: make(tmp_path_factory.mktemp("lerobot"), EPISODES) for version, make in VERSIONS.items()}


@pytest.fixture
def copy(roots, tmp_path):
    """A copy of a dataset that may be spoilt."""
    return lambda version: shutil.copytree(roots[version], tmp_path / "source")


def converted(root, out, **options) -> EpisodeFile:
    return convert(open_source("lerobot", root, options), out, ignore_progress)


def edit_info(root, change) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def edit_table(path, change) -> None:
    columns = parquet.read_table(path).to_pydict()
    change(columns)
    parquet.write_table(pa.table(columns), path)


@BOTH
def test_values_are_those_of_the_source(version, roots, tmp_path):
    file = converted(roots[version], tmp_path / "out.h5")
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
def test_provenance(version, roots, tmp_path):
    attributes = converted(roots[version], tmp_path / "out.h5").attributes
    assert attributes["source_version"] == version and attributes["env_steps_per_second"] == FPS
    renamed = json.loads(attributes["source_columns"])
    assert renamed["proprio"] == "observation.state" and renamed["pixels"] == "observation.image"


def test_converted_episodes_are_tokenized(roots, tmp_path, slots_run):
    episodes, tokens = tmp_path / "episodes.h5", tmp_path / "tokens.h5"
    assert main(["convert", str(roots["v3.0"]), str(episodes), "--from", "lerobot", "--image_size", "64"]) == 0
    assert main(["tokenize", str(slots_run), str(episodes), "--out", str(tokens)]) == 0
    np.testing.assert_array_equal(EpisodeFile(tokens).episode(2)["action"], an_episode(2)["action"])


def test_frames_between_episodes_are_passed_over(copy, tmp_path):
    """As after episodes were deleted: the episode begins where from_timestamp says."""
    root = copy("v3.0")
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


def test_episodes_in_another_order_than_in_their_video(copy, tmp_path):
    root = copy("v3.0")

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


def test_pictures_in_the_table(copy, tmp_path):
    """Datasets without videos keep them as PNG or JPEG beside the numbers."""
    root = copy("v2.1")
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


def test_one_of_several_cameras(copy, tmp_path):
    root = copy("v2.1")
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


DATA = {"v2.1": "data/chunk-000/episode_000001.parquet", "v3.0": "data/chunk-000/file-000.parquet"}
VIDEO = {
    "v2.1": "videos/chunk-000/observation.image/episode_000001.mp4",
    "v3.0": "videos/observation.image/chunk-000/file-000.mp4",
}


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
def test_what_is_wrong_is_named_with_its_place(version, damage, message, copy, tmp_path):
    root = copy(version)
    damage(root, version)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"source"}


def test_lists_of_episodes_that_are_wrong(copy):
    root = copy("v2.1")
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
def test_a_video_that_disagrees_with_the_table(copy, tmp_path, change, message):
    """A discarded take that stayed in the video, a merge that went wrong."""
    root = copy("v3.0")
    edit_table(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet", change)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_video_of_another_frame_rate(copy, tmp_path):
    """As many frames, but from_timestamp counts them in another rate: episode 1 would get frames of episode 0."""
    root = copy("v3.0")
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
def test_rows_that_belong_to_other_frames(version, change, message, copy, tmp_path):
    root = copy(version)
    edit_table(root / DATA[version].replace("episode_000001", "episode_000000"), change)
    with pytest.raises(UserError, match=message):
        converted(root, tmp_path / "out.h5")


def test_a_depth_camera_is_left_out(copy, tmp_path):
    root, depth = copy("v2.1"), {"dtype": "video", "info": {"video.is_depth_map": True}}
    edit_info(root, lambda info: info["features"].update({"observation.depth": depth}))
    file = converted(root, tmp_path / "out.h5")
    assert json.loads(file.attributes["source_columns"])["pixels"] == "observation.image"
    assert json.loads(file.attributes["left_out"]) == ["observation.depth"]
    with pytest.raises(UserError, match="--camera observation.depth: depth cannot become pixels; choose another"):
        open_source("lerobot", root, {"camera": "observation.depth"})


def test_without_any_camera(copy, tmp_path):
    file = converted(copy("v3.0"), tmp_path / "out.h5", camera="none")
    assert "pixels" not in file.columns and json.loads(file.attributes["left_out"]) == ["observation.image"]
    np.testing.assert_array_equal(file.episode(1)["action"], an_episode(1)["action"])


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
def test_values_of_info_that_make_no_sense(version, key, value, message, copy):
    root = copy(version)
    edit_info(root, lambda info: info.update({key: value}))
    with pytest.raises(UserError, match=message) as raised:
        open_source("lerobot", root, {})
    assert len(str(raised.value)) < 600


def test_two_features_for_one_column(copy):
    root = copy("v2.1")
    edit_info(root, lambda info: info["features"].update(proprio={"dtype": "float32"}))
    with pytest.raises(UserError, match="two features become the column 'proprio'"):
        open_source("lerobot", root, {})


@BOTH
def test_two_columns_of_one_name(version, copy):
    root = copy(version)
    table = parquet.read_table(root / DATA[version])
    parquet.write_table(table.append_column("action", table["action"]), root / DATA[version])
    with pytest.raises(UserError, match="parquet: two columns 'action'"):
        list(open_source("lerobot", root, {}).episodes())


def test_a_video_longer_than_its_episode(copy):
    root = copy("v2.1")
    write_video(root / VIDEO["v2.1"], frames(1, 40), FPS)
    with pytest.raises(UserError, match="more than 27 frames, the length of episode 1"):
        [read() for _, read in open_source("lerobot", root, {}).episodes()]


def test_without_the_library_the_error_says_what_to_type(roots, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'cjepa\[lerobot\]'"):
        open_source("lerobot", roots["v3.0"], {})
