"""Random shooting."""

import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.candidates import better, cheapest, nothing_found
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan

_OTHERS = 8
"""Good candidates that come with the plan."""


class RandomShooting(Planner):
    """The best of N sequences drawn uniformly from the bounds (Rao, 2009): what a search has to be better than.

    Args:
        num_samples: N; the first one is the start of the search, so that no plan is worse.

    Raises:
        ValueError: ``num_samples`` is below 1.
    """

    def __init__(self, num_samples: int = 9000):
        at_least(1, num_samples=num_samples)
        self.num_samples = num_samples

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        start_BHA = problem.start(warm_start_BKHA)
        # the normal distribution's own function makes its values uniform in 0..1
        share_BNHA = torch.special.ndtr(problem.noise(self.num_samples))
        actions_BNHA = problem.project(torch.lerp(problem.low_A, problem.high_A, share_BNHA))
        actions_BNHA[:, 0] = start_BHA
        count = min(1 + _OTHERS, self.num_samples)
        best_BKHA, cost_BK = cheapest(actions_BNHA, problem.cost(actions_BNHA), count)
        best = better(nothing_found(start_BHA), best_BKHA[:, 0], cost_BK[:, 0])
        return best._replace(elites_BKHA=best_BKHA[:, 1:])
