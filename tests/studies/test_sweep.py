"""Which cells a sweep has, and the study that it becomes."""

from pathlib import Path

import pytest
import yaml

from cjepa.errors import UserError
from cjepa.studies.definition import load_study
from cjepa.studies.sweep import Experiment, cells_of, command_of, stage_name, sweep_study

LOG = {"low": 1e-4, "high": 1e-2, "log": True}


def test_a_grid_is_every_combination_the_last_option_fastest():
    over = {"a.lr": LOG | {"steps": 3}, "depth": [2, 4], "n": {"low": 1, "high": 4, "steps": 3}}
    cells = cells_of(over, None, 0)
    assert len(cells) == 18 and cells[0] == {"a.lr": 1e-4, "depth": 2, "n": 1}
    assert [cell["n"] for cell in cells[:3]] == [1, 2, 4]  # 2.5 is rounded to the even number
    assert list(dict.fromkeys(cell["a.lr"] for cell in cells)) == [1e-4, 1e-3, 1e-2]


def test_draws_are_in_their_ranges_different_and_begin_alike():
    over = {"lr": LOG, "x": {"low": -1, "high": 1.0}, "depth": {"low": 2, "high": 6}, "mask": ["a", "b"]}
    cells = cells_of(over, 40, 0)
    assert cells[:7] == cells_of(over, 7, 0) and cells[:7] != cells_of(over, 7, 1)
    assert all(1e-4 <= cell["lr"] <= 1e-2 and -1 <= cell["x"] <= 1 for cell in cells)
    assert {cell["depth"] for cell in cells} == {2, 3, 4, 5, 6} and {cell["mask"] for cell in cells} == {"a", "b"}
    assert 12 <= sum(cell["lr"] < 1e-3 for cell in cells) <= 28  # half of them, on a logarithmic scale
    few = cells_of({"mask": ["a", "b"], "depth": [1, 2]}, 4, 0)
    assert sorted(cell["mask"] + str(cell["depth"]) for cell in few) == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize(
    ("over", "samples", "said"),
    [
        ({}, None, "no option to vary"),
        ({"lr": 1}, None, "--over.lr: 1, expected a list of values or a range"),
        ({"lr": []}, None, "expected a list of different values"),
        ({"lr": [1, 1]}, None, "expected a list of different values"),
        ({"lr": LOG}, None, "steps is None, expected 2 or more for a grid"),
        ({"lr": LOG | {"low": 0}}, 3, "low is 0, expected a number above 0"),
        ({"lr": {"low": 2, "high": 1}}, 3, "low is 2 and high is 1"),
        ({"lr": {"low": "a", "high": 1}}, 3, "low is a and high is 1"),
        ({"lr": [1, 2]}, 3, "--over has only 2 different combinations"),
        ({"a": list(range(40)), "b": list(range(40))}, None, "more than 1,000 combinations"),
        ({"lr": LOG}, 1001, "at most 1,000"),
    ],
)
def test_wrong_values_are_named(over, samples, said):
    with pytest.raises(UserError) as refused:
        cells_of(over, samples, 0)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_sweep_is_a_study(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("seed_everything: 0\n")
    home = tmp_path / "runs" / "lr"
    home.mkdir(parents=True)
    experiment = Experiment([config], {"data.path": "x.h5"}, None)
    cells = cells_of({"model.lr": [0.001, 0.01]}, None, 0)
    (home / "sweep.yaml").write_text(
        yaml.safe_dump(sweep_study("lr", experiment, cells, [0, 1], home), sort_keys=False)
    )
    study = load_study(home / "sweep.yaml")
    folders = {stage.name: home / stage.name for stage in study.stages}
    assert sorted(folders) == sorted(f"lr-{lr}-seed-{seed}" for lr in (0.001, 0.01) for seed in (0, 1))
    argv = next(s.argv({"self": folders[s.name]}) for s in study.stages if s.name == "lr-0.01-seed-1")
    assert argv[:2] == ["fit", "-c"] and argv[3:7] == ["--data.path", "x.h5", "--model.lr", "0.01"]
    assert argv[7:] == ["--seed_everything", "1", "--run_dir", str(home / "lr-0.01-seed-1")]
    assert (home / study.stages[0].configs[0]).resolve() == config


def test_planning_is_swept_on_validation_pairs_only(tmp_path):
    experiment = Experiment([tmp_path / "plan.yaml"], {"episodes": "x.h5"}, "runs/a")
    stages = sweep_study("plan", experiment, [{"planner.num": 4}], [3], tmp_path)["stages"]
    (name, stage), *_ = stages.items()
    assert stage["command"] == "plan" and stage["positional"] == ["runs/a"]
    assert stage["args"]["split"] == "val" and stage["args"]["model_name"] == name and stage["args"]["seed"] == 3
    line = command_of(experiment, {"planner.num": 4})
    assert line == f"cjepa plan runs/a -c {tmp_path}/plan.yaml --episodes x.h5 --planner.num 4"


@pytest.mark.parametrize(
    ("options", "cell", "seeds", "run", "said"),
    [
        ({"lr": 1}, {"lr": 2}, [0], None, "--options.lr: --over varies it"),
        ({"seed_everything": 1}, {"lr": 2}, [0], None, "give --seeds instead"),
        ({}, {"run_dir": "x"}, [0], None, "run_dir: a sweep sets it"),
        ({"split": "test"}, {"n": 2}, [0], "runs/a", "split: a sweep plans validation pairs"),
        ({}, {"lr": 2}, [0, 0], None, "--seeds: [0, 0], expected different numbers"),
    ],
)
def test_options_that_a_sweep_sets_itself_are_refused(tmp_path, options, cell, seeds, run, said):
    with pytest.raises(UserError) as refused:
        sweep_study("s", Experiment([], options, run), [cell], seeds, tmp_path)
    assert said in str(refused.value)


def test_names_of_cells_are_plain_words_and_tell_cells_apart():
    assert stage_name({"model.lr": 0.01, "depth": 2}, 1) == "lr-0.01-depth-2-seed-1"
    odd = [{"a.lr": 1, "b.lr": 2}, {"a.lr": 2, "b.lr": 1}, {"x": [1, 2]}, {"x": "a/b"}, {"x": "y" * 90}]
    names = {stage_name(cell, 0) for cell in odd}
    assert len(names) == 5 and all(name.startswith("cell-") and len(name) < 100 for name in names)


def test_names_of_stages_are_those_that_a_study_takes():
    assert stage_name({"data.name": "größe"}, 0).startswith("cell-")
    with pytest.raises(UserError, match="--name größe: expected a plain word"):
        sweep_study("größe", Experiment([], {}, None), [{"lr": 1}], [0], Path("runs"))
