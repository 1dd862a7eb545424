"""Options of the trainer that Lightning takes and then divides by, ignores or answers with a traceback."""

import pytest

from cjepa.cli import main
from tests.conftest import configs

WORDS = [*configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.path", "none.h5"]
WORDS += ["--trainer.accelerator", "cpu"]


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
        ("--trainer.devices=-3", "trainer: `devices` selected with `CPUAccelerator` should be an int > 0."),
        ("--seed_everything=-1", "seed_everything is -1, expected 0 to 2^32 - 1"),
        ("--seed_everything=4294967296", "seed_everything is 4294967296, expected 0 to 2^32 - 1"),
    ],
)
def test_numbers_that_make_no_sense(option, line, tmp_path, capsys):
    assert main(["fit", *WORDS, "--run_dir", str(tmp_path / "run"), option]) == 2
    assert capsys.readouterr().err == f"cjepa fit: error: {line}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["", "../outside", "/outside", "a/../../outside", "a\nb"])
def test_an_experiment_names_a_folder_below_runs(name, capsys):
    assert main(["fit", *WORDS, "--experiment", name]) == 2
    assert capsys.readouterr().err.startswith(f"cjepa fit: error: --experiment {name!r}: expected a name")
