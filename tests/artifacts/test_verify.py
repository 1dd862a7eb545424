"""Of a run every file is looked at; what is wrong with it is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.artifacts.verify import verify_path
from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.reporting.videos import write_png, write_video
from tests.conftest import RecordedProgress, ignore_progress


@pytest.fixture
def run(tmp_path, slots_run) -> Path:
    """A copy of a run with a picture, a video and predictions."""
    folder = shutil.copytree(slots_run, tmp_path / "run")
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    write_png(folder / "media" / "frame.png", frames[0])
    write_video(folder / "media" / "frames.mp4", frames, fps=4)
    torch.save({"a": torch.zeros(3)}, folder / "predictions.pt")
    return folder


def fault_of(path: Path) -> str | None:
    return verify_path(path, ignore_progress)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_is_in_order(run, slots_run, world_model_run, slot_tokens):
    for path in (run, slots_run, world_model_run, slots_run / "checkpoints" / "last.ckpt", slot_tokens):
        shares = RecordedProgress()
        assert verify_path(path, shares) is None
        assert sum(shares.amounts) == pytest.approx(1)


@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "results.json", "config.yaml", "predictions.pt", "media/frame.png", "media/frames.mp4"),
        "checkpoints/last.ckpt",
    ],
)
def test_every_file_that_is_cut_short(run, name):
    cut(run / name)
    assert fault_of(run).startswith(f"{run / name}: ")


@pytest.mark.parametrize("name", ["results.json", "config.yaml", "metrics.csv", "checkpoints/last.ckpt"])
def test_every_file_that_is_gone(run, name):
    (run / name).unlink()
    assert fault_of(run) == f"{run / 'run.json'}: {run / name}: missing from the run"


@pytest.mark.parametrize(
    ("name", "key"), [("run.json", "git"), ("run.json", "data"), ("config.yaml", "seed_everything")]
)
def test_every_key_that_is_gone(run, name, key):
    path = run / name
    path.write_text(path.read_text().replace(f'"{key}":', '"other":').replace(f"{key}:", "other:"))
    assert fault_of(run) == f"{path}: the key {key!r} is missing"


def test_rows_of_results(run):
    rows = read_json(run / "results.json")
    del rows[1]["unit"]
    write_json(run / "results.json", rows)
    assert fault_of(run) == f"{run / 'results.json'}: row 1: the key 'unit' is missing"
    write_json(run / "results.json", {})
    assert "not a list of result rows" in fault_of(run)


def test_a_table_with_a_line_too_short(run):
    with (run / "metrics.csv").open("a") as file:
        file.write("1,2\n")
    assert "2 cells, expected" in fault_of(run)


def test_a_flipped_byte_in_the_weights(run):
    path = run / "checkpoints" / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert fault_of(path).startswith(f"{path}: ")
    assert fault_of(run).startswith(f"{path}: ")


def test_weights_that_are_no_numbers(run):
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(name for name, values in content["state_dict"].items() if values.is_floating_point())
    content["state_dict"][name].view(-1)[0] = torch.nan
    torch.save(content, path)
    assert fault_of(run) == f"{path}: {name} contains values that are not finite"
    del content["global_step"]
    torch.save(content, path)
    assert fault_of(path) == f"{path}: the key 'global_step' is missing"
    del content["hyper_parameters"]
    torch.save(content, path)
    assert fault_of(path) == f"{path}: not a checkpoint of `cjepa fit`: its hyper_parameters do not name a class"


def test_a_pickle_that_would_run_code_is_not_run(run, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {}, "evil": Evil()}, run / "checkpoints" / "last.ckpt")
    torch.save(Evil(), run / "predictions.pt")
    assert "not a checkpoint" in fault_of(run)
    (run / "checkpoints" / "last.ckpt").unlink()
    assert fault_of(run)
    assert not (tmp_path / "ran").exists()


def test_an_exported_run(slots_run, tmp_path):
    folder = tmp_path / "mine"
    assert main(["export", str(slots_run), "--out", str(folder)]) == 0
    assert fault_of(folder) is None
    assert fault_of(folder.parent / "mine" / "model.safetensors") is None
    cut(folder / "model.safetensors")
    assert fault_of(folder).startswith(f"{folder / 'model.safetensors'}: ")


def test_a_study_and_all_that_is_in_it(tmp_path, slots_run, episodes_path):
    home = tmp_path / "study"
    shutil.copytree(slots_run, home / "slots")
    (home / "episodes" / "episodes.h5.parts").mkdir(parents=True)
    (home / "episodes" / "episodes.h5.parts" / "half.h5").write_text("not finished, not looked at")
    shutil.copy(episodes_path, home / "episodes" / "episodes.h5")
    write_json(home / "study.json", {"name": "study", "stages": []})
    write_json(home / "results.json", [])
    assert fault_of(home) is None
    cut(home / "episodes" / "episodes.h5")
    assert fault_of(home).startswith(str(home / "episodes" / "episodes.h5"))


def test_exit_codes(run, tmp_path, capsys):
    assert main(["verify", str(run)]) == 0
    (run / "run.json").write_text("{")
    assert main(["verify", str(run)]) == 1
    out = capsys.readouterr().out
    assert "run.json" in out and "JSON" in out
    assert main(["verify", str(tmp_path / "none.ckpt")]) == 2
    assert main(["verify", str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 2
    with pytest.raises(UserError, match="expected a run folder"):
        fault_of(tmp_path / "empty")


def test_what_is_said_of_damage_is_one_line(run, capsys):
    (run / "config.yaml").write_text("a: [1\nb: }")
    assert main(["verify", str(run)]) == 1
    assert capsys.readouterr().out.count("\n") == 1
    assert json.loads((run / "run.json").read_text())
