"""One command for goals at several distances."""

import json

import pytest

from cjepa.cli import main
from cjepa.data.workers import held_in_workers
from cjepa.planning.planners.cem import CEM
from cjepa.reporting.reading import read_rows
from tests.conftest import configs


@pytest.fixture
def words(world_model_run, episodes_path) -> list[str]:
    command = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    command += ["--pairs", 2, "--num_videos", 1, "--budget_env_steps", 5, "--goal_offsets", "[25, 40]"]
    return [str(word) for word in command]


def test_a_folder_each_and_one_table(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_seconds", lambda *_: [0.1])
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_gigaflops", lambda *_: 1.0)
    search, out = CEM.plan, tmp_path / "out"
    count, shared = [], []

    def held(makers, workers):
        shared.append(workers)
        return held_in_workers(makers, 1)

    def plan(planner, *args):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return search(planner, *args)

    monkeypatch.setattr(CEM, "plan", plan)
    monkeypatch.setattr("cjepa.evaluation.planning.control.held_in_workers", held)
    assert main([*words, "--out", str(out)]) == 130
    assert main([*words, "--workers", "3", "--out", str(out)]) == 0
    assert shared == [1, 1, 3, 3]
    assert len(count) == 3  # a plan for each distance, and once more the one that was killed
    rows = read_rows(out / "results.json")
    success = {row["goal_env_steps"]: row for row in rows if row["metric"] == "success"}
    assert set(success) == {25, 40} and all(row["n"] == 2 for row in success.values())
    for distance, budget in ((25, 5), (40, 8)):
        part = out / f"goal-{distance}"
        evaluation = json.loads((part / "run.json").read_text())["evaluation"]
        assert (evaluation["goal_env_steps"], evaluation["budget_env_steps"]) == (distance, budget)
        assert read_rows(part / "results.json")[0]["value"] == success[distance]["value"]
        assert len(list((part / "media").iterdir())) == 1
    assert "goal +25" in (shown := capsys.readouterr().out) and "goal-40/trials.csv" in shown
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "Success against distance" in page and "reaches goals 25, 40 env steps ahead in" in page
    assert page.count("<video") == 2 and "plan.parts" not in {path.name for path in out.iterdir()}


def test_a_distance_beyond_every_episode_is_refused_before_the_first_plan(words, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(CEM, "plan", None)
    said = refused(*words, "--goal_offsets", "25,900", "--out", tmp_path / "out")
    assert "no held-out episode is longer than goal_env_steps = 900, the longest has " in said
    assert not (tmp_path / "out").exists()


def test_files_of_the_user_stay(words, refused, tmp_path):
    (tmp_path / "out" / "goal-40").mkdir(parents=True)
    assert "goal-40 exists and was not made by this command" in refused(*words, "--out", tmp_path / "out")


def test_a_given_goal_has_no_distance(words, refused, tmp_path):
    for goal in (["--goal_image", "goal.png"], ["--goal_state", "[1, 2, 3, 4, 5, 6, 7]"]):
        assert "a given goal has no distance in episodes; leave out --goal_offsets" in refused(
            *words, *goal, "--out", tmp_path / "out"
        )
