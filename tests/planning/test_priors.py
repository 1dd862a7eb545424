"""A policy as the first guess of a search, in the world of points: what it does can be computed by hand."""

import torch

from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.priors import PolicyPrior
from cjepa.policies.base import GoalPolicy
from tests.planning.worlds import STRIDE, observation, point_agent


class HalfWay(GoalPolicy):
    """Goes half of the way to the goal in a block, whatever the bounds."""

    def __init__(self):
        super().__init__(2, 2, 2 * STRIDE)

    def forward(self, tokens_BSD, proprio_BP, goal_BSD):
        torch.testing.assert_close(proprio_BP, tokens_BSD[:, 0])
        return ((goal_BSD - tokens_BSD)[:, 0] / 2 / STRIDE).repeat(1, STRIDE)


def planned(planner, start, goal, warm_start_BKHA=None, prior=True):
    agent = point_agent(planner=planner, prior=PolicyPrior(HalfWay()) if prior else None)
    agent.reset(observation([goal]))
    agent.observe(observation([start]))
    return agent.plan(torch.Generator().manual_seed(0), warm_start_BKHA)


def test_the_policy_acts_in_the_imagined_world():
    """From 0 to 0.8 and 0: blocks of 0.4 and 0.2, each in two env steps."""
    plan = planned(NoSearch(), (0.0, 0.0), (0.8, 0.0))
    expected = torch.tensor([[[0.2, 0.0, 0.2, 0.0], [0.1, 0.0, 0.1, 0.0]]])
    torch.testing.assert_close(plan.actions_BHA, expected)
    # the errors of two token values, and of two proprio values
    torch.testing.assert_close(plan.cost_B, torch.tensor([0.2**2 / 2 + 0.2**2 / 2]))


def test_it_imagines_what_the_bounds_allow():
    """From 0 to 4: 2 is more than the 0.6 of a block, and from there half of the way is too."""
    plan = planned(NoSearch(), (0.0, 0.0), (4.0, 0.0))
    torch.testing.assert_close(plan.actions_BHA[0, :, 0], torch.tensor([0.3, 0.3]))


def test_without_a_policy_no_search_does_nothing_or_goes_on_with_the_last_plan():
    middle = planned(NoSearch(), (0.0, 0.0), (0.8, 0.0), prior=False).actions_BHA
    torch.testing.assert_close(middle, torch.full_like(middle, -0.05))  # of the bounds -0.4 and 0.3
    rest = torch.full((1, 2, 2, 4), 0.1)
    rest[:, 1] = 0.2
    plan = planned(NoSearch(), (0.0, 0.0), (0.8, 0.0), rest, prior=False)
    torch.testing.assert_close(plan.actions_BHA, rest[:, 0])


def test_a_search_starts_at_the_policy_and_is_never_worse():
    """One narrow iteration stays near its first mean."""
    narrow = CEM(num_samples=8, iterations=1, num_elites=2, initial_std=0.01)
    goal = (0.8, 0.0)
    guess, found = planned(NoSearch(), (0.0, 0.0), goal), planned(narrow, (0.0, 0.0), goal)
    assert (found.actions_BHA - guess.actions_BHA).abs().max() < 0.05 and found.cost_B <= guess.cost_B
    far = planned(narrow, (0.0, 0.0), goal, prior=False)
    assert far.cost_B > 2 * found.cost_B


def test_the_policy_comes_before_what_is_left_of_the_last_plan():
    seen = []

    class Starts(NoSearch):
        def plan(self, problem, warm_start_BKHA=None):
            seen.append(warm_start_BKHA)
            return super().plan(problem, warm_start_BKHA)

    rest = torch.full((1, 3, 2, 4), 0.1)
    plan = planned(Starts(), (0.0, 0.0), (0.8, 0.0), rest)
    torch.testing.assert_close(seen[0], torch.cat([plan.actions_BHA[:, None], rest], dim=1))
