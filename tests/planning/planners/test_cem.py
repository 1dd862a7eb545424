import pytest
import torch

from cjepa.planning.constraints import Constraint
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.problem import PlanningProblem
from tests.contracts import build, concrete_subclasses

B, H, A = 3, 2, 4
LOW, HIGH = torch.tensor([-1.0, -1.0, -2.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 5.0])
TARGET_BHA = LOW + (HIGH - LOW) * torch.rand(B, H, A, generator=torch.Generator().manual_seed(9))


def quadratic(actions_BNHA: torch.Tensor) -> torch.Tensor:
    return (actions_BNHA - TARGET_BHA[:, None]).square().sum(dim=(2, 3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(cost=quadratic, seed: int = 0, batch: int = B, constraints=()) -> PlanningProblem:
    return PlanningProblem(cost, LOW, HIGH, batch, H, seeded(seed), constraints)


@pytest.fixture(params=concrete_subclasses("cjepa.planning", Planner), ids=lambda cls: cls.__name__)
def planner(request) -> Planner:
    return build(request.param, num_samples=128, iterations=20, num_elites=16, min_std=0.01)


def test_contract_finds_the_minimum_of_a_quadratic(planner):
    plan = planner.plan(problem())
    assert plan.actions_BHA.shape == (B, H, A) and plan.cost_B.shape == (B,)
    assert (plan.actions_BHA - TARGET_BHA).abs().max() < 0.2
    torch.testing.assert_close(plan.cost_B, quadratic(plan.actions_BHA[:, None])[:, 0])


def test_contract_respects_bounds(planner):
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return -actions_BNHA.sum(dim=(2, 3))  # the best is the upper corner

    plan = planner.plan(problem(cost))
    for actions in (*seen, plan.actions_BHA):
        assert (actions >= LOW).all() and (actions <= HIGH).all()
    torch.testing.assert_close(plan.actions_BHA, HIGH.expand(B, H, A), atol=0.15, rtol=0)


class Ball(Constraint):
    """No action further than 0.5 from the origin: not a box."""

    def project(self, actions_BNHA):
        return actions_BNHA * (0.5 / actions_BNHA.norm(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(max=1.0)


def test_contract_respects_constraints_that_are_no_box(planner):
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return -actions_BNHA[..., 3].sum(dim=2)

    plan = planner.plan(problem(cost, constraints=(Ball(),)))
    for actions in (*seen, plan.actions_BHA):
        assert (actions.norm(dim=-1) <= 0.5 + 1e-5).all() and (actions[..., 3] >= 0).all()
    assert (plan.actions_BHA[..., 3] > 0.45).all()  # the best is 0.5 along the last value


def test_contract_is_never_worse_than_the_middle(planner):
    middle = ((LOW + HIGH) / 2).expand(B, 1, H, A)

    def cliff(actions_BNHA):  # a needle at the middle of the bounds
        return ((actions_BNHA - middle).abs().amax(dim=(2, 3)) > 1e-6).float()

    assert (planner.plan(problem(cliff)).cost_B <= cliff(middle)[:, 0]).all()


def test_contract_is_never_worse_than_its_warm_start(planner):
    def cliff(actions_BNHA):  # a needle at the target
        return ((actions_BNHA - TARGET_BHA[:, None]).abs().amax(dim=(2, 3)) > 1e-6).float()

    plan = planner.plan(problem(cliff), TARGET_BHA)
    assert (plan.cost_B == 0).all()
    torch.testing.assert_close(plan.actions_BHA, TARGET_BHA)


def test_contract_a_warm_start_is_brought_within_the_bounds(planner):
    plan = planner.plan(problem(), TARGET_BHA + 10)
    assert (plan.actions_BHA >= LOW).all() and (plan.actions_BHA <= HIGH).all()


def test_contract_the_generator_decides(planner):
    first, again, other = (planner.plan(problem(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.actions_BHA, again.actions_BHA) and torch.equal(first.cost_B, again.cost_B)
    assert not torch.equal(first.actions_BHA, other.actions_BHA)


def test_contract_environments_do_not_mix(planner):
    """A row's outcome does not depend on how costly the other rows are."""

    def skewed(actions_BNHA):
        return quadratic(actions_BNHA) * torch.tensor([[1.0], [1e6], [1.0]]) + torch.tensor([[0.0], [0.0], [-1e3]])

    plain, other = (planner.plan(problem(cost)) for cost in (quadratic, skewed))
    torch.testing.assert_close(plain.actions_BHA[0], other.actions_BHA[0])


def test_contract_one_environment_is_planned_as_eight_are(planner):
    """With the noise of its row, an environment on its own gets the plan that it gets in a batch."""
    noise_1NHA = torch.randn(1, 128, H, A, generator=seeded(5))

    class SameNoise(PlanningProblem):
        def noise(self, num_samples):
            return noise_1NHA[:, :num_samples].expand(self.batch, -1, -1, -1)

    def cost(actions_BNHA):
        return (actions_BNHA - TARGET_BHA[:1, None]).square().sum(dim=(2, 3))

    one, eight = (planner.plan(SameNoise(cost, LOW, HIGH, batch, H, seeded())) for batch in (1, 8))
    torch.testing.assert_close(eight.actions_BHA, one.actions_BHA.expand(8, -1, -1))
    torch.testing.assert_close(eight.cost_B, one.cost_B.expand(8))


def test_contract_returns_the_best_it_has_seen(planner):
    best = torch.full((B,), torch.inf)

    def cost(actions_BNHA):
        cost_BN = torch.rand(actions_BNHA.shape[:2], generator=noise)  # no structure at all
        best.copy_(torch.minimum(best, cost_BN.amin(dim=1)))
        return cost_BN

    noise = seeded(3)
    assert torch.equal(planner.plan(problem(cost)).cost_B, best)


def test_contract_candidates_without_a_cost_are_never_chosen(planner):
    def half(actions_BNHA):
        return torch.where(actions_BNHA[..., 0, 0] > 0, torch.nan, quadratic(actions_BNHA))

    plan = planner.plan(problem(half))
    assert (plan.actions_BHA[:, 0, 0] <= 0).all() and torch.isfinite(plan.cost_B).all()
    nothing = planner.plan(problem(lambda actions_BNHA: torch.full(actions_BNHA.shape[:2], torch.nan)))
    assert (nothing.cost_B == torch.inf).all()


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
    cold, warm = narrow.plan(problem()), narrow.plan(problem(), TARGET_BHA + 0.05 * (HIGH - LOW))
    assert (warm.cost_B < 0.2 * cold.cost_B).all()
