"""A planner that teaches, in the world of points: who acts, and what is remembered, can be told by hand."""

import numpy as np
import pytest
import torch

from cjepa.planning.mpc import MPC
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.base import Planner
from cjepa.planning.priors import PolicyPrior
from cjepa.planning.teaching import TeachingAgent
from cjepa.progress import NoProgress
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Plan
from tests.planning.test_priors import HalfWay
from tests.planning.worlds import PointDynamics, blocks, observation


class Right(Planner):
    """Always goes 0.3 to the right in every env step."""

    def plan(self, problem, warm_start_BKHA=None):
        step = torch.tensor([0.3, 0.0]).repeat(2)
        return Plan(step.expand(problem.batch, problem.horizon_blocks, -1), torch.zeros(problem.batch))


def teacher(policy_share: float) -> TeachingAgent:
    oracle = OracleTokenizer(1, ("x", "y")).eval()
    parts = (PointDynamics(), oracle, Right(), LastStepMSE(), blocks(), 2, None, 1, (), PolicyPrior(HalfWay()))
    return TeachingAgent(*parts, policy_share=policy_share, seed=0)


def planned(agent, starts, goals, finished=None):
    agent.reset(observation(goals))
    agent.observe(observation(starts))
    if finished is not None:
        agent.skip(np.array(finished))
    return agent.plan(torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("policy_share", "first"), [(0.0, [0.3, 0.0, 0.3, 0.0]), (1.0, [0.0, 0.1, 0.0, 0.1])])
def test_either_acts_but_the_planner_teaches(policy_share, first):
    """The policy goes half of the way from 0 to 0.4, in two env steps; after its block, the plan goes on."""
    agent = teacher(policy_share)
    plan = planned(agent, [(0.5, 0.0)], [(0.5, 0.4)])
    torch.testing.assert_close(plan.actions_BHA[0], torch.tensor([first, [0.3, 0.0, 0.3, 0.0]]))
    tokens, proprio, goal, actions = agent.lessons
    assert tokens.tolist() == [[[0.5, 0.0]]] and proprio.tolist() == [[0.5, 0.0]]
    torch.testing.assert_close(goal, torch.tensor([[[0.5, 0.4]]]))
    torch.testing.assert_close(actions, torch.tensor([[0.3, 0.0, 0.3, 0.0]]))


def test_the_policy_acts_within_the_bounds():
    """Half of the way to 4 is 1 in each env step, but 0.3 is allowed."""
    plan = planned(teacher(1.0), [(0.0, 0.0)], [(4.0, 0.0)])
    torch.testing.assert_close(plan.actions_BHA[0, 0], torch.tensor([0.3, 0.0, 0.3, 0.0]))


def test_each_environment_draws_who_acts_and_a_seed_decides():
    starts, goals = [(0.0, 0.0)] * 200, [(0.0, 0.4)] * 200
    first = [planned(teacher(0.25), starts, goals).actions_BHA[:, 0, 0] for _ in range(2)]
    assert 30 <= int((first[0] == 0).sum()) <= 70 and first[0].equal(first[1])


def test_nobody_learns_from_what_has_finished():
    agent = teacher(0.5)
    planned(agent, [(0.0, 0.0), (1.0, 0.0)], [(0.5, 0.0), (0.7, 0.0)], finished=[True, False])
    assert agent.lessons.tokens_NSD.tolist() == [[[1.0, 0.0]]]


def test_lessons_of_a_trial_follow_the_policy():
    """From 0 the policy comes to 0.2 and 0.3: the planner is asked there, although it would have gone elsewhere."""

    class Plant:
        finished = np.zeros(1, bool)
        place = np.zeros(2)

        def observe(self):
            return observation([self.place])

        def execute(self, actions_BTA):
            self.place = self.place + actions_BTA[0].sum(axis=0)

    agent = teacher(1.0)
    MPC(execute_blocks=1).run(agent, Plant(), observation([(0.0, 0.4)]), 6, torch.Generator(), NoProgress())
    torch.testing.assert_close(agent.lessons.tokens_NSD[:, 0, 1], torch.tensor([0.0, 0.2, 0.3]))
