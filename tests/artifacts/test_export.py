"""A run as a folder to share."""

import errno
import json
import shutil

import pytest
import torch

import cjepa.checkpoints as checkpoints
from cjepa.artifacts.export import export_checkpoint
from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.training import load_tokenizer
from cjepa.world_models.loading import load_world_model


@pytest.fixture
def exported(slots_run, tmp_path):
    folder = tmp_path / "my-slots"
    assert main(["export", str(slots_run), "--out", str(folder)]) == 0
    return folder


def test_an_exported_tokenizer_is_the_same_tokenizer(exported, slots_run):
    first = load_tokenizer(slots_run / "checkpoints" / "last.ckpt")
    again = load_tokenizer(exported)
    assert fingerprint(first) == fingerprint(again)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


def test_it_is_small_and_says_what_it_is(exported, slots_run):
    assert {path.name for path in exported.iterdir()} == {
        "README.md",
        "config.json",
        "config.yaml",
        "model.safetensors",
        "results.json",
        "run.json",
    }
    assert (exported / "model.safetensors").stat().st_size < 10e6
    card = (exported / "README.md").read_text()
    record = json.loads((slots_run / "run.json").read_text())
    assert card.startswith("# my-slots") and record["data"]["fingerprint"] in card and "| fg_ari |" in card


def test_half_precision_takes_half_the_size_and_rounds_the_weights(exported, slots_run, tmp_path):
    assert main(["export", str(slots_run), "--out", str(tmp_path / "half"), "--half", "true"]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", exported)]
    assert sizes[0] < 0.6 * sizes[1]
    rounded, exact = (dict(load_tokenizer(folder).named_parameters()) for folder in (tmp_path / "half", exported))
    for name, value in exact.items():
        assert rounded[name].dtype == value.dtype and torch.equal(rounded[name], value.half().float())


def test_half_precision_leaves_scales_of_data_as_they_are(world_model_run, tmp_path):
    export_checkpoint(find_checkpoint(str(world_model_run)), tmp_path / "half", half=True)
    rounded, exact = (
        load_world_model(find_checkpoint(str(run))).dynamics for run in (tmp_path / "half", world_model_run)
    )
    buffers = dict(exact.named_buffers())
    assert any(not torch.equal(value, value.half().float()) for value in buffers.values() if value.is_floating_point())
    assert all(torch.equal(value, buffers[name]) for name, value in rounded.named_buffers())
    weights = dict(exact.named_parameters())
    assert all(torch.equal(value, weights[name].half().float()) for name, value in rounded.named_parameters())


def test_weights_that_are_too_large_for_half_precision_are_refused(slots_run, tmp_path):
    content = read_checkpoint(find_checkpoint(str(slots_run)))
    name = "tokenizer." + next(name for name, _ in load_tokenizer(slots_run).named_parameters())
    content["state_dict"][name] = content["state_dict"][name].sign() * 65_520  # what rounds to infinity
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=f"last.ckpt: {name} has values beyond 65,504.*without --half"):
        export_checkpoint(tmp_path / "last.ckpt", tmp_path / "model", half=True)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "results.json"])
def test_damaged_records_are_named_where_they_are(name, slots_run, tmp_path, capsys):
    run = shutil.copytree(slots_run, tmp_path / "run")
    (run / name).write_text("{")
    assert main(["export", str(run), "--out", str(tmp_path / "my-slots")]) == 2
    assert capsys.readouterr().err.startswith(f"cjepa export: error: {run / name}: not valid ")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_results_on_test_episodes_come_along(slots_run, tmp_path):
    run = shutil.copytree(slots_run, tmp_path / "run")
    row = {
        "metric": "fg_ari",
        "model": "my-slots",
        "value": 0.98765,
        "low": 0.9,
        "high": 0.995,
        "n": 7,
        "split": "test",
    }
    (run / "results_test.json").write_text(json.dumps([row]))
    assert main(["export", str(run), "--out", str(tmp_path / "my-slots")]) == 0
    assert "| test | fg_ari | 0.9877 [0.9, 0.995] | 7 |" in (tmp_path / "my-slots" / "README.md").read_text()
    assert json.loads((tmp_path / "my-slots" / "results_test.json").read_text()) == [row]


def test_it_is_accepted_wherever_a_run_is(exported, episodes_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", exported.parent)
    for number, name in enumerate((str(exported), "zoo:my-slots")):
        assert main(["tokenize", name, str(episodes_path), "--out", str(tmp_path / f"{number}.h5")]) == 0
    assert main(["inspect", str(exported)]) == 0
    assert "TokenizerTraining" in capsys.readouterr().out


def test_wrong_names_are_one_line(exported, episodes_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoints, "ZOO", exported.parent)
    assert main(["tokenize", "zoo:other", str(episodes_path), "--out", str(tmp_path / "t.h5")]) == 2
    assert "zoo:my-slots" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in exported.iterdir()}
    assert main(["export", str(exported), "--out", str(exported)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in exported.iterdir()} == before
    (exported / "model.safetensors").write_bytes(b"nothing")
    assert main(["tokenize", str(exported), str(episodes_path), "--out", str(tmp_path / "t.h5")]) == 2
    assert "damaged" in capsys.readouterr().err


def test_the_whole_folder_or_nothing(slots_run, tmp_path, refused, monkeypatch):
    """Into the run itself; while the disk is full; and of a checkpoint that is none."""
    run = shutil.copytree(slots_run, tmp_path / "run")
    before = sorted(run.rglob("*"))
    assert "is not an empty folder" in refused("export", run, "--out", run)
    assert sorted(run.rglob("*")) == before
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for broken in ({"state_dict": None}, {"state_dict": {"a": 1}}, {"hyper_parameters": []}):
        torch.save(content | broken, tmp_path / "broken.ckpt")
        assert "broken.ckpt: not a checkpoint" in refused("export", tmp_path / "broken.ckpt", "--out", "new")
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "full")
        patch.setattr("cjepa.artifacts.export.write_text", lambda *_: (_ for _ in ()).throw(full))
        assert "the disk is full; free some space" in refused("export", run, "--out", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "broken.ckpt"}


def test_an_exported_world_model_does_not_say_where_it_was_trained(world_model_run, tmp_path):
    folder = tmp_path / "model"
    assert main(["export", str(world_model_run), "--out", str(folder)]) == 0
    assert "run_folder" not in json.loads((folder / "config.json").read_text())
    loaded, trained = (load_world_model(checkpoints.find_checkpoint(str(run))) for run in (folder, world_model_run))
    state, expected = loaded.dynamics.state_dict(), trained.dynamics.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
