"""What holds for every converter; a new one needs a small source in ``sources.py``, then it is held to all of this."""

import json
import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import Converter, convert, converters, open_source
from cjepa.data.converters.columns import resize_images
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.verify import verify_data
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, ignore_progress
from tests.contracts import concrete_subclasses
from tests.data.converters.sources import SOURCES

FORMATS = [cls.name for cls in concrete_subclasses("cjepa.data.converters", Converter)]
EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Makes a source of a format with so many episodes, once."""
    made = {}

    def source(name: str, num_episodes: int):
        if (name, num_episodes) not in made:
            made[name, num_episodes] = SOURCES[name](tmp_path_factory.mktemp("source"), num_episodes)
        return made[name, num_episodes]

    return source


def files_in(folder: Path) -> dict:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_every_format_is_found_and_has_a_source():
    assert set(FORMATS) == set(SOURCES) == set(converters()) - {Listed.name, Unfinished.name}


def test_the_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    text = "".join(capsys.readouterr().out.split())
    assert [name for name in FORMATS if name not in text] == []


@EVERY_FORMAT
def test_the_file_is_sound_and_says_where_it_is_from(name, sources, tmp_path, capsys):
    source, out = sources(name, 3), tmp_path / "new" / "out.h5"
    before = files_in(source.parent)
    assert main(["convert", str(source), str(out), "--from", name]) == 0
    assert str(out) in capsys.readouterr().out
    assert verify_data(out, ignore_progress) is None
    file = EpisodeFile(out)
    assert len(file) == 3
    assert (file.attributes["source"], file.attributes["source_format"]) == (str(source), name)
    assert file.attributes["format"] == converters()[name].file_format
    kept = {path.name for path in out.parent.iterdir()}
    assert kept in ({"out.h5"}, {"out.h5", "out.questions.jsonl"})
    assert files_in(source.parent) == before


@EVERY_FORMAT
def test_progress_adds_up_to_the_total(name, sources, tmp_path):
    converter = open_source(name, sources(name, 3), {})
    done = RecordedProgress()
    file = convert(converter, tmp_path / "out.h5", done)
    assert len(done.amounts) == 3 and sum(done.amounts) == converter.total_frames == file.env_steps


@pytest.mark.slow
@EVERY_FORMAT
def test_memory_does_not_grow_with_the_source(name, sources, tmp_path):
    """Twice the episodes, the same peak; all of the pixels or tokens at once would be far above it."""

    def converted(num_episodes: int) -> EpisodeFile:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
        return convert(open_source(name, sources(name, num_episodes), {}), out, ignore_progress)

    def peak(num_episodes: int) -> int:
        tracemalloc.start()
        try:
            converted(num_episodes)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    file = converted(8)  # imports and caches are not what is measured
    shape, dtype = file.columns["tokens" if "tokens" in file.columns else "pixels"]
    added = 4 / 8 * int(np.prod(shape)) * dtype.itemsize
    assert peak(8) - peak(4) < added / 4


@EVERY_FORMAT
def test_an_existing_file_stays(name, sources, tmp_path, capfd):
    out = tmp_path / "mine.h5"
    out.write_text("mine")
    assert main(["convert", str(sources(name, 3)), str(out), "--from", name]) == 2
    assert "mine.h5 already exists" in capfd.readouterr().err
    assert out.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["mine.h5"]


@EVERY_FORMAT
def test_a_missing_source_and_one_of_another_kind_are_refused(name, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.h5").write_text("hello")
    for source in ("nowhere", "empty", "text.h5"):
        assert main(["convert", str(tmp_path / source), str(tmp_path / "out.h5"), "--from", name]) == 2
        line = capfd.readouterr().err
        assert line.count("\n") == 1 and str(tmp_path / source) in line and "Traceback" not in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "text.h5"]


def damage(path: Path, rng: np.random.Generator) -> None:
    """Cut the end off, overwrite a piece with noise, with text, or delete the file."""
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content)))
    match rng.integers(4):
        case 0:
            del content[at:]
        case 1:
            content[at : at + 40] = rng.bytes(len(content[at : at + 40]))
        case 2:
            content = bytearray(b'{"a": [1, null]}\n')
        case 3:
            path.unlink()
            return
    path.write_bytes(content)


@pytest.mark.slow
@EVERY_FORMAT
def test_any_damage_is_one_clear_line(name, sources, tmp_path, capfd):
    """Whatever happened to a file of the source: converted, or refused in a line that names it, and nothing left."""
    rng = np.random.default_rng(0)
    whole = sources(name, 3)
    for trial in range(12):
        folder = tmp_path / str(trial)
        source = folder / whole.name
        shutil.copytree(whole.parent, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        damaged = files[rng.integers(len(files))]
        damage(damaged, rng)
        capfd.readouterr()
        code = main(["convert", str(source), str(folder / "out.h5"), "--from", name])
        line = capfd.readouterr().err
        assert code in (0, 2) and "Traceback" not in line
        if code == 2:
            assert f"cjepa convert: error: {folder}" in line, line
            left = {path.name for path in folder.iterdir() if path.name.startswith("out")}
            assert left <= {"out.h5.parts"} or (damaged.name == "train.json" and left == {"out.h5"})


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"cjepa-slots"}))
def test_images_are_made_of_the_size_that_is_asked_for(name, sources, tmp_path):
    whole = convert(open_source(name, sources(name, 3), {}), tmp_path / "whole.h5", ignore_progress)
    small = convert(open_source(name, sources(name, 3), {"image_size": 32}), tmp_path / "small.h5", ignore_progress)
    assert small.columns["pixels"][0][1:] == (32, 32, 3)
    for one, other in zip(whole.episodes(), small.episodes(), strict=True):
        expected = resize_images("pixels", one["pixels"], 32).astype(int)
        assert np.abs(other["pixels"] - expected).mean() < 1.5
        assert all(np.array_equal(one[column], other[column]) for column in one if column != "pixels")


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
