"""Model-predictive path integral control."""

import torch
from torch import Tensor

from cjepa.arguments import above, at_least
from cjepa.planning.planners.base import Planner, check_search
from cjepa.planning.planners.candidates import better, cheapest, nothing_found
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class MPPI(Planner):
    """MPPI (Williams et al., 2015, arXiv 1509.01149) as TD-MPC2 runs it (Hansen et al., 2024, arXiv 2310.16828).

    As :class:`cjepa.planning.planners.cem.CEM`, but an elite counts by exp(-cost / temperature), in the mean and in the
    standard deviation. Costs are divided by their standard deviation over the candidates of an environment first, so
    that a temperature means the same for every objective.

    Args:
        num_samples: N, candidates per iteration.
        iterations: how often to refit.
        num_elites: K candidates that take part in the weighted mean.
        temperature: of the weights, in standard deviations of the costs: near 0 only the best candidate counts, far
            above 1 all elites count alike, as in CEM. TD-MPC2: 2 (its weights are exp(0.5 value)).
        initial_std: of the first candidates, as a share of half the action range.
        min_std: lower limit of the standard deviation, as a share of half the action range.
        max_std: upper limit, likewise.

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, or another number is out of its range.
    """

    def __init__(
        self,
        num_samples: int = 512,
        iterations: int = 6,
        num_elites: int = 64,
        temperature: float = 2.0,
        initial_std: float = 1.0,
        min_std: float = 0.05,
        max_std: float = 2.0,
    ):
        check_search(num_samples, iterations, num_elites, initial_std, min_std)
        above(0, temperature=temperature)
        at_least(min_std, max_std=max_std)
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.temperature = temperature
        self.initial_std = initial_std
        self.min_std = min_std
        self.max_std = max_std

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        mean_BHA = problem.start(warm_start_BKHA)
        std_BHA = (self.initial_std * problem.half_range).expand_as(mean_BHA)
        best = nothing_found(mean_BHA)
        for _ in range(self.iterations):
            actions_BNHA = problem.project(mean_BHA[:, None] + std_BHA[:, None] * problem.noise(self.num_samples))
            actions_BNHA[:, 0] = best.actions_BHA  # never lose the incumbent
            cost_BN = problem.cost(actions_BNHA)
            elites_BKHA, cost_BK = cheapest(actions_BNHA, cost_BN, self.num_elites)
            weight_BK11 = path_weights(cost_BK, spread(cost_BN), self.temperature)[..., None, None]
            mean_BHA = (weight_BK11 * elites_BKHA).sum(dim=1)
            std_BHA = (weight_BK11 * (elites_BKHA - mean_BHA[:, None]).square()).sum(dim=1).sqrt()
            std_BHA = std_BHA.clamp(self.min_std * problem.half_range, self.max_std * problem.half_range)
            best = better(best, elites_BKHA[:, 0], cost_BK[:, 0])
        return best._replace(elites_BKHA=elites_BKHA[:, 1:])


def path_weights(cost_BK: Tensor, spread_B: Tensor, temperature: float) -> Tensor:
    """Weights ``(B, K)`` ~ exp(-cost / (temperature x spread)), which add up to 1; 0 for infinite costs.

    Where no cost is finite, or all are the same, every candidate has the same weight.
    """
    least_B1 = cost_BK.amin(dim=1, keepdim=True)
    scaled_BK = ((cost_BK - least_B1) / (temperature * spread_B[:, None])).nan_to_num(0.0, posinf=torch.inf)
    worthless_BK = cost_BK.isinf() & least_B1.isfinite()
    return torch.softmax(-torch.where(worthless_BK, torch.inf, scaled_BK), dim=1)


def spread(cost_BN: Tensor) -> Tensor:
    """Standard deviation of the finite costs of each environment, ``(B,)``; NaN with fewer than two."""
    finite_BN = cost_BN.isfinite()
    count_B = finite_BN.sum(dim=1)
    mean_B1 = torch.where(finite_BN, cost_BN, 0.0).sum(dim=1, keepdim=True) / count_B[:, None]
    square_BN = torch.where(finite_BN, cost_BN - mean_B1, 0.0).square()
    return (square_BN.sum(dim=1) / (count_B - 1)).sqrt()
