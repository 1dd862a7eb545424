"""What a planner tries while it searches."""

from dataclasses import replace

from torch import Tensor

from cjepa.planning.planners.base import Planner
from cjepa.planning.problem import Cost, PlanningProblem
from cjepa.types import Plan


class RecordedCost:
    """A cost that keeps the candidates of the first environment.

    Args:
        cost: of candidates.
    """

    def __init__(self, cost: Cost):
        self.cost = cost
        self.calls: list[tuple[Tensor, Tensor]] = []
        """Candidates ``(N, H, A)`` and their costs ``(N,)``, call by call, on the CPU."""

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """See :class:`~cjepa.planning.problem.Cost`."""
        cost_BN = self.cost(actions_BNHA)
        self.calls.append((actions_BNHA[0].detach().cpu().clone(), cost_BN[0].detach().cpu().clone()))
        return cost_BN


def recorded_plan(planner: Planner, problem: PlanningProblem) -> tuple[Plan, RecordedCost]:
    """The plan that a planner finds, on the CPU, and all that it tried for the first environment.

    Args:
        planner: that searches.
        problem: to solve.
    """
    recorded = RecordedCost(problem.cost)
    return planner.plan(replace(problem, cost=recorded)).cpu(), recorded
