"""What planners do with candidates and their costs."""

import torch
from torch import Tensor

from cjepa.types import Plan


def cheapest(actions_BNHA: Tensor, cost_BN: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The candidates of lowest cost, best first, and their costs; NaN is worse than anything and becomes infinite.

    Returns:
        Actions ``(B, count, H, A)`` and costs ``(B, count)``.
    """
    cost_BK, index_BK = torch.where(cost_BN.isnan(), torch.inf, cost_BN).topk(count, largest=False)
    return actions_BNHA.gather(1, index_BK[..., None, None].expand(-1, -1, *actions_BNHA.shape[2:])), cost_BK


def nothing_found(actions_BHA: Tensor) -> Plan:
    """A plan that every candidate with a cost is better than; its actions are the start of the search."""
    return Plan(actions_BHA, torch.full_like(actions_BHA[:, 0, 0], torch.inf))


def better(best: Plan, actions_BHA: Tensor, cost_B: Tensor) -> Plan:
    """In every environment the better one of the best plan so far and another candidate."""
    better_B = cost_B < best.cost_B
    return Plan(
        torch.where(better_B[:, None, None], actions_BHA, best.actions_BHA),
        torch.where(better_B, cost_B, best.cost_B),
    )
