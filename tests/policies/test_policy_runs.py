"""A policy from training to planning: `cjepa fit`, `cjepa plan --prior`, and what is refused."""

import csv
import json

import pytest

from cjepa.cli import main
from cjepa.data.collect import Collection, collect
from cjepa.data.splits import Lineage, held_out
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError
from cjepa.policies.act_jepa import ActJepaPolicy
from cjepa.policies.lessons import read_lessons
from cjepa.policies.loading import load_policy
from tests.conftest import EPISODE_ENV_STEPS, configs, fit, ignore_progress
from tests.sharing import once

PLAN = configs("pusht/plan.yaml", "pusht/plan_policy.yaml")
SHORT = ["--pairs=1", "--budget_env_steps=10", "--num_videos=0"]


@pytest.fixture(scope="session")
def policy_run(tmp_path_factory, slot_tokens):
    """A run folder of a small policy, two steps old."""
    words = [*configs("pusht/policy.yaml"), "--model.init_args.policy.init_args.dim=16", "--data.init_args.val_clips=8"]
    return once(tmp_path_factory, "policy", lambda folder: fit(folder, slot_tokens, *words))


def test_a_policy_acts_by_way_of_a_sub_goal(policy_run, world_model_run, episodes_path, tmp_path):
    rows = {row["metric"]: row for row in json.loads((policy_run / "results.json").read_text())}
    assert [f"action_error@{ahead}" for ahead in range(1, 6)] == list(rows)
    assert all(0 < row["value"] < 9 and row["n"] >= 8 for row in rows.values()), rows
    words = ["plan", str(world_model_run), "--prior", str(policy_run), *PLAN, *SHORT, "--episodes", str(episodes_path)]
    way = ["--sub_goals.states=[[200, 100, 250, 250, 0, 0, 0]]", "--sub_goals.most_env_steps=5"]
    assert main([*words, *way, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["actions"]["planner"] == {"class": "NoSearch"}
    assert record["actions"]["prior"] == str(policy_run / "checkpoints" / "last.ckpt")
    assert record["actions"]["sub_goals"]["states"] == [[200, 100, 250, 250, 0, 0, 0]]
    steps = csv.DictReader((tmp_path / "out" / "steps.csv").open())
    assert [row["goal"] for row in steps] == ["0"] * 5 + ["1"] * 5
    assert "1 episode in common" in record["evaluation"]["held_out"]
    found = {row["metric"] for row in json.loads((tmp_path / "out" / "results.json").read_text())}
    assert {"success", "seconds_per_plan"} <= found


def test_a_planner_teaches_its_policy(policy_run, world_model_run, episodes_path, slot_tokens, tmp_path, refused):
    """Plan, act, store, fit; on episodes of their own, which are remembered."""
    starts, taught = tmp_path / "starts.h5", tmp_path / "taught"
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), 1, EPISODE_ENV_STEPS, seed=7)
    collect(job, starts, {"env_id": job.env_id, "env_kwargs": {}, "seed": 7}, 1, ignore_progress)
    teach = ["plan", world_model_run, "--prior", policy_run, *PLAN, *SHORT, "--policy_share=0.5", "--episodes"]
    assert main([str(word) for word in [*teach, starts, "--out", taught]]) == 0
    plan = [*teach, episodes_path]
    assert "last.ckpt was trained on" in (line := refused(*plan)) and "; give --episodes that `cjepa collect`" in line
    stored = read_lessons([taught / "lessons.pt"])
    assert stored.lessons.actions_NA.shape == (2, 10)
    assert json.loads((taught / "run.json").read_text())["actions"]["policy_share"] == 0.5
    words = [*configs("pusht/policy.yaml"), "--model.init_args.policy.init_args.dim=16", "--data.init_args.val_clips=8"]
    run = fit(tmp_path / "run", slot_tokens, *words, f"--model.init_args.lessons=[{taught / 'lessons.pt'}]")
    lineage = load_policy(run / "checkpoints" / "last.ckpt").lineage
    assert lineage["identities"][-1:] == stored.identities == EpisodeFile(starts).identities
    with pytest.raises(UserError, match="starts.h5: another version of the episodes that the model was trained on"):
        held_out(EpisodeFile(starts), Lineage(**lineage), "test")
    assert json.loads((run / "run.json").read_text())["objective"]["terms"] == {"action": 1.0, "lesson": 1.0}
    line = refused("plan", world_model_run, *PLAN, *SHORT, "--episodes", episodes_path, "--policy_share=0.5")
    assert "--policy_share: no policy; give a run of `cjepa fit" in line
    line = refused(*plan, "--horizon_blocks=2", "--execute_blocks=2")
    assert "--policy_share: a lesson is about one block; give --execute_blocks 1" in line


def test_act_jepa_is_read_back_from_its_run(slot_tokens, tmp_path):
    small = [f"--model.init_args.policy.init_args.{size}" for size in ("dim=16", "mlp_dim=16")]
    words = [*configs("pusht/policy.yaml", "pusht/act_jepa.yaml"), *small, "--data.init_args.val_clips=8"]
    run = fit(tmp_path / "run", slot_tokens, *words)
    policy = load_policy(run / "checkpoints" / "last.ckpt").policy
    assert isinstance(policy, ActJepaPolicy) and policy.chunk_blocks == 5
    assert json.loads((run / "run.json").read_text())["objective"]["terms"] == {"action": 1.0, "latent": 1.0}


def test_models_and_goals_that_are_none_are_refused(policy_run, world_model_run, episodes_path, refused):
    plan = [*PLAN, *SHORT, "--episodes", episodes_path, "--out", "out"]
    line = refused("plan", world_model_run, "--prior", world_model_run, *plan)
    assert "not a policy; give a run of `cjepa fit -c experiments/pusht/policy.yaml`" in line
    line = refused("plan", policy_run, *plan)
    assert "a policy, not a world model; give a run of `cjepa fit -c experiments/pusht/cjepa.yaml`, or use" in line
    line = refused("plan", world_model_run, *plan, "--sub_goals.states=[[9000, 100, 250, 250, 0, 0, 0]]")
    assert "--sub_goals.states: value 0 is 9000, but in the states of" in line
