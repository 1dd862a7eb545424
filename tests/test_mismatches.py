"""Files that are there but do not go together are refused, and what was there stays."""

import shutil
from pathlib import Path

import h5py
import pytest

from cjepa.cli import main
from cjepa.files import write_json
from cjepa.locks import only_process
from cjepa.planning.planners.cem import CEM
from cjepa.world_models.loading import load_world_model
from tests.conftest import FEW_FRAMES, configs, fit
from tests.sharing import once

TOKENIZER = configs("pusht/tokenizer.yaml")
WORLD_MODEL = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
PLAN = configs("pusht/plan.yaml", "smoke/plan.yaml")
TINY_CEM = [
    *("--planner.class_path", f"{CEM.__module__}.CEM", "--planner.init_args.num_samples", "4"),
    *("--planner.init_args.iterations", "1", "--planner.init_args.num_elites", "2"),
]


def state_of(folder: Path) -> dict[str, tuple]:
    """Every file with its size and time."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def other_slots_run(tmp_path_factory, episodes_path) -> Path:
    """A tokenizer's run like that of the other tests, with another seed."""
    words = [*TOKENIZER, *FEW_FRAMES, "--seed_everything=7"]
    return once(tmp_path_factory, "slots-7", lambda folder: fit(folder, episodes_path, *words))


def test_existing_files_stay(refused, tmp_path, slots_run, episodes_path):
    kept = tmp_path / "kept.h5"
    kept.write_text("mine")
    before = state_of(tmp_path)
    assert "kept.h5 already exists" in refused("collect", *configs("pusht/collect.yaml"), "--out", kept)
    assert "kept.h5 already exists" in refused("tokenize", slots_run, episodes_path, "--out", kept)
    assert state_of(tmp_path) == before


def test_a_run_is_not_trained_over(refused, world_model_run, slot_tokens):
    before = state_of(world_model_run)
    words = ["--data.init_args.path", slot_tokens, "--run_dir", world_model_run]
    line = refused("fit", *WORLD_MODEL, *words)
    assert "already contains a run" in line and "--ckpt_path" in line
    assert state_of(world_model_run) == before


@pytest.mark.parametrize("name", ["results.json", "results_test.json"])
def test_results_of_other_commands_are_not_trained_over(name, refused, tmp_path, slot_tokens):
    with only_process(tmp_path / "out", "an earlier command"):
        write_json(tmp_path / "out" / name, [])
    before = state_of(tmp_path)
    line = refused("fit", *WORLD_MODEL, "--data.init_args.path", slot_tokens, "--run_dir", tmp_path / "out")
    assert f"{tmp_path / 'out' / name} is of another command; choose another --run_dir" in line
    assert state_of(tmp_path) == before


def test_tests_are_not_written_beside_results_of_other_commands(refused, tmp_path, world_model_run):
    with only_process(tmp_path / "out", "an earlier command"):
        write_json(tmp_path / "out" / "results.json", [])
    before = state_of(tmp_path)
    line = refused("test", world_model_run, "--run_dir", tmp_path / "out", "--trainer.accelerator=cpu")
    assert "results.json is of another command" in line
    assert state_of(tmp_path) == before


def test_tokens_of_another_tokenizer(refused, tmp_path, episodes_path, other_slots_run, world_model_run, slot_tokens):
    tokens = tmp_path / "other.h5"
    assert main(["tokenize", str(other_slots_run), str(episodes_path), "--out", str(tokens)]) == 0
    found, expected = (h5py.File(path).attrs["tokenizer_fingerprint"] for path in (tokens, slot_tokens))
    run = shutil.copytree(world_model_run, tmp_path / "run")
    before = state_of(run)
    words = ["-c", run / "config.yaml", "--run_dir", run, "--data.init_args.path", tokens, "--trainer.accelerator=cpu"]
    line = refused("fit", *words, "--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert found in line and expected in line
    after = state_of(run)
    assert {path for path in before if after[path] != before[path]} <= {str(run / "hparams.yaml")}


def test_a_tokenizer_that_changed_is_refused_by_plan(refused, tmp_path, slots_run, other_slots_run, episodes_path):
    """The world model names the tokenizer's checkpoint; that file is then trained anew with another seed."""
    made = tmp_path / "made"
    slots, tokens, model = made / "slots", made / "tokens.h5", made / "model"
    shutil.copytree(slots_run, slots)
    assert main(["tokenize", str(slots), str(episodes_path), "--out", str(tokens)]) == 0
    fit(model, tokens, *WORLD_MODEL)
    moved = tmp_path / "moved"
    made.rename(moved)
    slots, model = moved / "slots", moved / "model"
    assert load_world_model(model / "checkpoints" / "last.ckpt").tokenizer.num_slots == 2  # moved with the model
    model.rename(tmp_path / "alone")
    slots.parent.rename(made)
    assert load_world_model(tmp_path / "alone" / "checkpoints" / "last.ckpt").tokenizer.num_slots == 2  # where it was
    slots, model = made / "slots", tmp_path / "alone"
    (slots / "checkpoints").rename(tmp_path / "gone")
    line = refused("plan", model, *PLAN, "--episodes", episodes_path)
    places = [folder / "checkpoints" / "last.ckpt" for folder in (tmp_path / "slots", slots)]
    assert f"no such checkpoint of its tokenizer: {places[0]} or {places[1]}" in line
    shutil.copytree(other_slots_run / "checkpoints", slots / "checkpoints")
    assert "tokenize again" in refused("plan", model, *PLAN, "--episodes", episodes_path)


def test_checkpoints_of_another_model(refused, tmp_path, slots_run, world_model_run, slot_tokens, episodes_path):
    assert "not a world model" in refused("plan", slots_run, *PLAN, "--episodes", episodes_path)
    assert "not a tokenizer" in refused("tokenize", world_model_run, episodes_path, "--out", "tokens.h5")
    line = refused("fit", *WORLD_MODEL, "--ckpt_path", slots_run / "checkpoints" / "last.ckpt")
    assert "TokenizerTraining" in line and "WorldModel" in line
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_token_dim(refused, slot_tokens):
    words = ["--data.init_args.path", slot_tokens, "--trainer.accelerator", "cpu"]
    line = refused("fit", *WORLD_MODEL, *words, "--model.init_args.predictor.init_args.token_dim", "7")
    assert "token_dim is 7" in line and "set it to" in line


def test_the_wrong_frame_stride(refused, world_model_run, episodes_path):
    words = ["--episodes", episodes_path, "--out", "plan", *TINY_CEM]
    assert "frame_stride 4" in refused("plan", world_model_run, *PLAN, *words, "--frame_stride", "4")


def test_a_grid_that_does_not_fit(refused, slots_run, episodes_path):
    assert "grid of 5" in refused("tokenize", slots_run, episodes_path, "--out", "tokens.h5", "--patch_grid", "5")


def test_files_of_the_wrong_kind(refused, slots_run, world_model_run, slot_tokens, episodes_path):
    assert "cjepa tokenize" in refused("fit", *WORLD_MODEL, "--data.init_args.path", episodes_path)
    assert "pixels" in refused("fit", *TOKENIZER, "--data.init_args.path", slot_tokens)
    assert "pixels" in refused("tokenize", slots_run, slot_tokens, "--out", "tokens.h5")
