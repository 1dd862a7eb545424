"""What every planner keeps to."""

import inspect
import re
from types import SimpleNamespace

import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.constraints import Constraint
from cjepa.planning.planners.base import Planner, solved
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.gradient import GradientPlanner
from cjepa.planning.planners.icem import ICEM
from cjepa.planning.planners.mppi import MPPI
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.planners.random_shooting import RandomShooting
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan
from tests.contracts import build, concrete_subclasses
from tests.planning.planners.problems import HIGH, LOW, TARGET_BHA, A, B, H, problem, quadratic, seeded

PLANNERS = concrete_subclasses("cjepa.planning", Planner)
SMALL = {"num_samples": 128, "iterations": 20, "num_elites": 16, "min_std": 0.01}


def of_class(planners: list[type[Planner]]):
    return pytest.mark.parametrize("planner", [build(c, **SMALL) for c in planners], ids=[c.__name__ for c in planners])


every = of_class(PLANNERS)
drawing = of_class([cls for cls in PLANNERS if cls is not NoSearch])
"""Those that look at more than where they start."""
searching = of_class([cls for cls in PLANNERS if "iterations" in inspect.signature(cls).parameters])
"""Those that search further where they have found something; random shooting does not."""


def with_gradient(cost_BN: torch.Tensor, actions_BNHA: torch.Tensor) -> torch.Tensor:
    """Costs that have a gradient, of 0, for planners that insist on one."""
    return cost_BN + 0 * actions_BNHA.sum(dim=(2, 3))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (None, " gives a NoneType, expected a Plan"),
        (Plan(torch.zeros(B, 1, A), torch.zeros(B)), ": actions_BHA gives shape (3, 1, 4), expected shape (3, 2, 4)"),
        (Plan(None, torch.zeros(B)), ": actions_BHA gives a NoneType, expected shape (3, 2, 4)"),
        (Plan(LOW.expand(B, H, A), torch.zeros(B, 1)), ": cost_B gives shape (3, 1), expected shape (3,)"),
        (Plan(LOW.expand(B, H, A), 0.0), ": cost_B gives a float, expected shape (3,)"),
        (
            Plan(LOW.expand(B, H, A), torch.zeros(B), LOW.expand(B, 5, A)),
            ": elites_BKHA gives shape (3, 5, 4), expected shape (3, 5, 2, 4)",
        ),
        (
            Plan(HIGH.expand(B, H, A) + 1, torch.zeros(B)),
            " gives actions out of bounds or NaN; `problem.project`",
        ),
        (Plan(LOW.expand(B, H, A) * torch.nan, torch.zeros(B)), " gives actions out of bounds or NaN"),
    ],
)
def test_what_a_planner_gives_is_looked_at(plan, said):
    with pytest.raises(UserError, match=re.escape(f"SimpleNamespace.plan{said}")):
        solved(SimpleNamespace(plan=lambda problem, warm_start_BKHA: plan), problem())


@of_class([CEM, GradientPlanner, ICEM, MPPI, RandomShooting])
def test_other_good_candidates_come_with_the_plan_best_first(planner):
    plan = planner.plan(problem())
    cost_BK = quadratic(plan.elites_BKHA)
    assert cost_BK.shape[1] >= 3
    assert (torch.cat([plan.cost_B[:, None], cost_BK], dim=1).diff(dim=1) >= 0).all()


@searching
def test_contract_finds_the_minimum_of_a_quadratic(planner):
    plan = planner.plan(problem())
    assert plan.actions_BHA.shape == (B, H, A) and plan.cost_B.shape == (B,)
    assert (plan.actions_BHA - TARGET_BHA).abs().max() < 0.2
    torch.testing.assert_close(plan.cost_B, quadratic(plan.actions_BHA[:, None])[:, 0])


@drawing
def test_contract_finds_the_best_of_one_action_value(planner):
    """0.3 of -1..1, by 128 candidates and more: even chance comes near."""

    def cost(actions_BNHA):
        return (actions_BNHA - 0.3).abs().sum(dim=(2, 3))

    bounds = (-torch.ones(1), torch.ones(1))
    plan = planner.plan(PlanningProblem(cost, *bounds, 3, 1, seeded()))
    assert (plan.actions_BHA - 0.3).abs().max() < 0.05
    torch.testing.assert_close(plan.cost_B, cost(plan.actions_BHA[:, None])[:, 0])


@searching
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

    def project(self, actions_BNTV):
        return actions_BNTV * (0.5 / actions_BNTV.norm(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(max=1.0)


@searching
def test_contract_respects_constraints_that_are_no_box(planner):
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return -actions_BNHA[..., 3].sum(dim=2)

    plan = planner.plan(problem(cost, constraints=(Ball(),)))
    for actions in (*seen, plan.actions_BHA):
        assert (actions.norm(dim=-1) <= 0.5 + 1e-5).all() and (actions[..., 3] >= 0).all()
    assert (plan.actions_BHA[..., 3] > 0.45).all()  # the best is 0.5 along the last value


@every
def test_contract_is_never_worse_than_the_middle(planner):
    middle = ((LOW + HIGH) / 2).expand(B, 1, H, A)

    def cliff(actions_BNHA):  # a needle at the middle of the bounds
        return with_gradient(((actions_BNHA - middle).abs().amax(dim=(2, 3)) > 1e-6).float(), actions_BNHA)

    assert (planner.plan(problem(cliff)).cost_B <= cliff(middle)[:, 0]).all()


@every
def test_contract_is_never_worse_than_its_warm_start(planner):
    def cliff(actions_BNHA):  # a needle at the target
        return with_gradient(((actions_BNHA - TARGET_BHA[:, None]).abs().amax(dim=(2, 3)) > 1e-6).float(), actions_BNHA)

    plan = planner.plan(problem(cliff), TARGET_BHA[:, None])
    assert (plan.cost_B == 0).all()
    torch.testing.assert_close(plan.actions_BHA, TARGET_BHA)


@every
def test_contract_a_warm_start_is_brought_within_the_bounds(planner):
    plan = planner.plan(problem(), (TARGET_BHA + 10)[:, None])
    assert (plan.actions_BHA >= LOW).all() and (plan.actions_BHA <= HIGH).all()


@drawing
def test_contract_the_generator_decides(planner):
    first, again, other = (planner.plan(problem(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.actions_BHA, again.actions_BHA) and torch.equal(first.cost_B, again.cost_B)
    assert not torch.equal(first.actions_BHA, other.actions_BHA)


@every
def test_contract_environments_do_not_mix(planner):
    """A row's outcome does not depend on how costly the other rows are."""

    def skewed(actions_BNHA):
        return quadratic(actions_BNHA) * torch.tensor([[1.0], [1e6], [1.0]]) + torch.tensor([[0.0], [0.0], [-1e3]])

    plain, other = (planner.plan(problem(cost)) for cost in (quadratic, skewed))
    torch.testing.assert_close(plain.actions_BHA[0], other.actions_BHA[0])


@every
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


@every
def test_contract_the_order_of_environments_does_not_matter(planner):
    order = torch.tensor([2, 0, 1])
    noise_BNHA = torch.randn(B, 128, H, A, generator=seeded(5))

    class RowsOfNoise(PlanningProblem):
        def noise(self, num_samples):
            return self.cost.noise_BNHA[:, :num_samples].clone()

    class Cost:
        def __init__(self, rows):
            self.target_BHA, self.noise_BNHA = TARGET_BHA[rows], noise_BNHA[rows]

        def __call__(self, actions_BNHA):
            return (actions_BNHA - self.target_BHA[:, None]).square().sum(dim=(2, 3))

    plan, other = (
        planner.plan(RowsOfNoise(Cost(rows), LOW, HIGH, B, H, seeded())) for rows in (torch.arange(B), order)
    )
    assert torch.equal(other.actions_BHA, plan.actions_BHA[order]) and torch.equal(other.cost_B, plan.cost_B[order])


@every
def test_contract_returns_the_best_it_has_seen(planner):
    best = torch.full((B,), torch.inf)

    def cost(actions_BNHA):
        cost_BN = torch.rand(actions_BNHA.shape[:2], generator=noise)  # no structure at all
        best.copy_(torch.minimum(best, cost_BN.amin(dim=1)))
        return with_gradient(cost_BN, actions_BNHA)

    noise = seeded(3)
    assert torch.equal(planner.plan(problem(cost)).cost_B, best)


@every
def test_contract_candidates_without_a_cost_are_never_chosen(planner):
    def half(actions_BNHA):
        return torch.where(actions_BNHA[..., 0, 0] > 0, torch.nan, quadratic(actions_BNHA))

    plan = planner.plan(problem(half))
    assert (plan.actions_BHA[:, 0, 0] <= 0).all() and torch.isfinite(plan.cost_B).all()
    nothing = planner.plan(
        problem(lambda actions_BNHA: with_gradient(torch.full(actions_BNHA.shape[:2], torch.nan), actions_BNHA))
    )
    assert (nothing.cost_B == torch.inf).all()
