"""The cross-entropy method."""

import torch
from torch import Tensor

from cjepa.planning.planners.base import CostFn, Planner
from cjepa.types import Plan


class CEM(Planner):
    """Cross-entropy method (Rubinstein, 1999): sample, keep the elites, refit a diagonal Gaussian.

    Args:
        num_samples: N, candidates an iteration.
        iterations: how often to refit.
        num_elites: K of the N.
        initial_std: of the first candidates, as a share of half the action range.
        min_std: floor of the same, so that the search does not freeze.

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, or there is no iteration.
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
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.initial_std = initial_std
        self.min_std = min_std

    def plan(
        self,
        cost_fn: CostFn,
        batch: int,
        horizon_blocks: int,
        low_A: Tensor,
        high_A: Tensor,
        generator: torch.Generator,
    ) -> Plan:
        """See :class:`Planner`; returns the best candidate that was ever evaluated."""
        half_A = (high_A - low_A) / 2
        action_values = len(low_A)
        mean_BHA = ((low_A + high_A) / 2).expand(batch, horizon_blocks, -1)
        std_BHA = (self.initial_std * half_A).expand(batch, horizon_blocks, -1)
        best = Plan(mean_BHA, torch.full((batch,), torch.inf))
        for _ in range(self.iterations):
            noise_BNHA = torch.randn(batch, self.num_samples, horizon_blocks, action_values, generator=generator)
            actions_BNHA = (mean_BHA[:, None] + std_BHA[:, None] * noise_BNHA).clamp(low_A, high_A)
            actions_BNHA[:, 0] = best.actions_BHA  # never lose the incumbent
            cost_BN = cost_fn(actions_BNHA)
            elite_BK = cost_BN.topk(self.num_elites, largest=False).indices
            index_BKHA = elite_BK[..., None, None].expand(-1, -1, horizon_blocks, action_values)
            elites_BKHA = actions_BNHA.gather(1, index_BKHA)
            mean_BHA = elites_BKHA.mean(dim=1)
            std_BHA = torch.maximum(elites_BKHA.std(dim=1), self.min_std * half_A)
            cheapest_B = cost_BN.gather(1, elite_BK[:, :1]).squeeze(1)
            better_B = cheapest_B < best.cost_B
            best = Plan(
                torch.where(better_B[:, None, None], elites_BKHA[:, 0], best.actions_BHA),
                torch.where(better_B, cheapest_B, best.cost_B),
            )
        return best
