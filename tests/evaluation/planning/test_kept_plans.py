"""An evaluation that goes on where an earlier run of it was killed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.evaluation.planning.control import run_trials
from cjepa.evaluation.planning.kept_plans import PlanFiles, keeping_plans
from cjepa.evaluation.planning.pairs import Pair
from cjepa.evaluation.planning.searches import SearchProgress
from cjepa.planning.agents import SimulatorAgent
from cjepa.planning.mpc import MPC
from cjepa.planning.planners.icem import ICEM
from tests.conftest import RecordedProgress, ignore_progress
from tests.planning.worlds import STRIDE, PointWorld, blocks, point_agent

PAIRS = [Pair(0, 0, np.array([0.0, x]), np.array([2.0, x - 1.5])) for x in (0.0, 3.0)]
LOOP, BUDGET, CALLS = MPC(1, warm_start=True), 12, 6


class Counted(ICEM):
    """Carries elites and momentum from plan to plan; counts its searches."""

    def __init__(self):
        super().__init__(num_samples=6, iterations=2, num_elites=3)
        self.searches = 0

    def plan(self, problem, warm_start_BKHA=None):
        self.searches += 1
        return super().plan(problem, warm_start_BKHA)


@pytest.fixture
def files(tmp_path) -> PlanFiles:
    return PlanFiles(tmp_path / "plan.parts", "a job")


def world_model_agent():
    return point_agent(horizon_blocks=3, planner=Counted())


def simulator_agent():
    return SimulatorAgent(PointWorld(), Counted(), blocks(), 3)


def run(agent, files, progress=ignore_progress, seed=3, pairs=PAIRS):
    searching = SearchProgress(progress, LOOP.execute_blocks * STRIDE, BUDGET)
    with keeping_plans(files, agent, searching) as keeping:
        return keeping.timed(run_trials(agent, LOOP, PointWorld, pairs, BUDGET, seed, 1, searching))


def assert_equal(found, expected):
    for name in ("success", "final_error", "num_plans", "num_fallbacks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for mine, other in zip(found.actions, expected.actions, strict=True):
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(found.films, expected.films, strict=True):
        np.testing.assert_array_equal(mine.error_TE, other.error_TE)
    for mine, other in zip(found.plans, expected.plans, strict=True):
        assert torch.equal(mine.plan.cost_B, other.plan.cost_B) and mine.env_step == other.env_step
        for name in ("actions_BHA", "surprise_B"):
            one, two = getattr(mine, name), getattr(other, name)
            assert (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize("make_agent", [world_model_agent, simulator_agent])
@pytest.mark.parametrize("killed_after", [1, 4])
def test_no_finished_search_is_repeated_and_every_bit_is_the_same(make_agent, killed_after, files):
    expected = run_trials(make_agent(), LOOP, PointWorld, PAIRS, BUDGET, 3, 1, ignore_progress)
    agent = make_agent()
    a_call = agent.planner.searches
    with pytest.raises(KeyboardInterrupt):
        run(agent, files, RecordedProgress(interrupt_at=killed_after))
    searches = agent.planner.searches - a_call
    again, progress = make_agent(), RecordedProgress()
    assert_equal(run(again, files, progress), expected)
    assert again.planner.searches == searches // killed_after * CALLS - searches
    # env steps after an earlier run's plans say nothing about the time that is left
    assert sum(progress.amounts) == BUDGET
    earlier = [amount for amount, new in zip(progress.amounts, progress.new, strict=True) if not new]
    assert sum(earlier) == killed_after * STRIDE
    assert type(again.planner) is Counted


def test_plans_of_another_job_part_or_folder_are_not_used(files, tmp_path):
    run(world_model_agent(), files)
    for other in (
        replace(files, job="another job"),
        replace(files, part="trial1"),
        replace(files, folder=tmp_path / "elsewhere"),
    ):
        agent = world_model_agent()
        run(agent, other)
        assert agent.planner.searches == CALLS
    agent = world_model_agent()
    run(agent, files)
    assert agent.planner.searches == 0


def test_the_time_of_earlier_searches_counts(files):
    first = run(world_model_agent(), files)
    kept = [torch.load(path, weights_only=True) for path in sorted(files.folder.iterdir())]
    for path, content in zip(sorted(files.folder.iterdir()), kept, strict=True):
        torch.save(content | {"seconds": 100.0}, path)
    again = run(world_model_agent(), files)
    assert all(record.seconds < 100 for record in first.plans)
    assert all(100 < record.seconds < 200 for record in again.plans)


def test_a_missing_plan_is_made_again_and_a_damaged_one_is_named(files):
    expected = run(world_model_agent(), files)
    paths = sorted(files.folder.iterdir())
    paths[2].unlink()
    agent = world_model_agent()
    assert_equal(run(agent, files), expected)
    assert agent.planner.searches == 1
    paths[3].write_bytes(paths[3].read_bytes()[:100])
    with pytest.raises(UserError, match=f"{paths[3].name}: not a plan of an unfinished evaluation; delete it"):
        run(world_model_agent(), files)
