"""What a planner tries while it searches."""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from cjepa.planning.planners.base import Planner, solved
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
    return solved(planner, replace(problem, cost=recorded)).cpu(), recorded


class CountedCandidates:
    """Counts the candidates that a planner asks about, at a cost of its own that takes no time."""

    def __init__(self):
        self.candidates = 0
        """Those whose gradients are not kept, of all environments."""
        self.followed = 0
        """Those whose gradients are kept, likewise."""

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """See :class:`~cjepa.planning.problem.Cost`."""
        candidates = actions_BNHA.shape[0] * actions_BNHA.shape[1]
        if actions_BNHA.requires_grad:
            self.followed += candidates
        else:
            self.candidates += candidates
        return actions_BNHA.square().mean(dim=(-2, -1))


def search_length(planner: Planner, problem: PlanningProblem, warm_start_BKHA: Tensor | None) -> int:
    """Candidates per environment that a search asks about: a copy of the planner searches at a cost that takes no time.

    Args:
        planner: that will search, or is about to.
        problem: whose generator is left as it is.
        warm_start_BKHA: of the search.
    """
    asked, generator = CountedCandidates(), torch.Generator(problem.device).manual_seed(0)
    first = None if warm_start_BKHA is None else warm_start_BKHA[:1]
    copy.deepcopy(planner).plan(replace(problem, cost=asked, batch=1, generator=generator), first)
    return asked.candidates + asked.followed
