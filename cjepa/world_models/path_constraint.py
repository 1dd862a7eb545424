"""Fewest paths between entities at a given error: what makes the graph of a sparse predictor sparse."""

import math

import torch
from torch import Tensor, nn

from cjepa.arguments import above, at_least

_LOG_BOUND = math.log(1e6)


class PathConstraint(nn.Module):
    """Minimises the number of paths under the constraint that the error stays at a target (SPARTAN, arXiv 2411.06890).

    A training adds ``weight * paths`` to its loss. After each step the weight follows the error, as a Lagrange
    multiplier does: ``log weight += rate * max(-1, 1 - error / target)``, so it rises while predictions are good
    enough and falls while they are not.

    Args:
        target_error: mean squared error of the next blocks in normalised units (``train/future``); SPARTAN takes that
            of the same model without the constraint.
        weight: before the first step.
        rate: of the weight.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, target_error: float, weight: float = 1e-4, rate: float = 0.01):
        super().__init__()
        above(0, target_error=target_error, weight=weight)
        at_least(0, rate=rate)
        self.target_error = target_error
        self.rate = rate
        self.register_buffer("log_weight", torch.tensor(math.log(weight)))

    @property
    def weight(self) -> Tensor:
        """The present weight of paths, a scalar."""
        return self.log_weight.exp()

    def forward(self, paths: Tensor, error: Tensor) -> Tensor:
        """The weighted number of paths; the weight then takes its step, if this module is in training mode.

        Args:
            paths: mean number of paths to an entity.
            error: of the same step.
        """
        cost = self.weight * paths
        if self.training:
            change = self.rate * (1 - error.detach() / self.target_error).clamp(-1, 1)
            self.log_weight = (self.log_weight + change).clamp(-_LOG_BOUND, _LOG_BOUND)
        return cost
