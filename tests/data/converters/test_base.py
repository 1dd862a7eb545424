"""What is refused of a source, what is stored of it, and that a stopped conversion goes on."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from cjepa.data.converters.base import Converter, convert, open_source
from cjepa.data.converters.columns import resize_images
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.verify import verify_data
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, ignore_progress
from tests.data.converters.sources import EVERY_FORMAT, FORMATS


def test_an_unknown_format_names_those_that_there_are(tmp_path):
    with pytest.raises(UserError) as refusal:
        open_source("parquet", tmp_path, {})
    assert all(name in str(refusal.value) for name in FORMATS)


def test_an_option_that_a_format_does_not_take_is_refused(tmp_path):
    with pytest.raises(UserError, match="--camera does not apply to dino-wm, which takes --image_size"):
        open_source("dino-wm", tmp_path, {"image_size": 0, "camera": "top"})
    with pytest.raises(UserError, match="--image_size does not apply to cjepa-slots, which takes no options"):
        open_source("cjepa-slots", tmp_path, {"image_size": 64})
    with pytest.raises(UserError, match="--image_size -2: expected 0 or more"):
        open_source("dino-wm", tmp_path, {"image_size": -2})


class Unfinished(Converter):
    """Lacks a method."""

    name = "unfinished"
    total_frames = 0


def test_a_converter_that_is_not_finished_is_named_with_the_method(tmp_path):
    with pytest.raises(UserError, match=r"--from unfinished: .*\.Unfinished is abstract: it lacks episodes; add these"):
        open_source("unfinished", tmp_path, {})


class Listed(Converter):
    """Episodes that are already there."""

    name = "listed"
    placeholders = {"action": -1}

    def __init__(self, source, episodes):
        super().__init__(source)
        self.listed = episodes

    @property
    def total_frames(self):
        return 1

    def episodes(self):
        yield from ((f"episode {index}", lambda e=episode: e) for index, episode in enumerate(self.listed))


def plain(**changes) -> dict:
    episode = {"pixels": np.zeros((3, 4, 4, 3), np.uint8), "action": np.ones((3, 2), np.float32)}
    return {name: values for name, values in (episode | changes).items() if values is not None}


NAN = np.array([[0, 0], [0, np.nan], [0, 0]], np.float32)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (plain(action=None), r"episode 1: columns \['action'\]"),
        (plain(state=np.zeros((3, 1))), r"episode 1: columns \['state'\]"),
        (
            plain(action=np.zeros((2, 2), np.float32)),
            "episode 1: columns have .* rows; expected the same number in all columns",
        ),
        (plain(pixels=np.zeros((0, 4, 4, 3), np.uint8), action=np.zeros((0, 2))), "at least 1"),
        (plain(action=np.zeros((3, 5), np.float32)), r"episode 1, column 'action': rows are float32 \(5,\)"),
        (plain(action=np.full((3, 2), 2**24 + 1)), "column 'action': 16777217 cannot be stored as float32"),
        (plain(pixels=np.zeros((3, 8, 8, 3), np.uint8)), "give --image_size"),
        (plain(pixels=np.zeros((3, 4, 4), np.uint8)), "expected uint8"),
        (plain(pixels=np.zeros((3, 4, 4, 3), np.float32)), "expected uint8"),
        (plain(action=np.array(["a", "b", "c"])), "cannot be stored"),
        (plain(action=NAN), "episode 1, column 'action', row 1: not a finite number"),
        (plain(**{"a/b": np.zeros(3)}), "'/'"),
        ({}, "no columns"),
    ],
)
def test_odd_episodes_are_refused_and_the_finished_ones_kept(second, message, tmp_path):
    out = tmp_path / "new" / "out.h5"
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            convert(Listed(tmp_path, [plain(), second]), out, ignore_progress)
        assert finished(out) == [0] and [path.name for path in out.parent.iterdir()] == ["out.h5.parts"]


def finished(out: Path) -> list[int]:
    """Numbers of the episodes that an unfinished conversion has kept."""
    return [int(path.name[:7]) for path in sorted(Path(f"{out}.parts").glob("*.part"))]


def test_no_episodes_are_refused(tmp_path):
    with pytest.raises(UserError, match="no episodes"):
        convert(Listed(tmp_path, []), tmp_path / "out.h5", ignore_progress)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_stays(tmp_path):
    class Slow(Listed):
        def episodes(self):
            yield from super().episodes()
            (tmp_path / "out.h5").write_text("mine")

    with pytest.raises(UserError, match="out.h5 was created by another process in the meantime"):
        convert(Slow(tmp_path, [plain()]), tmp_path / "out.h5", ignore_progress)
    assert (tmp_path / "out.h5").read_text() == "mine" and finished(tmp_path / "out.h5") == [0]


def test_values_are_stored_in_our_types(tmp_path):
    nothing_done = np.array([[1, 2], [3, 4], [np.nan, np.nan]])
    episode = plain(action=nothing_done, reward=np.array([[0.5], [1.5], [2.5]]), terminated=np.array([0, 0, 1], bool))
    file = convert(Listed(tmp_path, [episode]), tmp_path / "out.h5", ignore_progress)
    assert {name: (str(dtype), shape) for name, (shape, dtype) in file.columns.items() if name != "pixels"} == {
        "action": ("float32", (3, 2)),
        "reward": ("float32", (3,)),
        "terminated": ("uint8", (3,)),
    }
    assert file.episode(0)["action"].tolist() == [[1, 2], [3, 4], [0, 0]]
    assert np.isnan(nothing_done[-1]).all()  # the source's own array is left alone


def test_label_images_keep_their_labels_when_resized():
    labels = np.kron(np.array([[0, 1], [2, 5]], np.uint8), np.ones((5, 5), np.uint8))[None]
    assert set(np.unique(resize_images("masks", labels, 4))) == {0, 1, 2, 5}
    assert resize_images("contacts", labels, 4) is labels
    assert resize_images("masks", labels, 0) is labels


def test_files_of_stable_worldmodel_are_sent_to_convert(sources, tmp_path):
    with pytest.raises(UserError, match="cjepa convert .*swm.h5 NEW.h5 --from swm-hdf5"):
        EpisodeFile(sources("swm-hdf5", 3))


def test_our_own_files_need_no_conversion(tmp_path):
    with EpisodeWriter(tmp_path / "a.h5", "cjepa-episodes", {}) as writer:
        writer.append(plain())
    with pytest.raises(UserError, match="needs no conversion"):
        open_source("swm-hdf5", tmp_path / "a.h5", {})


def test_attributes_are_plain_json(sources, tmp_path):
    """What inspect and other programs read."""
    file = convert(open_source("clevrer", sources("clevrer", 3), {}), tmp_path / "out.h5", ignore_progress)
    assert json.loads(file.attributes["attribute_words"])["shape"] == ["cube", "sphere", "cylinder"]
    with h5py.File(tmp_path / "out.h5") as opened:
        assert isinstance(opened.attrs["episode_names"], str)


@pytest.mark.parametrize("name", ["action", "proprio"])
@pytest.mark.parametrize("dtype", [np.int64, np.float16])
def test_what_is_converted_passes_verify(tmp_path, name, dtype):
    more = {"masks": np.full((3, 4, 4, 1), 23, np.int64), name: np.ones((3, 2), dtype)}
    file = convert(Listed(tmp_path, [plain(**more)]), tmp_path / "out.h5", ignore_progress)
    assert verify_data(tmp_path / "out.h5", ignore_progress) is None
    assert file.columns["masks"] == ((3, 4, 4), np.uint8) and file.columns[name][1] == np.float32


def interrupt(converter: Converter, episode: int) -> Converter:
    """The conversion is stopped when it reads this episode."""
    all_episodes = converter.episodes

    def episodes():
        for number, (label, read) in enumerate(all_episodes()):
            yield (label, stop) if number == episode else (label, read)

    def stop():
        raise KeyboardInterrupt

    converter.episodes = episodes
    return converter


@pytest.mark.slow
@EVERY_FORMAT
def test_an_interrupted_conversion_goes_on_and_makes_the_same_bytes(name, sources, tmp_path):
    source, out, uninterrupted = sources(name, 3), tmp_path / "b.h5", tmp_path / "whole" / "b.h5"
    convert(open_source(name, source, {}), uninterrupted, ignore_progress)
    for episode in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            convert(interrupt(open_source(name, source, {}), episode), out, ignore_progress)
        assert finished(out) == list(range(episode)) and not out.exists()
    seen = RecordedProgress()
    convert(open_source(name, source, {}), out, seen)
    assert seen.new == [False, False, True]
    made = {path.name: path.read_bytes() for path in uninterrupted.parent.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == made
    convert(interrupt(open_source(name, source, {}), 0), out, ignore_progress)  # reads nothing: it is done
    assert not finished(out)


def test_a_source_that_has_changed_is_converted_from_its_start(sources, tmp_path, caplog):
    source, out = tmp_path / "swm.h5", tmp_path / "out.h5"
    shutil.copy(sources("swm-hdf5", 3), source)
    with pytest.raises(KeyboardInterrupt):
        convert(interrupt(open_source("swm-hdf5", source, {}), 1), out, ignore_progress)
    rewrite(source, 7)
    file = convert(open_source("swm-hdf5", source, {}), out, ignore_progress)
    assert "the source has changed; the episodes done so far, 1, are made again" in caplog.text
    assert (file.episode(0)["proprio"][0] == 7).all() and not finished(out)
    rewrite(source, 8)
    with pytest.raises(UserError, match="out.h5 already exists and was made by another command"):
        convert(open_source("swm-hdf5", source, {}), out, ignore_progress)


def rewrite(source: Path, value: float) -> None:
    """Another first row of proprioception, in a new file of the same name."""
    new = source.with_suffix(".new")
    shutil.copy(source, new)
    with h5py.File(new, "r+") as file:
        file["proprio"][0] = value
    new.rename(source)
