"""Several planner seeds as one row."""

import numpy as np
import pytest

from cjepa.evaluation.intervals import wilson_of_clusters
from cjepa.evaluation.planning.against import Rival
from cjepa.evaluation.planning.contest import Contest
from cjepa.evaluation.planning.control import ControlResult
from cjepa.evaluation.planning.pairs import Pair, Pairs, PairSource
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.reporting.plan import fallback_row, success_rows
from cjepa.reporting.seeds import named_by_seed, rows_of_seeds

EPISODES = [3, 5, 5, 8]
SUCCESS = [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]]


def control(success) -> ControlResult:
    success_N = np.array(success, bool)
    steps = [10 if good else None for good in success]
    rest = {name: None for name in ControlResult._fields}
    known = {"success": success_N, "final_error": np.ones((4, 2)), "error_names": ("position", "angle")}
    plans = {"num_plans": np.where(success_N, 1, 9), "num_fallbacks": np.where(success_N, 1, 3)}
    return ControlResult(**rest | known | plans | {"env_steps_to_success": steps})


@pytest.fixture
def contest() -> Contest:
    protocol = PlanningProtocol("a.h5", "cjepa/PushT-v0", {})
    pairs = Pairs([Pair(episode, 0, np.zeros(7), np.ones(7)) for episode in EPISODES], 6)
    rival = Rival("rival", "there", np.array([1, 0, 0, 0], bool))
    return Contest(protocol, "0", PairSource(np.array(EPISODES), "some"), pairs, (rival,))


def test_pairs_are_independent_and_seeds_are_not(contest):
    common = {"model": "toy", "tokens": 4, "token_dim": 8, "split": "test"}
    agents = [{"toy": control(success)} for success in SUCCESS]
    rows = []
    for seed, part in enumerate(agents):
        of_seed = success_rows(part["toy"], contest, common | {"seed": seed, "run": f"seed-{seed}"})
        fallbacks = fallback_row(part["toy"], contest, common | {"seed": seed})
        rows.append([*of_seed, fallbacks, {"metric": "other", "seed": seed}])
    found = rows_of_seeds(rows, [contest] * 3, agents, "out")
    by_metric = {row["metric"]: row for row in found}
    success = by_metric["success"]
    expected = wilson_of_clusters(np.ravel(SUCCESS), np.array(EPISODES * 3))
    assert (
        success["value"] == pytest.approx(6 / 12)
        and success["n"] == 12
        and success["run"] == "out"
        and success["episodes"] == 3
    )
    assert (success["low"], success["high"]) == expected.bounds
    assert success["high"] - success["low"] > 0.6  # three episodes, not twelve trials
    assert [by_metric[f"success_seed_{seed}"]["value"] for seed in range(3)] == [0.5, 0.25, 0.75]
    assert by_metric["success_difference"]["value"] == pytest.approx(6 / 12 - 3 / 12)
    assert by_metric["skipped_trivial_pairs"]["value"] == 6
    assert [row["seed"] for row in found if row["metric"] == "other"] == [0, 1, 2]
    (fallbacks,) = (row for row in found if row["metric"] == "fallbacks")
    assert fallbacks["value"] == pytest.approx((6 * 1 + 6 * 3) / (6 * 1 + 6 * 9))  # of all plans, not a mean of shares
    shown = [(row["model"], row["value"]) for row in named_by_seed(found) if row["metric"] == "success"]
    assert shown == [("toy", 0.5), ("toy, seed 0", 0.5), ("toy, seed 1", 0.25), ("toy, seed 2", 0.75)]
