"""Two levels from training to planning: `cjepa fit`, `cjepa plan --hierarchy.run`, and what is refused."""

import json

from cjepa.cli import main
from tests.conftest import configs

PLAN = [*configs("pusht/plan.yaml", "pusht/plan_best.yaml", "pusht/plan_hierarchy.yaml"), "--pairs=1", "--num_videos=0"]
PLAN += ["--budget_env_steps=5", "--planner.init_args.iterations=1", "--hierarchy.planner.init_args.iterations=1"]


def test_a_run_plans_on_two_levels(macro_run, world_model_run, episodes_path, tmp_path):
    rows = {row["metric"]: row["value"] for row in json.loads((macro_run / "results.json").read_text())}
    assert 0 < rows["rollout_error@1"] < 9
    words = ["plan", str(world_model_run), *PLAN, f"--hierarchy.run={macro_run}", f"--episodes={episodes_path}"]
    assert main([*words, f"--out={tmp_path / 'out'}"]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    found = record["actions"]["hierarchy"]
    assert found["run"] == str(macro_run) and found["horizon_blocks"] == 4 and found["planner"]["class"] == "ICEM"
    assert "; high level: 1 test episode" in record["evaluation"]["held_out"]


def test_models_of_another_kind_are_refused(macro_run, world_model_run, episodes_path, refused):
    plan = [*PLAN, "--episodes", episodes_path, "--out", "out"]
    line = refused("plan", world_model_run, *plan, "--hierarchy.run", world_model_run)
    assert f"--hierarchy.run {world_model_run}" in line and "a world model without macro-actions; give a run of" in line
    line = refused("plan", macro_run, *plan, "--hierarchy.run", macro_run)
    assert "macro-actions cannot be executed; give it as --hierarchy.run, beside a world model" in line
