"""How far predicted futures are from a goal, and what else their actions cost."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from cjepa.types import Rollout


class Goal(NamedTuple):
    """Where each of B environments should get to, in the units of the model's rollouts."""

    tokens_BSD: Tensor
    proprio_BP: Tensor
    fixed_BP: Tensor
    """1 for the proprio values that the goal fixes, 0 for the others: a goal image fixes a place, not a speed."""


class Objective(ABC):
    """Cost of candidate plans. Lower is better; objectives add up, see :class:`WeightedSum`."""

    @abstractmethod
    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """Cost of N candidates for each of B environments.

        The cost of a candidate depends on this candidate only: candidates are evaluated in parts.

        Args:
            rollout: predicted by the model, in its units: tokens ``(B, N, H, S, D)``, proprio ``(B, N, H, P)``; P is 0
                for a model without proprioception.
            actions_BNHA: the candidates, in the environment's units.
            goal: of each environment.

        Returns:
            Cost ``(B, N)``, differentiable in rollout and actions where the objective is.
        """


class LastStepMSE(Objective):
    """Mean squared error of the last block's tokens plus that of its proprioception (DINO-WM, C-JEPA).

    Args:
        proprio_weight: weight of the second term.
        position_only: compare only the proprioceptive values that a goal fixes (the environment's ``goal_proprio``),
            since a goal says where the agent is, not how fast it has to move there.
    """

    def __init__(self, proprio_weight: float = 1.0, position_only: bool = True):
        self.proprio_weight = proprio_weight
        self.position_only = position_only

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`."""
        cost_BN = (rollout.tokens_BHSD[:, :, -1] - goal.tokens_BSD[:, None]).square().mean(dim=(2, 3))
        if not goal.proprio_BP.shape[1]:
            return cost_BN
        error_BNP = (rollout.proprio_BHP[:, :, -1] - goal.proprio_BP[:, None]).square()
        if not self.position_only:
            return cost_BN + self.proprio_weight * error_BNP.mean(dim=2)
        fixed_BN = (error_BNP * goal.fixed_BP[:, None]).sum(dim=2) / goal.fixed_BP.sum(dim=1, keepdim=True).clamp(min=1)
        return cost_BN + self.proprio_weight * fixed_BN


class WeightedSum(Objective):
    """Several objectives, each times its weight.

    Args:
        objectives: to add up, at least one.
        weights: one per objective; 1 for all of them where there are none.

    Raises:
        ValueError: no objectives, or another number of weights.
    """

    def __init__(self, objectives: Sequence[Objective], weights: Sequence[float] | None = None):
        weights = [1.0] * len(objectives) if weights is None else weights
        if not objectives or len(weights) != len(objectives):
            raise ValueError(f"{len(weights)} weights for {len(objectives)} objectives, expected one each, 1 or more")
        self.objectives = objectives
        self.weights = weights

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`."""
        costs = (objective(rollout, actions_BNHA, goal) for objective in self.objectives)
        return sum(weight * cost_BN for weight, cost_BN in zip(self.weights, costs, strict=True))
