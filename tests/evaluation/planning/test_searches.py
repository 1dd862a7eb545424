"""A long search in a world model: it shows its progress, and goes on after a kill."""

import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.evaluation.planning import searches
from cjepa.evaluation.planning.kept_plans import PlanFiles
from cjepa.evaluation.planning.pairs import Pair
from cjepa.planning import recording
from cjepa.planning.costs import RolloutCost
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.gradient import GradientPlanner
from cjepa.planning.planners.icem import ICEM
from cjepa.planning.planners.mppi import MPPI
from cjepa.planning.planners.random_shooting import RandomShooting
from tests.conftest import RecordedProgress, ignore_progress
from tests.evaluation.planning.test_kept_plans import BUDGET, CALLS, assert_equal, run
from tests.planning.worlds import STRIDE, point_agent

SEARCHES = [
    CEM(6, iterations=3, num_elites=3),
    ICEM(6, iterations=3, num_elites=3),
    MPPI(6, iterations=3, num_elites=3),
    RandomShooting(18),
]
CANDIDATES_AT_ONCE = 4
NEAR, FAR = (Pair(0, 0, np.zeros(2), np.array([x, x])) for x in (0.15, 9.0))


def name(value) -> str:
    return type(value).__name__ if isinstance(value, Planner) else str(value)


@pytest.fixture
def files(tmp_path) -> PlanFiles:
    return PlanFiles(tmp_path / "plan.parts", "a job")


@pytest.fixture
def parts(monkeypatch):
    """Counts parts that are computed, of searches that all count as long; stops before the one numbered ``stop_at``."""
    compute = RolloutCost.of_part

    def of_part(*args):
        if of_part.count == of_part.stop_at:
            raise KeyboardInterrupt
        of_part.count += 1
        return compute(*args)

    of_part.count, of_part.stop_at = 0, None
    monkeypatch.setattr(RolloutCost, "of_part", of_part)
    monkeypatch.setattr(RolloutCost, "rows_at_once", CANDIDATES_AT_ONCE)
    monkeypatch.setattr(searches, "LONG_SECONDS", 0.0)
    return of_part


def agent(planner):
    return point_agent(horizon_blocks=3, planner=planner)


def kill(parts, planner, files, stop_at, **options):
    parts.count, parts.stop_at = 0, stop_at
    with pytest.raises(KeyboardInterrupt):
        run(agent(planner), files, **options)
    parts.count, parts.stop_at = 0, None


@pytest.mark.parametrize(("planner", "after_plans"), zip(SEARCHES, (0, 2, 1, 4), strict=True), ids=name)
def test_a_killed_search_goes_on_where_it_was_and_ends_in_the_same_bits(planner, after_plans, files, parts):
    expected = run(agent(planner), None)
    whole = parts.count
    stop_at = whole // CALLS * after_plans + 5
    kill(parts, planner, files, stop_at)
    progress = RecordedProgress()
    assert_equal(run(agent(planner), files, progress), expected)
    assert parts.count == whole - stop_at
    assert sum(progress.amounts) == pytest.approx(BUDGET, abs=1e-9)
    earlier = sum(amount for amount, new in zip(progress.amounts, progress.new, strict=True) if not new)
    assert after_plans * STRIDE < earlier < (after_plans + 1) * STRIDE


@pytest.mark.parametrize("planner", [*SEARCHES, GradientPlanner(5, 3)], ids=name)
def test_progress_advances_with_every_part_up_to_all_env_steps(planner, parts):
    progress = RecordedProgress()
    result = run(agent(planner), None, progress, pairs=[NEAR, FAR])
    assert result.success.tolist() == [True, False]  # and so the last searches are for one environment alone
    assert sum(progress.amounts) == pytest.approx(BUDGET, abs=1e-9) and min(progress.amounts) >= 0
    assert sum(amount > 1e-9 for amount in progress.amounts) == parts.count > 3 * CALLS
    assert all(progress.new)


def test_a_short_search_counts_writes_and_tells_nothing(files, monkeypatch):
    monkeypatch.setattr(recording, "CountedCandidates", None)
    progress = RecordedProgress()
    run(agent(SEARCHES[0]), files, progress)
    assert len(progress.amounts) == CALLS and not list(files.folder.glob("*costs*"))


def test_costs_of_other_candidates_are_not_used(files, parts):
    expected = run(agent(SEARCHES[0]), None, seed=4)
    kill(parts, SEARCHES[0], files, 5, seed=3)
    assert len(list(files.folder.iterdir())) == 5
    assert_equal(run(agent(SEARCHES[0]), files, seed=4), expected)


def test_the_time_of_earlier_costs_counts_and_a_damaged_file_is_named(files, parts):
    kill(parts, SEARCHES[0], files, 5)
    paths = sorted(files.folder.iterdir())
    for path in paths:
        kept = torch.load(path, weights_only=True)
        torch.save({key: (cost_R, 100.0) for key, (cost_R, _) in kept.items()}, path)
    spent = [record.seconds for record in run(agent(SEARCHES[0]), files, ignore_progress).plans]
    assert 500 < spent[0] < 600 and max(spent[1:]) < 100
    assert 500 < run(agent(SEARCHES[0]), files, ignore_progress).plans[0].seconds < 600
    files.path(0).unlink()
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    with pytest.raises(UserError, match=f"{paths[0].name}: not costs of an unfinished evaluation; delete it"):
        run(agent(SEARCHES[0]), files)
