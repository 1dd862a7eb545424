"""The cross-entropy method."""

import torch
from torch import Tensor

from cjepa.planning.planners.base import Planner
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
        if not 2 <= num_elites <= num_samples:
            raise ValueError(f"num_elites is {num_elites}, expected 2..num_samples = {num_samples}")
        if iterations < 1:
            raise ValueError(f"iterations is {iterations}, expected 1 or more")
        if not initial_std > 0:
            raise ValueError(f"initial_std is {initial_std}, expected a number above 0")
        if not min_std >= 0:
            raise ValueError(f"min_std is {min_std}, expected 0 or more")
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.initial_std = initial_std
        self.min_std = min_std

    def plan(self, problem: PlanningProblem, warm_start_BHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        mean_BHA = problem.start(warm_start_BHA)
        std_BHA = (self.initial_std * problem.half_range).expand_as(mean_BHA)
        best = Plan(mean_BHA, torch.full((problem.batch,), torch.inf, device=problem.device))
        for _ in range(self.iterations):
            noise_BNHA = problem.noise(self.num_samples)
            actions_BNHA = problem.project(mean_BHA[:, None] + std_BHA[:, None] * noise_BNHA)
            actions_BNHA[:, 0] = best.actions_BHA  # never lose the incumbent
            cost_BN = problem.cost(actions_BNHA)
            elite_BK = cost_BN.topk(self.num_elites, largest=False).indices
            elites_BKHA = actions_BNHA.gather(1, elite_BK[..., None, None].expand(-1, -1, *mean_BHA.shape[1:]))
            mean_BHA = elites_BKHA.mean(dim=1)
            std_BHA = torch.maximum(elites_BKHA.std(dim=1), self.min_std * problem.half_range)
            cheapest_B = cost_BN.gather(1, elite_BK[:, :1]).squeeze(1)
            better_B = cheapest_B < best.cost_B
            best = Plan(
                torch.where(better_B[:, None, None], elites_BKHA[:, 0], best.actions_BHA),
                torch.where(better_B, cheapest_B, best.cost_B),
            )
        return best
