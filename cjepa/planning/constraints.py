"""Which action sequences a plan may consist of."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.arguments import above
from cjepa.errors import UserError

_LONGEST = 60
"""Characters of a bound in a message."""


class Constraint(ABC):
    """A set of allowed action sequences, given by a way into it."""

    @abstractmethod
    def project(self, actions_BNTV: Tensor) -> Tensor:
        """The nearest allowed sequence to each candidate; a sequence that is allowed stays as it is.

        Args:
            actions_BNTV: actions of T env steps in time order, V values each, in the environment's units; never changed
                in place.
        """


class Box(Constraint):
    """Every action value between two bounds, inside of the environment's own, for example for slower motions.

    Args:
        low: lowest action of an env step, in the environment's units: one number for all its values, or one for each.
        high: highest action of an env step.

    Raises:
        ValueError: a number is not finite, or ``low`` is above ``high``.
    """

    # not list[float]: jsonargparse copies the whole list for each of its numbers, minutes for tens of thousands
    def __init__(self, low: float | list, high: float | list):
        try:
            low_V, high_V = (torch.tensor(bound, dtype=torch.float32).reshape(-1) for bound in (low, high))
            sizes = {len(low_V), len(high_V)} - {1}
            is_right = len(sizes) <= 1 and 0 not in sizes and bool((low_V <= high_V).all())
            is_right &= bool(torch.isfinite(torch.cat([low_V, high_V])).all())
        except (TypeError, ValueError, RuntimeError):  # what torch raises for words, and for lists of unequal lists
            is_right = False
        if not is_right:
            shown = (str(bound)[:_LONGEST] for bound in (low, high))
            raise ValueError(
                "Box: low is {} and high is {}, expected finite low <= high, one or as many values".format(*shown)
            )
        self.low = low
        self.high = high

    def project(self, actions_BNTV: Tensor) -> Tensor:
        """See :class:`Constraint`.

        Raises:
            UserError: an action has another number of values than there are bounds.
        """
        return actions_BNTV.clamp(*(self._of_action(bound, actions_BNTV) for bound in (self.low, self.high)))

    @staticmethod
    def _of_action(bound: float | list, actions_BNTV: Tensor) -> Tensor:
        values = torch.as_tensor(bound, dtype=actions_BNTV.dtype, device=actions_BNTV.device).reshape(-1)
        if len(values) not in (1, actions_BNTV.shape[-1]):
            raise UserError(
                f"Box: {len(values)} bounds, but an action has {actions_BNTV.shape[-1]} values; give one number, or "
                "one for each value of an action"
            )
        return values


class L1Ball(Constraint):
    """Every action within a ball of the sum of absolute values, as V-JEPA 2-AC plans (arXiv 2506.09985, radius 0.075).

    Args:
        radius: greatest sum of the absolute values of an env step's action, in the environment's units.

    Raises:
        ValueError: ``radius`` is not a finite number above 0.
    """

    def __init__(self, radius: float):
        above(0, radius=radius)
        self.radius = radius

    def project(self, actions_BNTV: Tensor) -> Tensor:
        """See :class:`Constraint`; the exact projection (Duchi et al., 2008, figure 1)."""
        size_BNTV = actions_BNTV.abs()
        sorted_BNTV = size_BNTV.sort(dim=-1, descending=True).values
        rank_V = torch.arange(1, actions_BNTV.shape[-1] + 1, dtype=size_BNTV.dtype, device=size_BNTV.device)
        # what to take off all values if the first j are those that stay above 0, for j = 1..V
        excess_BNTV = (sorted_BNTV.cumsum(dim=-1) - self.radius) / rank_V
        # it is greatest at the right j
        theta_BNT1 = excess_BNTV.amax(dim=-1, keepdim=True).clamp(min=0)
        return actions_BNTV.sign() * (size_BNTV - theta_BNT1).clamp(min=0)


class MaxChange(Constraint):
    """No value of an action changes by more than a step from one env step to the next, within a plan.

    The nearest such sequence is not what clipping one action after the other gives: where a jump is too wide, the
    actions before it have to give way as well. Between two plans there is no limit.

    Args:
        step: greatest change, in the environment's units.

    Raises:
        ValueError: ``step`` is not a finite number above 0.
    """

    def __init__(self, step: float):
        above(0, step=step)
        self.step = step

    def project(self, actions_BNTV: Tensor) -> Tensor:
        """See :class:`Constraint`; the exact projection, by dynamic programming over the env steps.

        The least squared distance of an allowed sequence that ends in x at env step t is convex in x; half of its
        derivative is piecewise linear. One env step on, x may be ``step`` away: see :func:`_widened`.
        """
        wanted_TBNV = actions_BNTV.movedim(2, 0)
        wanted_TR = wanted_TBNV.flatten(1)
        derivative = _PiecewiseLinear(wanted_TR[:1], torch.zeros_like(wanted_TR[:1]), 1)
        best_TR = [_root(derivative)]  # where each sequence would end if nothing came after
        for wanted_R in wanted_TR[1:]:
            knots_LR, values_LR, slope = _widened(derivative, best_TR[-1], self.step)
            derivative = _PiecewiseLinear(knots_LR, values_LR + knots_LR - wanted_R, slope + 1)
            best_TR.append(_root(derivative))
        nearest_TR = best_TR[-1:]
        for best_R in reversed(best_TR[:-1]):
            nearest_TR.append(best_R.clamp(nearest_TR[-1] - self.step, nearest_TR[-1] + self.step))
        return torch.stack(nearest_TR[::-1]).reshape(wanted_TBNV.shape).movedim(0, 2)


class _PiecewiseLinear(NamedTuple):
    """Increasing functions of x, one for each of R sequences."""

    knots_LR: Tensor
    """Increasing x."""
    values_LR: Tensor
    """Of the function there."""
    slope: int
    """Outside of the knots."""


def _root(function: _PiecewiseLinear) -> Tensor:
    """Where each function is 0, ``(R,)``."""
    knots_LR, values_LR, slope = function
    right_1R = (values_LR < 0).sum(dim=0, keepdim=True)
    left_1R = (right_1R - 1).clamp(min=0)
    within_1R = (right_1R > 0) & (right_1R < len(knots_LR))
    right_1R = right_1R.clamp(max=len(knots_LR) - 1)
    (x0, x1), (y0, y1) = ((v.gather(0, left_1R), v.gather(0, right_1R)) for v in (knots_LR, values_LR))
    rise_1R = torch.where(within_1R, y1 - y0, 1.0)  # never 0, also not in the gradient of what is not used
    return (x0 - y0 * torch.where(within_1R, (x1 - x0) / rise_1R, 1 / slope))[0]


def _widened(function: _PiecewiseLinear, root_R: Tensor, step: float) -> _PiecewiseLinear:
    """What is below 0 moves to the left by ``step``, the rest to the right, with 0 in between."""
    knots_LR, values_LR, slope = function
    below_R = (values_LR < 0).sum(dim=0)
    index_L1 = torch.arange(len(knots_LR) + 2, device=root_R.device)[:, None]
    parts = index_L1 < below_R, index_L1 == below_R, index_L1 == below_R + 1  # of the new knots

    def inserted(values_LR: Tensor, shift: float, left_R: Tensor, right_R: Tensor) -> Tensor:
        before_LR = torch.cat([values_LR, values_LR[-1:], values_LR[-1:]]) - shift
        after_LR = torch.cat([values_LR[:1], values_LR[:1], values_LR]) + shift
        new_LR = torch.where(parts[1], left_R, torch.where(parts[2], right_R, after_LR))
        return torch.where(parts[0], before_LR, new_LR)

    zero_R = torch.zeros_like(root_R)
    knots_LR = inserted(knots_LR, step, root_R - step, root_R + step)
    return _PiecewiseLinear(knots_LR, inserted(values_LR, 0.0, zero_R, zero_R), slope)
