"""Goals that are given: a state of the environment, or a picture."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from cjepa.cli import main
from cjepa.envs.pusht.env import PushT
from tests.conftest import configs

GOAL = [100.0, 120.0, 300.0, 280.0, 1.0, 0.0, 0.0]


def picture_of(state: list[float]) -> np.ndarray:
    env = PushT()
    env.set_state(np.array(state))
    return env.render_pixels()


@pytest.fixture(scope="module")
def goal_png(tmp_path_factory):
    path = tmp_path_factory.mktemp("goals") / "goal.png"
    Image.fromarray(picture_of(GOAL)).save(path)
    return path


@pytest.fixture
def words(world_model_run, episodes_path, tmp_path) -> list[str]:
    """A small evaluation; the goal is to be added."""
    command = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    command += ["--pairs", 2, "--num_videos", 1, "--budget_env_steps", 25, "--out", tmp_path / "out"]
    return [str(word) for word in command]


@pytest.fixture
def evaluated(monkeypatch):
    """The results that commands write."""
    from cjepa.commands import plan

    results, evaluate = [], plan.evaluate_model

    def keep(*args):
        results.append(evaluate(*args))
        return results[-1]

    monkeypatch.setattr(plan, "evaluate_model", keep)
    return results


def rows_of(folder) -> dict[str, dict]:
    return {row["metric"]: row for row in json.loads((folder / "results.json").read_text())}


@pytest.mark.parametrize("shown", [None, [300.0, 100.0, 200.0, 300.0, 0.0, 0.0, 0.0]])
def test_a_goal_state_and_what_is_shown_of_it(shown, words, evaluated, tmp_path):
    """Success is measured by the state, whatever the picture shows."""
    words += ["--goal_state", str(GOAL)]
    if shown:
        Image.fromarray(picture_of(shown)).save(tmp_path / "shown.png")
        words += ["--goal_image", str(tmp_path / "shown.png")]
    assert main(words) == 0
    (result,) = evaluated
    control = result.control
    assert control.measured and {"success", "final_error_position"} <= set(rows_of(tmp_path / "out"))
    np.testing.assert_allclose(control.goals.state_BF, [GOAL] * 2)
    np.testing.assert_array_equal(control.goals.pixels_BYXC, [picture_of(shown or GOAL)] * 2)
    np.testing.assert_allclose(control.final_error, PushT().state_error(control.ends.state_BF, np.array([GOAL] * 2)))
    evaluation = json.loads((tmp_path / "out" / "run.json").read_text())["evaluation"]
    assert evaluation["goal_state"] == GOAL
    assert evaluation.get("goal_image") == (str(tmp_path / "shown.png") if shown else None)


def test_a_picture_alone(words, evaluated, tmp_path, goal_png):
    """Nobody can measure success: the remaining distance of tokens is reported."""
    assert main([*words, "--goal_image", str(goal_png)]) == 0
    (result,) = evaluated
    control, out = result.control, tmp_path / "out"
    assert not control.measured and [len(actions) for actions in control.actions] == [25, 25]
    np.testing.assert_array_equal(control.goals.pixels_BYXC, [picture_of(GOAL)] * 2)
    rows = rows_of(out)
    assert "success" not in rows and not any(name.startswith("final_error") for name in rows)
    start_N, end_N = result.goal_distance_N2.T
    assert (start_N > 0).all() and rows["final_goal_distance"]["n"] == 2
    assert rows["final_goal_distance"]["value"] == pytest.approx((end_N / start_N).mean(), rel=1e-4)
    trials = list(csv.DictReader((out / "trials.csv").open()))
    assert all(trial["success"] == trial["final_error_angle"] == "" and trial["plans"] == "1" for trial in trials)
    assert [path.name for path in (out / "media").glob("*.mp4")] == ["trial00-unknown.mp4"]
    assert main(["report", str(out)]) == 0


def test_goals_that_are_refused(words, refused, tmp_path, goal_png):
    Image.fromarray(picture_of(GOAL)).resize((96, 64)).save(tmp_path / "wide.png")
    for goal, fault in [
        (["--goal_state", "[1, 2, 3]"], r"--goal_state: \[1.0, 2.0, 3.0\], expected 7 finite numbers"),
        (["--goal_image", tmp_path / "nowhere.png"], "nowhere.png: no such file"),
        (["--goal_image", goal_png, "--published_protocol"], "--goal_image: --published_protocol takes states of"),
        (["--goal_image", tmp_path / "wide.png"], "wide.png: 96 x 64 px, but frames have 64 x 64 px"),
    ]:
        line = refused(*words, *goal)
        assert re.search(fault, line), line
        assert not (tmp_path / "out").exists()


def test_an_earlier_evaluation_is_compared_pair_by_pair(words, tmp_path, capsys):
    earlier = tmp_path / "earlier"
    assert main([*words, "--out", str(earlier), "--model_name", "before"]) == 0
    table = (earlier / "trials.csv").read_text().splitlines()
    place = table[0].split(",").index("success")
    now = [row.split(",")[place] for row in table[1:]]
    turned = [",".join([*cells[:place], "1", *cells[place + 1 :]]) for cells in (row.split(",") for row in table[1:])]
    (earlier / "trials.csv").write_text("\n".join([table[0], *turned]))
    capsys.readouterr()
    assert main([*words, "--against", str(earlier)]) == 0
    row = rows_of(tmp_path / "out")["success_difference"]
    expected = now.count("1") / 2 - 1
    assert row["value"] == expected and row["n"] == 2 and row["low"] <= expected <= row["high"]
    assert row["unit"] == "rate, minus that of before (earlier)"
    assert f"success {100 * expected:+.0f} points [" in capsys.readouterr().out


def test_other_trials_are_not_compared(words, refused, tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "trials.csv").write_text("model,pair,episode,start_row,success\nbefore,0,1,1,1\n")
    assert "trials of before (1) are not the pairs of this evaluation (2)" in refused(*words, "--against", earlier)
    assert not (tmp_path / "out").exists()
