"""A run has one process at a time; files and loggers of the user are left alone."""

import json
from datetime import datetime

import pytest
from lightning.pytorch.callbacks import Callback

from cjepa.cli import main
from cjepa.files import names_in
from cjepa.locks import only_process
from cjepa.running import run_folders
from tests.conftest import fit
from tests.reporting.test_fit import WORLD_MODEL, checkpoint_of
from tests.running.conftest import RECORDS, resume


def test_a_run_has_one_process(run, slot_tokens, refused):
    words = ["--data.init_args.path", slot_tokens, "--run_dir", run]
    last = run / "checkpoints" / "last.ckpt"
    before = {name: (run / name).read_bytes() for name in RECORDS}
    with only_process(run, "cjepa fit"):
        for more in (["fit", "-c", run / "config.yaml", *words, "--ckpt_path", last], ["test", run]):
            assert f"{run}: cjepa {more[0]} already runs" in refused(*more)
    assert {name: (run / name).read_bytes() for name in RECORDS} == before
    resume(run, slot_tokens)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "results.json"])
def test_files_of_the_user_stay(name, slot_tokens, world_model_run, refused, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("of the user")
    for words in (["fit", *WORLD_MODEL, "--data.init_args.path", slot_tokens], ["test", world_model_run]):
        assert f"{mine / name} exists and was not made by this command" in refused(*words, "--run_dir", mine)
    assert [path.name for path in mine.iterdir()] == [name] and (mine / name).read_text() == "of the user"


class Stumbles(Callback):
    """Fails as an own callback may, before the first step."""

    def on_train_start(self, trainer, pl_module):
        raise ZeroDivisionError("of the user's own")


@pytest.mark.parametrize("was_there", [True, False])
def test_a_fit_that_fails_before_its_first_step_leaves_nothing(was_there, slot_tokens, tmp_path):
    run = tmp_path / "run"
    if was_there:
        run.mkdir()
        (run / "notes.txt").write_text("of the user")
    words = ["--data.init_args.path", str(slot_tokens), "--run_dir", str(run)]
    with pytest.raises(ZeroDivisionError):
        main(["fit", *WORLD_MODEL, *words, f"--trainer.callbacks+={__name__}.Stumbles"])
    assert names_in(tmp_path) == ({"run"} if was_there else set()) and names_in(run) <= {"notes.txt"}


def test_a_root_of_the_user_is_not_the_runs_folder(tmp_path, slot_tokens):
    """The model remembers its own folder: from there its tokenizer is found when both have moved."""
    run = fit(tmp_path / "run", slot_tokens, *WORLD_MODEL, "--trainer.default_root_dir", str(tmp_path / "root"))
    assert checkpoint_of(run)["run_folder"] == str(run)


def test_loggers_of_the_user_are_beside_ours(tmp_path, slot_tokens):
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path / "logs")}}
    words = ["--trainer.logger", json.dumps(logger), "--trainer.log_every_n_steps=1"]
    run = fit(tmp_path / "run", slot_tokens, *WORLD_MODEL, *words)
    assert (run / "metrics.csv").is_file() and list(run.glob("events.out.*"))
    (theirs,) = (tmp_path / "logs").rglob("metrics.csv")
    assert "train/loss" in theirs.read_text()
    quiet = fit(tmp_path / "quiet", slot_tokens, *WORLD_MODEL, "--trainer.logger", "false")
    assert (quiet / "metrics.csv").is_file() and not list(quiet.glob("events.out.*"))


def test_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(run_folders, "datetime", Stopped)
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        folder = run_folders.new_run_dir("a/b", 7)
        folder.mkdir(parents=True)
        names.append(str(folder))
    assert names == [f"runs/a/b/20260102-030405_seed7{more}" for more in ("", "-2", "-3")]
