"""Sampling planners: they see a cost function over batches of candidate action sequences, nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from cjepa.types import Plan

CostFn = Callable[[Tensor], Tensor]
"""actions ``(B, N, H, A)`` -> cost ``(B, N)``, lower is better."""


class Planner(ABC):
    """Searches bounded action sequences for a batch of environments at once."""

    @abstractmethod
    def plan(
        self,
        cost_fn: CostFn,
        batch: int,
        horizon_blocks: int,
        low_A: Tensor,
        high_A: Tensor,
        generator: torch.Generator,
    ) -> Plan:
        """Find a sequence of low cost for each of ``batch`` environments.

        Args:
            cost_fn: of candidates.
            batch: B.
            horizon_blocks: H.
            low_A: lower bounds of the action values of one block.
            high_A: upper bounds.
            generator: of all randomness.
        """
