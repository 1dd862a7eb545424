import pytest
import torch

from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from tests.contracts import build, concrete_subclasses

B, H, A = 3, 2, 4
LOW, HIGH = torch.tensor([-1.0, -1.0, -2.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 5.0])
TARGET_BHA = LOW + (HIGH - LOW) * torch.rand(B, H, A, generator=torch.Generator().manual_seed(9))


def quadratic(actions_BNHA: torch.Tensor) -> torch.Tensor:
    return (actions_BNHA - TARGET_BHA[:, None]).square().sum(dim=(2, 3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=concrete_subclasses("cjepa.planning", Planner), ids=lambda cls: cls.__name__)
def planner(request) -> Planner:
    return build(request.param, num_samples=128, iterations=20, num_elites=16, min_std=0.01)


def test_contract_finds_the_minimum_of_a_quadratic(planner):
    plan = planner.plan(quadratic, B, H, LOW, HIGH, seeded())
    assert plan.actions_BHA.shape == (B, H, A) and plan.cost_B.shape == (B,)
    assert (plan.actions_BHA - TARGET_BHA).abs().max() < 0.2
    torch.testing.assert_close(plan.cost_B, quadratic(plan.actions_BHA[:, None])[:, 0])


def test_contract_respects_bounds(planner):
    seen = []

    def cost_fn(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return -actions_BNHA.sum(dim=(2, 3))  # the best is the upper corner

    plan = planner.plan(cost_fn, B, H, LOW, HIGH, seeded())
    for actions in (*seen, plan.actions_BHA):
        assert (actions >= LOW).all() and (actions <= HIGH).all()
    torch.testing.assert_close(plan.actions_BHA, HIGH.expand(B, H, A), atol=0.15, rtol=0)


def test_contract_is_never_worse_than_the_middle(planner):
    middle = ((LOW + HIGH) / 2).expand(B, 1, H, A)

    def cliff(actions_BNHA):  # a needle at the middle of the bounds
        return ((actions_BNHA - middle).abs().amax(dim=(2, 3)) > 1e-6).float()

    assert (planner.plan(cliff, B, H, LOW, HIGH, seeded()).cost_B <= cliff(middle)[:, 0]).all()


def test_contract_the_generator_decides(planner):
    first, again, other = (planner.plan(quadratic, B, H, LOW, HIGH, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first.actions_BHA, again.actions_BHA) and torch.equal(first.cost_B, again.cost_B)
    assert not torch.equal(first.actions_BHA, other.actions_BHA)


def test_contract_environments_do_not_mix(planner):
    """A row's outcome does not depend on how costly the other rows are."""

    def skewed(actions_BNHA):
        return quadratic(actions_BNHA) * torch.tensor([[1.0], [1e6], [1.0]]) + torch.tensor([[0.0], [0.0], [-1e3]])

    plain, other = (planner.plan(cost_fn, B, H, LOW, HIGH, seeded()) for cost_fn in (quadratic, skewed))
    torch.testing.assert_close(plain.actions_BHA[0], other.actions_BHA[0])


def test_contract_returns_the_best_it_has_seen(planner):
    best = torch.full((B,), torch.inf)

    def cost_fn(actions_BNHA):
        cost_BN = torch.rand(actions_BNHA.shape[:2], generator=noise)  # no structure at all
        best.copy_(torch.minimum(best, cost_BN.amin(dim=1)))
        return cost_BN

    noise = seeded(3)
    assert torch.equal(planner.plan(cost_fn, B, H, LOW, HIGH, seeded()).cost_B, best)


@pytest.mark.parametrize("num_elites", [1, 11])
def test_cem_elites_are_checked(num_elites):
    with pytest.raises(ValueError, match=f"{num_elites}.*10"):
        CEM(num_samples=10, num_elites=num_elites)


def test_cem_with_more_iterations_is_better():
    costs = [CEM(64, n, 8, min_std=0.0).plan(quadratic, B, H, LOW, HIGH, seeded()).cost_B.sum() for n in (1, 5, 20)]
    assert costs[0] > costs[1] > costs[2]
