"""Smaller searches of a planner."""

import pytest

from cjepa.errors import UserError
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.gradient import GradientPlanner
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.planners.random_shooting import RandomShooting
from cjepa.planning.planners.smaller import search_size, smaller_searches
from tests.planning.planners.problems import problem


def test_iterations_and_samples_are_halved_in_turn_and_elites_stay_a_share():
    planner = CEM(num_samples=30, iterations=5, num_elites=6, initial_std=0.5)
    found = smaller_searches(planner)
    sizes = [(one.num_samples, one.iterations, one.num_elites) for one in found]
    assert sizes == [(30, 3, 6), (15, 3, 3), (15, 2, 3), (8, 2, 2), (8, 1, 2)]
    assert all(one.initial_std == 0.5 for one in found)
    assert (planner.num_samples, planner.iterations, planner.num_elites) == (30, 5, 6)
    assert found[-1].plan(problem()).cost_B.isfinite().all()


def test_a_planner_with_one_of_the_numbers():
    assert [one.num_samples for one in smaller_searches(RandomShooting(20))] == [10, 8]
    assert [one.iterations for one in smaller_searches(GradientPlanner(iterations=6))] == [3, 2, 1]
    assert [search_size(one) for one in (CEM(), RandomShooting(20), GradientPlanner(iterations=6))] == [
        "300 x 30",
        "20",
        "6",
    ]


@pytest.mark.parametrize("planner", [NoSearch(), RandomShooting(8)])
def test_a_planner_that_cannot_search_less_is_refused(planner):
    with pytest.raises(UserError, match=f"{type(planner).__name__} has no num_samples above 8"):
        smaller_searches(planner)
