"""The way that is left, by hand: a value that walks straight, and a probe that reads x and y."""

import pytest
import torch

from cjepa.data.splits import Lineage
from cjepa.evaluation.contents import contents_text
from cjepa.planning.cost_to_go import CostToGo
from cjepa.planning.objectives import Goal
from cjepa.planning.probe_error import ProbeError
from cjepa.types import Rollout
from tests.planning.test_probe_error import EXACT, Doubled, tokens_of


class Straight:
    """One block for every unit of distance between tokens, whatever they hold."""

    def blocks(self, tokens_LSD, goal_LSD):
        return (tokens_LSD - goal_LSD).abs().mean(dim=(-2, -1))


def cost(predicted, goal, **options) -> float:
    tokens, none = tokens_of(*predicted), torch.zeros(1, 1, len(predicted), 0)
    aimed = Goal(tokens_of(goal)[:, 0, 0], torch.zeros(1, 0), torch.zeros(1, 0))
    dynamics = Doubled(proprio_dim=0)
    near = ProbeError(places=(0, 1), angles=(2,)).reading(EXACT, dynamics)
    objective = CostToGo(near=near, **options).knowing(Straight(), near, dynamics)
    with torch.autocast("cpu", torch.bfloat16):  # as in planning
        return float(objective(Rollout(tokens, none), torch.zeros(1, 1, len(predicted), 2), aimed))


def test_blocks_in_the_tokenizers_units_and_the_error_add_up():
    """40 px in one of four values are 10 blocks, and 2 tolerances."""
    assert cost([(140, 0, 0)], (100, 0, 0), near_weight=0.3) == pytest.approx(10 + 0.3 * 2, abs=1e-4)


def test_the_block_with_the_least_sum_counts():
    """Not the sum of the least of either."""
    assert cost([(140, 0, 0), (100, 0, 180)], (100, 0, 0), near_weight=1.0) == pytest.approx(0.5 + 9.0, abs=1e-4)


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ValueError, match="near_weight is -1, expected 0 or more"):
        CostToGo(near_weight=-1)


def test_it_says_what_its_value_has_learned_from(tmp_path, tokens_path):
    path, lineage = tmp_path / "last.ckpt", Lineage("of these", 3, [], [1])._asdict()
    parts = {"hyper_parameters": {"_class_path": "cjepa.policies.goal_value_training.GoalValueTraining"}}
    torch.save({"state_dict": {}, "lineage": lineage, **parts}, path)
    objective = CostToGo(str(path), ProbeError(str(tokens_path)))
    names = [learned.name for learned in objective.learned({})]
    assert names == [f"value of goals {path}", f"probe of {tokens_path}"]
    assert objective.learned({})[0].lineage == lineage
    before, moved = contents_text(objective), path.rename(tmp_path / "moved.ckpt")
    assert contents_text(CostToGo(str(moved), ProbeError(str(tokens_path)))) == before
