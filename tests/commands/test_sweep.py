"""`cjepa sweep` runs every cell once, goes on where it stopped, and shows the cells best first."""

import json

import pytest

from cjepa.cli import main
from cjepa.commands import sweep
from cjepa.errors import UserError
from cjepa.studies.executors import Executor
from tests.studies.fakes import Ended, done, failure


class Trainings(Executor):
    """Instead of a training, an error that is the square of its learning rate and its seed's hundredth more."""

    ran: list[list[str]] = []
    failing = ""

    def option_faults(self, lines):
        return ["" if "--model.lr" in line else "no such option" for line in lines]

    def start(self, words, share, output=None):
        options = dict(zip(words[3::2], words[4::2], strict=True))
        self.ran.append(words)
        value = float(options["--model.lr"]) ** 2 + 0.01 * int(options["--seed_everything"])
        row = {"metric": "rollout_error@5", "value": value, "model": "m", "split": "val"}
        with open(f"{options['--run_dir']}/results.json", "w") as file:
            json.dump([row], file)
        if options["--model.lr"] == self.failing:  # after its results were written
            return Ended(failure(UserError("model.lr is too large")))
        return Ended(done())


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "LocalProcesses", Trainings)
    monkeypatch.setattr(Trainings, "ran", [])
    (tmp_path / "toy.yaml").write_text("model: {lr: 1}\n")
    return Trainings


WORDS = ["sweep", "toy.yaml", "--over.model.lr", "[0.5, 0.1, 2.0]"]


def test_cells_are_ranked_and_finished_ones_reused(trainings, tmp_path, capsys):
    assert main([*WORDS, "--seeds", "[0, 1]"]) == 0
    shown = capsys.readouterr().out
    assert len(trainings.ran) == 6 and "best: lr 0.1, by the lowest rollout_error@5 of validation episodes" in shown
    table = shown[shown.index("lr   rollout_error@5 (val)") :].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["0.1", "0.5", "2.0"] and table[1].split()[1] == "0.015"
    assert "next: cjepa test runs/sweeps/toy/lr-0.1-seed-0" in shown
    assert (tmp_path / "runs" / "sweeps" / "toy" / "sweep.html").is_file()
    assert main([*WORDS, "--seeds", "[0, 1, 2]"]) == 0
    assert len(trainings.ran) == 9  # one more seed of each


def test_options_of_all_cells_reach_them_each_with_its_type(trainings):
    shared = ["--options.trainer.max_steps=2", "--options.trainer.val_every", "1e-1", "--options.data.path", "a.h5"]
    assert main(["sweep", "toy.yaml", "--over.model.lr=[1e-1]", "--over.model.depth", "[2]", *shared]) == 0
    ((*_, first),) = [trainings.ran]
    options = dict(zip(first[3::2], first[4::2], strict=True))
    assert options.pop("--run_dir").endswith("lr-0.1-depth-2-seed-0")
    expected = {"--trainer.max_steps": "2", "--trainer.val_every": "0.1", "--data.path": "a.h5"}
    assert options == expected | {"--model.lr": "0.1", "--model.depth": "2", "--seed_everything": "0"}


def test_a_failed_cell_is_told_and_the_others_are_ranked(trainings, monkeypatch, capsys):
    monkeypatch.setattr(trainings, "failing", "2.0")
    assert main(WORDS) == 1
    shown = capsys.readouterr().out
    assert "model.lr is too large" in shown and "1 of 3 runs have no value of rollout_error@5" in shown
    assert "best: lr 0.1" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "none.yaml", "--over.lr", "[1]"], "none.yaml: no such experiment"),
        (
            ["sweep", "named.yaml", "--over.lr", "1", "2e-1"],
            "2e-1: not a YAML file; type brackets around several values",
        ),
        (
            ["sweep", "-c", "named.yaml", "--over.lr", "[1]"],
            "named.yaml: experiment is 'toy', expected a list; -c takes",
        ),
        ([*WORDS, "--seeds", "[0, 0]"], "--seeds: [0, 0]"),
        ([*WORDS, "--options.model.lr", "1"], "--options.model.lr: --over varies it"),
        ([*WORDS, "--options.lr"], "--options.lr: no value"),
        (["sweep", "toy.yaml", "--over.model.rate", "[1, 2]"], "stages rate-1-seed-0, rate-2-seed-0: no such option"),
        ([*WORDS, "--options.lr", "[1"], "--options.lr: '[1' is not YAML"),
        (
            ["sweep", "plan.yaml", "--run", "runs/m", "--over.n", "[1, 2]", "--options.goal_offsets", "[25, 50]"],
            "goal_offsets: a sweep ranks cells by goals of one distance",
        ),
        ([*WORDS, "--name", "a/b"], "--name a/b: expected a plain word"),
    ],
)
def test_refusals_train_and_write_nothing(trainings, tmp_path, capsys, words, said):
    (tmp_path / "named.yaml").write_text("experiment: toy\nmodel: {lr: 1}\n")
    (tmp_path / "plan.yaml").write_text("pairs: 4\n")
    assert main(words) == 2
    assert said in capsys.readouterr().err and not trainings.ran and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "run", "expected"),
    [
        ("pairs: 4", None, "toy.yaml: not a training, it has no model; to sweep planning, add --run RUN"),
        ("stages: {}", None, "toy.yaml: a study; give a YAML file of a training, or one of planning with --run RUN"),
        (
            "goal_offsets: [25, 50]",
            "runs/m",
            "goal_offsets: a sweep ranks cells by goals of one distance; give goal_env_steps instead",
        ),
        ("model: {lr: 1}", "runs/m", "toy.yaml: a training, which --run runs/m does not plan with; leave --run out"),
    ],
)
def test_yamls_of_another_kind_are_refused_before_anything_runs(trainings, tmp_path, capsys, text, run, expected):
    (tmp_path / "toy.yaml").write_text(text)
    assert main([*WORDS, *([] if run is None else ["--run", run])]) == 2
    assert capsys.readouterr().err == f"cjepa sweep: error: {expected}\n"
    assert not trainings.ran and not (tmp_path / "runs").exists()


def test_cells_that_fail_alike_share_a_line(trainings, monkeypatch, capsys):
    monkeypatch.setattr(trainings, "start", lambda *_: Ended(failure(UserError("no such data"))))
    assert main([*WORDS, "--seeds", "[0, 1]"]) == 2
    names = "lr-0.5-seed-0, lr-0.5-seed-1, lr-0.1-seed-0"
    assert capsys.readouterr().err == f"cjepa sweep: error: stages {names} and 3 more failed: no such data\n"
