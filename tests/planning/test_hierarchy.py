"""Planning on two levels in the world of points: what the low level aims at can be read off by hand."""

import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.hierarchy import HighLevel
from cjepa.planning.mpc import MPC
from cjepa.planning.objectives import LastStepMSE, LeastStepMSE
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.priors import PolicyPrior
from cjepa.types import Plan
from tests.conftest import ignore_progress
from tests.planning.test_priors import HalfWay
from tests.planning.test_sub_goals import Points
from tests.planning.worlds import PointDynamics, PointState, observation, point_agent


class PointMacro(PointDynamics):
    """A macro-action is the way that the point goes in a long block."""

    action_dim = 2

    def bounds(self):
        return torch.full((2,), -2.0), torch.full((2,), 2.0)

    def step(self, state, actions_BA):
        return PointState(state.place_B2 + actions_BA)


class Given(Planner):
    """Plans what it is told; remembers the problem."""

    def __init__(self, *ways, cost=0.0):
        self.ways = torch.tensor(ways)
        self.cost = cost

    def plan(self, problem, warm_start_BKHA=None):
        self.problem = problem
        return Plan(self.ways.expand(problem.batch, -1, -1), torch.full((problem.batch,), self.cost))


class Aims(Planner):
    """Remembers what it was to aim at."""

    def plan(self, problem, warm_start_BKHA=None):
        self.goal = problem.cost.goal
        return Plan(problem.start(), torch.zeros(problem.batch))


def aimed_at(goals, *ways, starts=None, cost=0.0):
    """Places that the low level aims at when the high level plans these ways from 0; and its proprioception."""
    low = Aims()
    search = Given(*ways, cost=cost)
    agent = point_agent(planner=low, high_level=HighLevel(PointMacro(), search, LeastStepMSE(), len(ways)))
    agent.reset(observation(goals))
    agent.observe(observation(starts or [(0, 0)] * len(goals)))
    agent.plan(torch.Generator())
    torch.testing.assert_close(low.goal.proprio_BP, low.goal.tokens_BSD[:, 0])
    return low.goal.tokens_BSD[:, 0].tolist()


def test_the_low_level_aims_at_the_end_of_the_first_long_block():
    assert aimed_at([(4, 1)], (1.5, 0.5), (1.5, 0.5)) == [[1.5, 0.5]]


def test_near_the_goal_it_aims_at_the_goal():
    """The plan passes the first goal in its first block, and comes nearest to the second in its second."""
    assert aimed_at([(0.75, 0), (2, 0)], (1.0, 0.0), (1.0, 0.0)) == [[0.75, 0.0], [1.0, 0.0]]


class Reading(LeastStepMSE):
    """Aims at what is shown, and remembers what it has read."""

    def read(self, sentences):
        return torch.tensor([[float(len(sentence))] for sentence in sentences])

    def __call__(self, rollout, actions_BNHA, goal):
        self.read_B = goal.text_BW[:, 0].tolist()
        return super().__call__(rollout, actions_BNHA, goal)


def test_what_a_sentence_says_is_no_frame_to_aim_at():
    """As above, but the first goal is a sentence, of which the place is one case of many."""
    low, reads = Aims(), Reading()
    agent = point_agent(planner=low, high_level=HighLevel(PointMacro(), Given((1.0, 0.0), (1.0, 0.0)), reads, 2))
    agent.reset(observation([(0.75, 0), (2, 0)])._replace(sentences_B=("left", "go up")))
    agent.observe(observation([(0, 0), (0, 0)]))
    agent.plan(torch.Generator())
    assert low.goal.tokens_BSD[:, 0].tolist() == [[1.0, 0.0]] * 2 and low.goal.text_BW is None
    assert reads.read_B == [4.0, 5.0]


def test_the_high_level_starts_at_what_is_seen_now():
    assert aimed_at([(9, 0)], (1.0, 0.0), (1.0, 0.0), starts=[(3, 1)]) == [[4.0, 1.0]]


def test_the_high_level_sees_no_frames_that_are_not_a_long_block_apart():
    """The dynamics of points start at the mean of all frames that they see."""
    low, high_level = Aims(), HighLevel(PointMacro(), Given((1.0, 0.0), (1.0, 0.0)), LeastStepMSE(), 2)
    agent = point_agent(planner=low, history_blocks=2, high_level=high_level)
    agent.reset(observation([(9, 0)]))
    agent.observe(observation([(0, 0)]))
    agent.observe(observation([(2, 0)]), torch.zeros(1, 4))
    agent.plan(torch.Generator())
    assert low.goal.tokens_BSD[:, 0].tolist() == [[3.0, 0.0]]


def test_the_search_of_macro_actions_is_within_their_bounds():
    """Blocks of 2 at most lead to 8 in four; the first ends at 2."""
    low, search = Aims(), CEM(128, 12, 16)
    agent = point_agent(planner=low, high_level=HighLevel(PointMacro(), search, LeastStepMSE(), 4))
    agent.reset(observation([(8, 8)]))
    agent.observe(observation([(0, 0)]))
    agent.plan(torch.Generator().manual_seed(0))
    np.testing.assert_allclose(low.goal.tokens_BSD[0, 0], [2, 2], atol=0.1)


def test_a_policy_acts_towards_the_sub_goal():
    """Half of the way to 0.8 in a block, whatever the goal is."""
    high_level = HighLevel(PointMacro(), Given((0.8, 0.0), (0.8, 0.0)), LastStepMSE(), 2)
    agent = point_agent(planner=NoSearch(), prior=PolicyPrior(HalfWay()), horizon_blocks=1, high_level=high_level)
    agent.reset(observation([(9, 0)]))
    agent.observe(observation([(0, 0)]))
    moved = agent.blocks.to_env_steps(agent.plan(torch.Generator()).actions_BHA).sum(axis=1)
    np.testing.assert_allclose(moved, [[0.4, 0]], atol=1e-6)


def test_both_levels_bring_points_to_their_goal():
    """The goal is seven blocks away, a plan of the low level is two blocks long."""
    high_level = HighLevel(PointMacro(), CEM(64, 8, 8), LeastStepMSE(), 4)
    agent, plant = point_agent(planner=CEM(64, 8, 8), high_level=high_level), Points()
    goal = observation([(3, 0), (3, 0)])
    MPC(1).run(agent, plant, goal, 24, torch.Generator().manual_seed(0), ignore_progress)
    np.testing.assert_allclose([env.get_state() for env in plant.envs], [[3, 0], [3, 0]], atol=0.15)


def test_finished_environments_cost_nothing():
    search = Given((1.0, 0.0), (1.0, 0.0))
    agent = point_agent(planner=Aims(), high_level=HighLevel(PointMacro(), search, LeastStepMSE(), 2))
    agent.reset(observation([(9, 0), (9, 0)]))
    agent.observe(observation([(0, 0), (0, 0)]))
    agent.skip(np.array([True, False]))
    agent.plan(torch.Generator())
    assert (search.problem.cost(torch.zeros(2, 1, 2, 2)) > 0).tolist() == [[False], [True]]


def test_dynamics_that_predict_nan_are_refused():
    with pytest.raises(UserError, match="predicts NaN"):
        aimed_at([(4, 1)], (1.5, 0.5), (1.5, 0.5), cost=torch.nan)
