"""The way that is left, by hand: a value that walks straight, and its probe, which reads x, y and an angle."""

import csv
import json
import shutil

import pytest
import torch

from cjepa.cli import main
from cjepa.data.splits import SPLIT_SEED, SPLIT_SHARES, Lineage, split_episodes
from cjepa.evaluation.contents import contents_text
from cjepa.planning.cost_to_go import CostToGo
from cjepa.planning.objectives import Goal, Learned
from cjepa.types import Rollout
from tests.conftest import configs
from tests.planning.test_probe_error import EXACT, Doubled, tokens_of


class Straight:
    """One block for every 4 units of distance between answers of a probe, whatever they are."""

    def __init__(self, probe=EXACT):
        self.probe = probe

    def blocks(self, seen_LR, goal_LR):
        return (seen_LR - goal_LR).abs().sum(dim=-1) / 4


def cost(predicted, goal, **options) -> float:
    tokens, none = tokens_of(*predicted), torch.zeros(1, 1, len(predicted), 0)
    aimed = Goal(tokens_of(goal)[:, 0, 0], torch.zeros(1, 0), torch.zeros(1, 0))
    objective = CostToGo(**options).knowing(Straight(), Doubled(proprio_dim=0))
    with torch.autocast("cpu", torch.bfloat16):  # as in planning
        return float(objective(Rollout(tokens, none), torch.zeros(1, 1, len(predicted), 2), aimed))


def test_blocks_in_the_tokenizers_units_and_the_error_add_up():
    """40 px are 10 blocks, and 2 tolerances, or 4 smaller ones."""
    assert cost([(140, 0, 0)], (100, 0, 0), near_weight=0.3) == pytest.approx(10 + 0.3 * 2, abs=1e-4)
    assert cost([(140, 0, 0)], (100, 0, 0), near_weight=0.3, place_tolerance=10) == pytest.approx(11.2, abs=1e-4)
    turned, finer = (cost([(0, 0, 10)], (0, 0, 0), near_weight=1, angle_tolerance=degrees) for degrees in (20, 5))
    assert finer - turned == pytest.approx(1.5, abs=1e-4)


def test_the_block_with_the_least_sum_counts():
    """Not the sum of the least of either."""
    assert cost([(140, 0, 0), (100, 0, 180)], (100, 0, 0), near_weight=1.0) == pytest.approx(0.5 + 9.0, abs=1e-4)


@pytest.mark.parametrize("options", [{"near_weight": -1}, {"place_tolerance": 0.0}, {"angle_tolerance": 0.0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is "):
        CostToGo(**options)


def test_it_says_what_its_value_has_learned_from(tmp_path):
    path, lineage = tmp_path / "last.ckpt", Lineage("of these", 3, [], [1])._asdict()
    parts = {"hyper_parameters": {"_class_path": "cjepa.policies.goal_value_training.GoalValueTraining"}}
    torch.save({"state_dict": {}, "lineage": lineage, **parts}, path)
    objective = CostToGo(str(path))
    assert objective.learned({}) == [Learned(f"value of goals {path}", lineage)]
    (of_the_zoo,) = CostToGo("zoo:pusht-goal-value").learned({})
    assert of_the_zoo.name == "value of goals zoo:pusht-goal-value"  # as given, not where the package is
    before, moved = contents_text(objective), path.rename(tmp_path / "moved.ckpt")
    assert contents_text(CostToGo(str(moved))) == before


def test_a_plan_leaves_out_what_its_value_was_trained_on(goal_value_run, world_model_run, episodes_path, tmp_path):
    """A world model that is new to all 20 episodes, and a value that was trained on most of them."""
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(world_model_run, run)
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"lineage": Lineage("of others", 5, [], [1])._asdict()}, checkpoint)
    words = ["plan", str(run), *configs("pusht/plan.yaml", "pusht/plan_best.yaml", "pusht/plan_far.yaml")]
    words += [f"--objective.init_args.run={goal_value_run}", "--episodes", str(episodes_path), "--out", str(out)]
    words += ["--pairs=3", "--budget_env_steps=10", "--num_videos=0"]
    words += [f"--planner.init_args.{size}" for size in ("num_samples=4", "iterations=1", "num_elites=2")]
    assert main(words) == 0
    account = json.loads((out / "run.json").read_text())["evaluation"]["held_out"]
    assert "world model: all 20 episodes" in account and "value of goals" in account
    trials = list(csv.DictReader((out / "trials.csv").open()))
    held_out = split_episodes(20, SPLIT_SHARES, SPLIT_SEED)["test"].tolist()
    assert len(trials) == 3 and {int(trial["episode"]) for trial in trials} == set(held_out)
