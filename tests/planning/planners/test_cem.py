import pytest

from cjepa.planning.planners.cem import CEM
from tests.planning.planners.problems import HIGH, LOW, TARGET_BHA, problem


@pytest.mark.parametrize("num_elites", [1, 11])
def test_cem_elites_are_checked(num_elites):
    with pytest.raises(ValueError, match=f"{num_elites}.*10"):
        CEM(num_samples=10, num_elites=num_elites)


@pytest.mark.parametrize(
    ("option", "value"), [("initial_std", -0.4), ("initial_std", 0.0), ("min_std", -0.1), ("initial_std", float("nan"))]
)
def test_cem_standard_deviations_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        CEM(**{option: value})


def test_cem_with_more_iterations_is_better():
    costs = [CEM(64, n, 8, min_std=0.0).plan(problem()).cost_B.sum() for n in (1, 5, 20)]
    assert costs[0] > costs[1] > costs[2]


def test_cem_starts_around_its_warm_start():
    """One iteration of narrow candidates finds what a start in the middle is far from."""
    narrow = CEM(64, 1, 8, initial_std=0.05)
    cold, warm = narrow.plan(problem()), narrow.plan(problem(), (TARGET_BHA + 0.05 * (HIGH - LOW))[:, None])
    assert (warm.cost_B < 0.2 * cold.cost_B).all()
