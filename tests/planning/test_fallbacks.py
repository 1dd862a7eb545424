import numpy as np
import pytest
import torch

from cjepa.planning.agents import RandomAgent, SimulatorAgent
from cjepa.planning.constraints import Box
from cjepa.planning.fallbacks import HoldWhenWorse
from cjepa.planning.mpc import MPC
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.types import Plan
from tests.conftest import ignore_progress
from tests.planning.worlds import PointWorld, blocks, observation, point_agent


class Astray(Planner):
    """Always goes to the upper right."""

    def plan(self, problem, warm_start_BKHA=None):
        actions_BHA = problem.project(torch.full_like(problem.start()[:, None], 9.0))
        return Plan(actions_BHA[:, 0], problem.cost(actions_BHA)[:, 0])


NOW, GOALS = observation([(0, 0), (0, 0)]), observation([(1.2, 1.2), (-0.1, -0.1)])  # the way, and astray
AGENTS = {
    "model": lambda: point_agent(planner=Astray()),
    "simulator": lambda: SimulatorAgent(PointWorld(), Astray(), blocks(), 2),
}


@pytest.mark.parametrize("kind", AGENTS)
def test_it_holds_only_where_doing_nothing_is_expected_to_be_better(kind):
    agent = AGENTS[kind]()
    agent.reset(GOALS)
    agent.observe(NOW)
    plan = agent.plan(torch.Generator())
    actions_BHA, held_B = HoldWhenWorse()(plan, agent, NOW)
    assert held_B.tolist() == [False, True]
    assert torch.equal(actions_BHA[0], plan.actions_BHA[0]) and not actions_BHA[1].any()


def test_nothing_costs_what_the_distance_to_the_goal_costs():
    agent = point_agent()
    agent.reset(GOALS)
    agent.observe(NOW)
    agent.plan(torch.Generator())
    nothing = agent.nothing()
    # of tokens and of proprioception: 1.2^2 and 0.1^2, twice
    torch.testing.assert_close(nothing.cost_B, torch.tensor([2.88, 0.02]), atol=1e-3, rtol=0)
    assert nothing.actions_BHA.shape == (2, 2, 4) and not nothing.actions_BHA.any()


def test_nothing_is_as_near_to_it_as_constraints_allow():
    agent = point_agent(constraints=[Box([0.1, -1.0], 1.0)])
    agent.reset(GOALS)
    agent.observe(NOW)
    agent.plan(torch.Generator())
    torch.testing.assert_close(agent.nothing().actions_BHA, torch.tensor([0.1, 0.0, 0.1, 0.0]).expand(2, 2, 4))


def test_chance_is_never_stopped():
    agent = RandomAgent(blocks(), 2)
    agent.reset(GOALS)
    agent.observe(NOW)
    plan = agent.plan(torch.Generator())
    actions_BHA, held_B = HoldWhenWorse()(plan, agent, NOW)
    assert torch.equal(actions_BHA, plan.actions_BHA) and not held_B.any()


def test_the_loop_holds():
    class Points:
        places, finished = np.zeros((2, 2)), np.zeros(2, bool)

        def observe(self):
            return observation(self.places)

        def execute(self, actions_BTA):
            self.places = self.places + actions_BTA.sum(axis=1)

    plant, loop = Points(), MPC(2, fallback=HoldWhenWorse())
    records = loop.run(point_agent(planner=Astray()), plant, GOALS, 8, torch.Generator(), ignore_progress)
    assert [record.fallback_B.tolist() for record in records] == [[False, True], [True, True]]
    np.testing.assert_allclose(plant.places, [[1.2, 1.2], [0.0, 0.0]], atol=1e-6)


def test_a_search_that_finds_something_is_executed():
    agent = point_agent(planner=CEM(64, 5, 8))
    agent.reset(GOALS)
    agent.observe(NOW)
    assert not HoldWhenWorse()(agent.plan(torch.Generator()), agent, NOW)[1].any()
