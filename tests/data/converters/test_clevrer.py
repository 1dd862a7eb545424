import json
import shutil

import numpy as np
import pytest

from cjepa.data.converters.base import convert, open_source
from cjepa.data.converters.clevrer import ATTRIBUTES
from cjepa.errors import UserError
from cjepa.evaluation.probes import read_bodies
from cjepa.reporting.videos import write_video
from tests.conftest import RecordedProgress, ignore_progress
from tests.data.converters.episodes import frames
from tests.data.converters.sources import clevrer, clevrer_annotation


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return clevrer(tmp_path_factory.mktemp("clevrer"), 3)


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "clevrer.h5"
    return convert(open_source("clevrer", source, {"image_size": 64}), out, ignore_progress)


def test_frames_are_those_of_the_videos(made):
    for scene, found in enumerate(made.episodes(["pixels"])):
        expected = frames(scene, 128)
        errors = [np.abs(found["pixels"].astype(int) - np.roll(expected, by, 0)).mean() for by in (-1, 0, 1)]
        assert found["pixels"].shape == (128, 64, 64, 3)
        assert errors[1] < 6 and errors[1] == min(errors)


def test_objects_hold_what_the_annotation_says(made):
    objects = made.episode(1, ["objects"])["objects"]
    assert objects.shape == (128, 3, len(ATTRIBUTES))
    of = {name: objects[..., index] for index, name in enumerate(ATTRIBUTES)}
    assert of["present"].all()
    assert of["inside_camera_view"][:10].tolist() == [[1, 0, 1]] * 10 and of["inside_camera_view"][10:].all()
    np.testing.assert_allclose(of["location_x"][50], [0.5, 1.5, 2.5])
    assert (of["location_y"] == 1).all() and (of["velocity_x"] == 1).all() and (of["angular_velocity_z"] == 0.5).all()
    np.testing.assert_allclose(of["orientation_z"][30], 3.0)
    words = json.loads(made.attributes["attribute_words"])
    named = {kind: [words[kind][int(code)] for code in of[kind][0]] for kind in words}
    assert named == {
        "color": ["blue", "red", "cyan"],
        "material": ["rubber", "metal", "metal"],
        "shape": ["sphere", "cube", "cylinder"],
    }
    assert json.loads(made.attributes["attribute_names"]) == list(ATTRIBUTES)


def test_absent_bodies_are_zeros(made):
    assert not made.episode(0, ["objects"])["objects"][:, 2].any()


def test_collisions_are_contacts_of_their_frame(made):
    contacts = made.episode(2, ["contacts"])["contacts"]
    assert np.argwhere(contacts).tolist() == [[22, 0, 1], [22, 1, 0]]


def test_questions_stand_beside_with_their_episode(made):
    lines = (made.path.parent / "clevrer.questions.jsonl").read_text().splitlines()
    found = {entry["episode"]: entry for entry in map(json.loads, lines)}
    assert sorted(found) == [0, 1, 2]
    assert [found[k]["video"] for k in range(3)] == json.loads(made.attributes["episode_names"])
    assert [found[k]["questions"][0]["question"] for k in range(3)] == [f"Which, in {k}?" for k in range(3)]


def test_a_long_file_of_questions_is_read_piece_by_piece(tmp_path):
    """Longer than a piece, and the one video's questions in its middle."""
    root = clevrer(tmp_path, 1)
    scenes = [{"scene_index": k, "questions": [{"question": "x" * 5000}]} for k in range(900, 0, -1)]
    scenes.insert(450, {"scene_index": 0, "questions": ["here"]})
    for indent in (None, 1):
        (root / "questions" / "train.json").write_text(json.dumps(scenes, indent=indent))
        out = tmp_path / f"{indent}.h5"
        convert(open_source("clevrer", root, {"image_size": 16}), out, ignore_progress)
        lines = (tmp_path / f"{indent}.questions.jsonl").read_text().splitlines()
        assert [json.loads(line)["questions"] for line in lines] == [["here"]]


def test_videos_without_annotations_as_of_the_test_split(source, tmp_path):
    root = tmp_path / "test"
    root.mkdir()
    (root / "video_15000.mp4").write_bytes(next(source.rglob("video_00001.mp4")).read_bytes())
    file = convert(open_source("clevrer", root, {}), tmp_path / "out.h5", ignore_progress)
    assert list(file.columns) == ["pixels"] and len(file) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.h5", "test"]


def test_what_happens_after_the_video_is_not_in_it(tmp_path):
    root = clevrer(tmp_path, 1)
    annotation = clevrer_annotation(0, 2, num_frames=140)
    annotation["collision"].append({"object_ids": [0, 1], "frame_id": 131})
    next(root.rglob("annotation_*.json")).write_text(json.dumps(annotation))
    file = convert(open_source("clevrer", root, {}), tmp_path / "out.h5", ignore_progress)
    assert np.argwhere(file.episode(0)["contacts"]).tolist() == [[20, 0, 1], [20, 1, 0]]


def edit(change):
    """Edits the annotation of video 1."""

    def damage(root):
        path = next(root.rglob("annotation_00001.json"))
        annotation = json.loads(path.read_text())
        change(annotation)
        path.write_text(json.dumps(annotation))

    return damage


def delete(pattern):
    return lambda root: next(root.rglob(pattern)).unlink()


def write(pattern, text):
    return lambda root: next(root.rglob(pattern)).write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit(lambda a: a["object_property"][0].update(color="pink")), "annotation_00001.json: .*ValueError"),
        (edit(lambda a: a["object_property"].pop()), "annotation_00001.json: .*KeyError: 2"),
        (edit(lambda a: a["motion_trajectory"].pop()), "127 frames, expected 128"),
        (edit(lambda a: a["motion_trajectory"].reverse()), "frame_id 127 at index 0"),
        (edit(lambda a: a["motion_trajectory"][3]["objects"][0].update(location=[1, 2])), "annotation_00001.json"),
        (edit(lambda a: a["collision"][0].update(object_ids=[0, 9])), "annotation_00001.json: .*KeyError: 9"),
        (edit(lambda a: a["collision"][0].update(frame_id=-1)), "a collision at frame_id -1"),
        (edit(lambda a: a.pop("collision")), "annotation_00001.json: .*annotation: collision is None, expected list"),
        (write("annotation_00001.json", "{"), "annotation_00001.json: not valid JSON"),
        (write("annotation_00001.json", "[" * 20_000), "annotation_00001.json: not readable as JSON"),
        (write("annotation_00001.json", '{"a": ' * 60 + "1" + "}" * 60), "annotation_00001.json: deeper than 50"),
        (lambda root: [path.unlink() for path in root.rglob("video_*.mp4")], "contains no video.*give a folder with"),
        (delete("annotation_00001.json"), "video_00001.mp4 has no annotation, but other videos do"),
        (write("video_00001.mp4", "hello"), "video_00001.mp4: ffmpeg cannot read this video.*--skip_short"),
        (
            lambda root: write_video(next(root.rglob("video_00001.mp4")), frames(0, 20), 25),
            "after 20 frames, expected 108 more.*--skip_short",
        ),
        (lambda root: write_video(next(root.rglob("video_00001.mp4")), frames(0, 130), 25), "more than 128 frames"),
        (
            lambda root: write_video(root / "video_1.mp4", frames(0, 9), 25),
            "has the same number as .*video_(00001|1).mp4",
        ),
        (lambda root: (root / "video_last.mp4").write_text(""), "expected a number at the end"),
        (write("train.json", "{}"), "train.json: expected a list"),
        (write("train.json", '[{"scene": 1}]'), "train.json: .*scene_index is None, expected int"),
        (
            write("train.json", '[{"scene_index": [1], "questions": []}]'),
            r"train.json: .*scene_index is \[1\], expected int",
        ),
        (write("train.json", "[" * 20_000), "train.json: damaged"),
        (write("train.json", '[{"scene_index": 1, "questions": []},'), "train.json: damaged"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(damage, message, source, tmp_path):
    root = shutil.copytree(source, tmp_path / "clevrer")
    damage(root)
    with pytest.raises(UserError, match=message):
        convert(open_source("clevrer", root, {"image_size": 16}), tmp_path / "out.h5", ignore_progress)
    complete = {"out.h5"} if "train.json" in message else set()  # only the questions are missing then
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"clevrer"} | complete


def test_questions_of_another_conversion_stay(source, tmp_path):
    (tmp_path / "out.questions.jsonl").write_text("mine")
    with pytest.raises(UserError, match="out.questions.jsonl already exists"):
        convert(open_source("clevrer", source, {}), tmp_path / "out.h5", ignore_progress)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.questions.jsonl", "mine")]


def test_damaged_questions_do_not_cost_the_episodes(source, tmp_path):
    root = shutil.copytree(source, tmp_path / "clevrer")
    questions, out = next(root.rglob("train.json")), tmp_path / "out.h5"
    sound = questions.read_text()
    questions.write_text("{}")
    with pytest.raises(UserError, match="expected a list"):
        convert(open_source("clevrer", root, {"image_size": 16}), out, ignore_progress)
    made = out.read_bytes()
    questions.write_text(sound)
    convert(open_source("clevrer", root, {"image_size": 16}), out, ignore_progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clevrer", "out.h5", "out.questions.jsonl"]
    assert out.read_bytes() == made


def test_without_label_images_and_names_there_is_nothing_to_probe(made):
    assert read_bodies(made) is None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: write_video(path, frames(0, 104), 25), "104 of 128 frames"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "damaged"),  # an interrupted download
    ],
)
def test_short_and_damaged_videos_are_left_out_and_listed(spoil, reason, source, tmp_path):
    root = shutil.copytree(source, tmp_path / "clevrer")
    spoil(next(root.rglob("video_00001.mp4")))
    with pytest.raises(UserError, match="--skip_short leaves such videos out"):
        convert(open_source("clevrer", root, {"image_size": 16}), tmp_path / "out.h5", ignore_progress)
    done = RecordedProgress()
    file = convert(open_source("clevrer", root, {"image_size": 16, "skip_short": True}), tmp_path / "out.h5", done)
    assert done.new == [False, True]  # what was converted before the short video was met is used
    assert json.loads(file.attributes["left_out"]) == [f"video_00001 ({reason})"]
    assert len(file) == 2 and json.loads(file.attributes["episode_names"]) == ["video_00000", "video_00002"]
    lines = (tmp_path / "out.questions.jsonl").read_text().splitlines()
    assert {(entry["episode"], entry["video"]) for entry in map(json.loads, lines)} == {
        (0, "video_00000"),
        (1, "video_00002"),
    }
