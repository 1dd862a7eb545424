"""What holds for every converter; a new one needs a small source in ``sources.py``, then it is held to all of this."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import convert, converters, open_source
from cjepa.data.converters.columns import resize_images
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.verify import verify_data
from tests.conftest import RecordedProgress, ignore_progress
from tests.data.converters.sources import EVERY_FORMAT, FORMATS, SOURCES


def files_in(folder: Path) -> dict:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_every_format_is_found_and_has_a_source():
    ours = {name for name, converter in converters().items() if converter.__module__.startswith("cjepa.")}
    assert set(FORMATS) == set(SOURCES) == ours


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
