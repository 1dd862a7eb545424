"""The cross-entropy method."""

import torch
from torch import Tensor

from cjepa.planning.planners.base import Planner, check_search
from cjepa.planning.planners.candidates import better, cheapest, nothing_found
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class CEM(Planner):
    """Cross-entropy method (Rubinstein, 1999): sample, keep the elites, refit a diagonal Gaussian.

    Args:
        num_samples: N, candidates per iteration.
        iterations: how often to refit.
        num_elites: K of the N.
        initial_std: of the first candidates, as a share of half the action range.
        min_std: lower limit of the standard deviation, as a share of half the action range, so that the search does
            not freeze.

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, ``iterations`` is below 1, ``initial_std`` is not above
            0, or ``min_std`` is below 0.
    """

    def __init__(
        self,
        num_samples: int = 300,
        iterations: int = 30,
        num_elites: int = 30,
        initial_std: float = 1.0,
        min_std: float = 0.05,
    ):
        check_search(num_samples, iterations, num_elites, initial_std, min_std)
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.initial_std = initial_std
        self.min_std = min_std

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        mean_BHA = problem.start(warm_start_BKHA)
        std_BHA = (self.initial_std * problem.half_range).expand_as(mean_BHA)
        best = nothing_found(mean_BHA)
        for _ in range(self.iterations):
            noise_BNHA = problem.noise(self.num_samples)
            actions_BNHA = problem.project(mean_BHA[:, None] + std_BHA[:, None] * noise_BNHA)
            actions_BNHA[:, 0] = best.actions_BHA  # never lose the incumbent
            elites_BKHA, cost_BK = cheapest(actions_BNHA, problem.cost(actions_BNHA), self.num_elites)
            mean_BHA = elites_BKHA.mean(dim=1)
            std_BHA = torch.maximum(elites_BKHA.std(dim=1), self.min_std * problem.half_range)
            best = better(best, elites_BKHA[:, 0], cost_BK[:, 0])
        return best._replace(elites_BKHA=elites_BKHA[:, 1:])
