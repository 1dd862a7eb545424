"""Goals on the way, in the world of points: who aims where can be read off by hand."""

import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.mpc import MPC
from cjepa.planning.perception import Observation
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.priors import PolicyPrior
from cjepa.planning.sub_goals import Route, SubGoals
from tests.conftest import ignore_progress
from tests.planning.test_priors import HalfWay
from tests.planning.worlds import PointWorld, observation, point_agent


class Measuring:
    """An agent that is told its distances; remembers where it aims."""

    def __init__(self, *distances):
        self.distances = iter(distances)

    def goal_distance(self, seen):
        distance = next(self.distances)
        return None if distance is None else torch.tensor(distance)

    def aim(self, goal: Observation):
        self.places = goal.proprio_BP.round(3).tolist()


def goals(*places) -> list[Observation]:
    """For two environments each."""
    return [observation([(place, 0), (place, 1)]) for place in places]


def test_every_environment_goes_on_when_it_has_arrived():
    """The first arrives before the first and the third plan, the second never; 0.5 is just near enough."""
    agent = Measuring([0.5, 0.6], [0.51, 9.0], [0.0, 9.0], [0.0, 9.0])
    route, found = Route(goals(1, 2, 3), reached_distance=0.5, most_env_steps=1000), []
    assert route.goal.proprio_BP.tolist() == [[1, 0], [1, 1]]
    for env_step in range(4):
        route.update(agent, route.goals[0], env_step)
        found.append(agent.places)
    assert found == [[[2, 0], [1, 1]], [[2, 0], [1, 1]], [[3, 0], [1, 1]], [[3, 0], [1, 1]]]


@pytest.mark.parametrize("distance", [[9.0, 9.0], None])
def test_or_after_its_time(distance):
    agent, found = Measuring(*[distance] * 6), []
    route = Route(goals(1, 2, 3), reached_distance=0.5, most_env_steps=10)
    for env_step in (0, 5, 10, 15, 20, 30):
        route.update(agent, route.goals[0], env_step)
        found.append(route.index_B.tolist())
    assert found == [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2], [2, 2]]


class Points:
    """Two points, of which the first is nearly at its sub-goal."""

    finished = np.zeros(2, bool)

    def __init__(self):
        self.envs = [PointWorld(), PointWorld()]
        self.envs[0].set_state((0.9, 0.0))

    def observe(self):
        return observation([env.get_state() for env in self.envs])

    def execute(self, actions_BTA):
        for env, actions in zip(self.envs, actions_BTA, strict=True):
            for action in actions:
                env.advance(action)


def test_the_loop_aims_at_one_goal_after_the_other():
    """Half of the way in a block of two env steps: 0.9 is within 0.1 of 1; 0 gets 0.5, 0.75, 0.875 and then 0.9375."""
    agent, plant = point_agent(planner=NoSearch(), prior=PolicyPrior(HalfWay()), horizon_blocks=1), Points()
    way = [observation([(1, 0), (1, 0)]), observation([(0, 0), (0, 0)])]
    route = Route(way, reached_distance=0.1**2 / 2 + 1e-6, most_env_steps=100)
    records = MPC(1).run(agent, plant, way[-1], 12, torch.Generator(), ignore_progress, route=route)
    assert [record.goal_B.tolist() for record in records] == [[1, 0], [1, 0], [1, 0], [1, 0], [1, 1], [1, 1]]
    places = [env.get_state()[0] for env in plant.envs]
    np.testing.assert_allclose(places, [0.9 / 2**6, 0.9375 / 2**2], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "--sub_goals: expected either states or images"),
        ({"states": [[0.0]], "images": ["a.png"]}, "--sub_goals: expected either states or images"),
        ({"states": [[0.0]], "reached_distance": -1.0}, "--sub_goals.reached_distance is -1.0, expected a finite"),
        ({"states": [[0.0]], "most_env_steps": 0}, "--sub_goals.most_env_steps is 0, expected 1 or more"),
    ],
)
def test_what_is_not_understood_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        SubGoals(**changes)
