"""A run that was stopped goes on as if it had not been, and a finished one stays as it is."""

import shutil

import pytest
import torch

from cjepa.cli import main
from cjepa.files import read_json
from cjepa.world_models.training import WorldModel
from tests.reporting.test_fit import WORLD_MODEL, checkpoint_of, fit_with
from tests.running.conftest import MORE, RECORDS, resume


@pytest.fixture
def seen(monkeypatch) -> list[float]:
    """One number a training batch that the world model was shown."""
    step, sums = WorldModel.training_step, []

    def watched(module, batch, batch_idx):
        sums.append(float(batch[0].double().sum()))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(WorldModel, "training_step", watched)
    return sums


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ([], [2]),
        (["--trainer.limit_train_batches=3"], [2, 3]),
        (["--trainer.limit_train_batches=0.1"], [1, 3]),
        (["--trainer.limit_train_batches=3", "--trainer.accumulate_grad_batches=2"], [1, 2]),
    ],
)
def test_a_longer_training_goes_on_with_the_clips_that_come_next(options, stops, tmp_path, slot_tokens, seen):
    """From the middle of an epoch and from its end; epochs of three batches are steps of two batches and of one."""
    words = ["--data.init_args.batch_size=16", "--trainer.limit_val_batches=0", "--trainer.precision=32-true"]
    words += ["--model.init_args.warmup_steps=1", *options]
    whole = fit_with(tmp_path / "whole", slot_tokens, [*words, "--trainer.max_steps=6"])
    expected = seen.copy()
    for first in stops:
        seen.clear()
        run = fit_with(tmp_path / f"run{first}", slot_tokens, [*words, f"--trainer.max_steps={first}"])
        last = run / "checkpoints" / "last.ckpt"
        fit_with(run, slot_tokens, [*words, "--trainer.max_steps=6", "--ckpt_path", str(last)])
        assert seen == expected
    assert len(set(expected)) == len(expected) == (9 if "--trainer.accumulate_grad_batches=2" in options else 6)
    assert checkpoint_of(whole)["global_step"] == checkpoint_of(run)["global_step"] == 6


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_training_that_breaks_off_ends_with_the_weights_of_one_that_did_not(
    accumulated, tmp_path, slot_tokens, monkeypatch
):
    """To the bit, from the checkpoint of the last validation; with its optimiser, schedule, masks and clips."""
    words = ["--data.init_args.batch_size=16", "--trainer.precision=32-true", "--trainer.max_steps=6"]
    words += ["--trainer.limit_train_batches=4", "--trainer.val_check_interval=2", "--trainer.limit_val_batches=1"]
    words += ["--model.init_args.warmup_steps=1", f"--trainer.accumulate_grad_batches={accumulated}"]
    expected = checkpoint_of(fit_with(tmp_path / "whole", slot_tokens, words))

    step = WorldModel.training_step

    def breaks_off(module, batch, batch_idx):
        if module.global_step == 5:
            raise RuntimeError("breaks off")
        return step(module, batch, batch_idx)

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(WorldModel, "training_step", breaks_off)
        with pytest.raises(RuntimeError, match="breaks off"):
            fit_with(run, slot_tokens, words)
    last = run / "checkpoints" / "last.ckpt"
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 6
    found = checkpoint_of(fit_with(run, slot_tokens, [*words, "--ckpt_path", str(last)]))
    assert found["global_step"] == expected["global_step"] == 6
    assert all(torch.equal(found["state_dict"][name], value) for name, value in expected["state_dict"].items())


def test_a_finished_run_stays_as_it_is_and_says_so(run, slot_tokens, capsys):
    before = {name: (run / name).read_bytes() for name in RECORDS}
    resume(run, slot_tokens)
    line = "nothing was trained: the checkpoint is at step 2 and trainer.max_steps is 2; "
    assert f"{line}to train further, type a larger --trainer.max_steps\n" in capsys.readouterr().out
    assert {name: (run / name).read_bytes() for name in RECORDS} == before and read_json(run / "results.json")


def test_a_finished_run_is_not_continued_into_a_folder_without_a_checkpoint(run, slot_tokens, refused, tmp_path):
    words = ["fit", "-c", run / "config.yaml", "--data.init_args.path", slot_tokens, "--trainer.accelerator", "cpu"]
    words += ["--trainer.enable_progress_bar", "false", "--ckpt_path", run / "checkpoints" / "last.ckpt"]
    assert "nothing was trained: the checkpoint is at step 2 and" in refused(*words, "--run_dir", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_results_that_a_kill_prevented_are_made(run, slot_tokens, slots_run, episodes_path, tmp_path):
    rows = read_json(run / "results.json")
    slots = shutil.copytree(slots_run, tmp_path / "slots")
    expected = {row["metric"]: row["value"] for row in read_json(slots / "results.json")}
    for killed in (run, slots):
        (killed / "results.json").unlink()
        (killed / "run.json").unlink()
    resume(run, slot_tokens)
    assert read_json(run / "results.json") == [row | {"model": "run", "run": "run"} for row in rows]
    resume(slots, episodes_path)
    values = {row["metric"]: row["value"] for row in read_json(slots / "results.json")}
    assert values == {name: pytest.approx(value, rel=0.05, abs=0.05) for name, value in expected.items()}
    assert read_json(slots / "run.json")["model"]["optimizer_steps"] == 2


def test_the_seconds_of_all_parts_add_up(run, slot_tokens):
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["callbacks"]["RunRecord"] = {"seconds": 1000.0}
    torch.save(content, last)
    resume(run, slot_tokens, MORE)
    record = read_json(run / "run.json")
    assert 1000 < record["seconds"] < 1500 and record["model"]["optimizer_steps"] == 4


def test_a_kill_before_the_first_last_checkpoint_leaves_a_way_on(run, slot_tokens, refused):
    """Of a run with a ModelCheckpoint of the user's, whose file came first."""
    best = run / "checkpoints" / "best.ckpt"
    (run / "checkpoints" / "last.ckpt").rename(best)
    line = refused("fit", *WORLD_MODEL, "--data.init_args.path", slot_tokens, "--run_dir", run)
    assert f"continue it with --ckpt_path {best}" in line
    words = ["--data.init_args.path", slot_tokens, "--run_dir", run, "--trainer.accelerator", "cpu", MORE]
    words += ["--trainer.enable_progress_bar", "false", "--ckpt_path", best, "--data.init_args.batch_size=8"]
    assert main([str(word) for word in ["fit", *WORLD_MODEL, *words]]) == 0
    assert checkpoint_of(run)["global_step"] == 4


def test_a_continued_run_has_each_step_once(run, slot_tokens):
    rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join([*rows, rows[-1], rows[1]]) + "\n")
    resume(run, slot_tokens, MORE)
    header, *rows = (line.split(",") for line in (run / "metrics.csv").read_text().splitlines())
    assert [row[header.index("step")] for row in rows] == ["0", "1", "2", "3"]
