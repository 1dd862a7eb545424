"""Options of the trainer that Lightning takes and then divides by, ignores or answers with a traceback."""

import pytest

from cjepa.cli import main
from cjepa.running.trainer_options import refusal
from tests.conftest import configs
from tests.reporting.test_fit import WORLD_MODEL

WORDS = [*configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.path", "none.h5"]
WORDS += ["--trainer.accelerator", "cpu"]

NO_DEVICE = "trainer.accelerator is %s, which this machine does not have; type --trainer.accelerator auto, or cpu"
NO_DEVICES = (
    "trainer.devices is %s, expected a number of devices that this machine has, 1 or more; type --trainer.devices 1"
)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0, expected 1 or more"),
        ("--trainer.accumulate_grad_batches=-1", "trainer.accumulate_grad_batches is -1, expected 1 or more"),
        ("--trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch is 0, expected 1 or more"),
        ("--trainer.val_check_interval=0", "trainer.val_check_interval is 0, expected a finite number above 0"),
        ("--trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1.0, expected a finite number, 0 or more"),
        ("--trainer.gradient_clip_val=.nan", "trainer.gradient_clip_val is nan, expected a finite number, 0 or more"),
        ("--trainer.min_steps=-1", "trainer.min_steps is -1, expected 0 or more"),
        ("--trainer.devices=-3", NO_DEVICES % -3),
        ("--trainer.devices=0", NO_DEVICES % 0),
        ("--trainer.devices=[0, 1]", NO_DEVICES % [0, 1]),
        ("--trainer.accelerator=mps", NO_DEVICE % "mps"),
        ("--trainer.accelerator=cpuu", NO_DEVICE % "cpuu"),
        ("--trainer.max_epochs=-3", "trainer: `max_epochs` must be a non-negative integer or -1. You passed in -3."),
        ("--seed_everything=-1", "seed_everything is -1, expected 0 to 2^32 - 1"),
        ("--seed_everything=4294967296", "seed_everything is 4294967296, expected 0 to 2^32 - 1"),
    ],
)
def test_numbers_that_make_no_sense(option, line, tmp_path, capsys):
    assert main(["fit", *WORDS, "--run_dir", str(tmp_path / "run"), option]) == 2
    assert capsys.readouterr().err == f"cjepa fit: error: {line}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("No supported gpu backend found!", NO_DEVICE % "gpu"),
        ("You requested gpu: [0, 1]\n But your machine only has: [0]", NO_DEVICES % 2),
        ("`max_time` is wrong", "trainer: `max_time` is wrong"),
    ],
)
def test_what_lightning_says_of_devices_names_the_key(said, line):
    assert refusal(said, {"accelerator": "gpu", "devices": 2}) == line


@pytest.mark.parametrize("name", ["", "../outside", "/outside", "a/../../outside", "a\nb"])
def test_an_experiment_names_a_folder_below_runs(name, capsys):
    assert main(["fit", *WORDS, "--experiment", name]) == 2
    assert capsys.readouterr().err.startswith(f"cjepa fit: error: --experiment {name!r}: expected a name")


def test_fewer_clips_than_a_batch(slot_tokens, refused, tmp_path):
    words = ["--data.init_args.path", slot_tokens, "--data.init_args.batch_size=5000", "--run_dir", "new/run"]
    line = refused("fit", *WORLD_MODEL, *words, "--trainer.accelerator", "cpu")
    assert "data.init_args.batch_size is 5000, but there are only 468 training clips; set it to 468 or less" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trainer.max_steps=0"], "trainer.max_steps is 0, so nothing would be trained; set it to 1 or more"),
        (["--trainer.max_epochs=0"], "trainer.max_epochs is 0, so nothing would be trained"),
        (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches is 0, so nothing would be trained"),
        (["--trainer.enable_checkpointing=false"], "trainer.enable_checkpointing is false"),
        (["--data.init_args.batch_size=0"], "data.init_args.batch_size is 0, expected 1 or more"),
        (["--data.init_args.frame_stride=-5"], "data.init_args.frame_stride is -5, expected 1 or more"),
    ],
)
def test_a_training_that_would_leave_nothing_is_refused(words, told, slot_tokens, refused, tmp_path):
    common = ["--data.init_args.path", slot_tokens, "--run_dir", "new/run", "--trainer.accelerator", "cpu"]
    assert told in refused("fit", *WORLD_MODEL, *common, *words)
    assert list(tmp_path.iterdir()) == []


def test_fast_dev_run_points_nowhere(slot_tokens, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data.init_args.path", str(slot_tokens), "--trainer.accelerator", "cpu", "--trainer.fast_dev_run=1"]
    assert main(["fit", *WORLD_MODEL, *words, "--trainer.enable_progress_bar", "false"]) == 0
    assert capfd.readouterr().out == "fast_dev_run: it runs; nothing was written\n"
    assert list(tmp_path.iterdir()) == []
