"""`plan` and `plan-baselines` after a kill."""

import pytest

from cjepa.cli import main
from cjepa.evaluation.planning.baselines import evaluate_baselines
from cjepa.evaluation.planning.kept_plans import PlanFiles
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.planning.planners.cem import CEM
from tests.conftest import configs, ignore_progress

TABLES = ("trials.csv", "steps.csv")


@pytest.fixture
def searches(monkeypatch):
    """Counts the searches, and stops the one whose number is in ``stop_at``."""
    search = CEM.plan

    def plan(planner, *args):
        plan.count += 1
        if plan.count == plan.stop_at:
            raise plan.stop_with
        return search(planner, *args)

    plan.count, plan.stop_at, plan.stop_with = 0, 0, KeyboardInterrupt()
    monkeypatch.setattr(CEM, "plan", plan)
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_seconds", lambda *_: [0.1])
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_gigaflops", lambda *_: 1.0)
    return plan


@pytest.mark.parametrize(("stop_with", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)])
def test_the_same_command_goes_on(stop_with, code, searches, world_model_run, episodes_path, tmp_path, capsys):
    words = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    words += ["--pairs", 2, "--num_videos", 0, "--budget_env_steps", 15, "--execute_blocks", 1, "--warm_start"]
    words = [str(word) for word in words]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0 and searches.count == 3
    expected = [(tmp_path / "whole" / name).read_text() for name in TABLES]

    out = tmp_path / "out"
    searches.count, searches.stop_at, searches.stop_with = 0, 3, stop_with
    assert main([*words, "--out", str(out)]) == code
    assert ("; repeat the command to continue" in capsys.readouterr().err) is (code == 130)
    assert len(list((out / "plan.parts").iterdir())) == 2 and not (out / "results.json").exists()

    searches.count, searches.stop_at = 0, 0
    assert main([*words, "--out", str(out), "--num_videos", "1"]) == 0
    assert searches.count == 1
    assert [(out / name).read_text() for name in TABLES] == expected
    assert not (out / "plan.parts").exists() and len(list((out / "media").iterdir())) == 1


@pytest.mark.parametrize("changed", [["--seed", "1"], ["--planner.init_args.num_samples", "17"], ["--no_resume"]])
def test_another_command_starts_anew(changed, searches, world_model_run, episodes_path, tmp_path):
    words = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    words += ["--pairs", 1, "--num_videos", 0, "--budget_env_steps", 10, "--execute_blocks", 1, "--out", tmp_path]
    words = [str(word) for word in words]
    searches.stop_at = 2
    assert main(words) == 130
    searches.count, searches.stop_at = 0, 0
    assert main([*words, *changed]) == 0
    assert searches.count == 2


def test_baselines_repeat_no_search(searches, episodes_path, tmp_path):
    protocol = PlanningProtocol(str(episodes_path), pairs=2, budget_env_steps=10, execute_blocks=1)
    call = (protocol, CEM(num_samples=4, iterations=1, num_elites=2), 0, 1, ignore_progress)
    kept = PlanFiles(tmp_path / "plan.parts", "a job")
    searches.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate_baselines(*call, kept)
    searches.count, searches.stop_at = 0, 0
    found = evaluate_baselines(*call, kept)
    assert searches.count == 1
    expected = evaluate_baselines(*call)
    for one, other in zip(found.simulator, expected.simulator, strict=True):
        assert one.success.tolist() == other.success.tolist()
        assert [actions.tolist() for actions in one.actions] == [actions.tolist() for actions in other.actions]
