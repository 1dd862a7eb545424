"""One command for several planner seeds, and for an environment that differs from its episodes."""

import json

import pytest

from cjepa.cli import main
from cjepa.commands.parts import Evaluated, PartFolders
from cjepa.reporting.reading import read_rows
from cjepa.reporting.records import result_row
from cjepa.reporting.tables import by_model
from tests.conftest import configs


@pytest.fixture
def words(world_model_run, episodes_path, monkeypatch) -> list[str]:
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_seconds", lambda *_: [0.1])
    command = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    command += ["--pairs", 2, "--num_videos", 0, "--budget_env_steps", 5, "--model_name", "toy"]
    return [str(word) for word in command]


def success_of(folder) -> list[dict]:
    return [row for row in read_rows(folder / "results.json") if row["metric"] == "success"]


def test_seeds_share_pairs_and_a_row(words, tmp_path, capsys):
    assert main([*words, "--seeds", "[4, 7]", "--out", str(tmp_path / "out")]) == 0
    tables = [(tmp_path / "out" / f"seed-{seed}" / "trials.csv").read_text().splitlines() for seed in (4, 7)]
    starts = [[row.split(",")[1:4] for row in table] for table in tables]
    assert starts[0] == starts[1] and len(starts[0]) == 3 and tables[0] != tables[1]
    (row,) = success_of(tmp_path / "out")
    assert (row["model"], row["n"], row["seed"], row["run"]) == ("toy", 4, None, "out")
    assert {row["metric"] for row in read_rows(tmp_path / "out" / "results.json")} > {
        "success_seed_4",
        "success_seed_7",
    }
    shown = capsys.readouterr().out
    assert "toy, seed 4" in shown and "toy, seed 7" in shown and "seed-7/trials.csv" in shown


def test_all_parts_are_compared_or_none_is_planned(words, refused, tmp_path):
    """The first part has a rival, the second has none."""
    (tmp_path / "earlier" / "seed-4").mkdir(parents=True)
    (tmp_path / "earlier" / "seed-4" / "trials.csv").touch()
    line = refused(*words, "--seeds", "[4, 7]", "--out", tmp_path / "out", "--against", tmp_path / "earlier")
    assert f"--against: {tmp_path}/earlier/seed-7/trials.csv does not exist" in line
    assert not (tmp_path / "out").exists()


def test_a_shift_stands_beside_the_episodes_as_they_are(words, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*words, "--shift", "size", "--out", str(out)]) == 0
    assert [(row["model"], row["split"], row["n"]) for row in success_of(out)] == [
        ("toy", "test", 2),
        ("toy (shift: size)", "shift: size", 2),
    ]
    parts = [out / name for name in ("as-recorded", "shift-size")]
    shifts = [json.loads((part / "run.json").read_text())["evaluation"]["shift"] for part in parts]
    assert shifts == [None, "size"]
    assert "toy (shift: size)" in capsys.readouterr().out
    again = [*words, "--out", str(tmp_path / "again"), "--against", str(parts[1])]
    assert main(again) == 2
    assert "shift is size, but that of this evaluation is None; use the same --shift" in capsys.readouterr().err


def test_a_shift_that_there_is_not_is_refused_before_anything_is_planned(words, refused, tmp_path):
    wrong = refused(*words, "--shift", "gravity", "--out", tmp_path / "out")
    assert "--shift gravity: cjepa/PushT-v0 offers colours, background, size, mass, friction" in wrong
    assert not (tmp_path / "out").exists()
    given = refused(*words, "--shift", "size", "--goal_image", "goal.png", "--out", tmp_path / "out")
    assert "--shift: goals and sub-goals that are given do not change with it" in given


def test_a_goal_picture_tells_no_success_to_compare(words, refused, tmp_path):
    line = refused(*words, "--goal_image", "goal.png", "--against", tmp_path, "--out", tmp_path / "out")
    assert "--against compares success, which a goal picture does not tell; give its --goal_state too" in line


def test_parts_of_the_same_name_in_two_evaluations_are_two_runs(tmp_path):
    """Else a table of seeds of a model would show the last one alone."""
    rows = []
    for name, rate in (("plan-0", 0.2), ("plan-1", 0.8)):
        of_part = result_row("success", rate, model="toy", n=10, unit="rate", seed=0, split="test", run="goal-25")
        rows += PartFolders(tmp_path / name).run("goal-25", lambda _, row=of_part: Evaluated([row], None, {})).rows
    merged = by_model(rows, "success")["toy"]
    assert (merged["runs"], merged["n"], merged["value"]) == (2, 20, pytest.approx(0.5))
