"""Which action sequences a plan may consist of."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cjepa.errors import UserError


class Constraint(ABC):
    """A set of allowed action sequences, given by a way into it."""

    @abstractmethod
    def project(self, actions_BNHA: Tensor) -> Tensor:
        """The nearest allowed sequence to each candidate; a sequence that is allowed stays as it is.

        Args:
            actions_BNHA: blocks of actions in the environment's units, never changed in place.
        """


class Box(Constraint):
    """Every action value between two bounds, inside of the environment's own, for example for slower motions.

    Args:
        low: lowest action of an env step, in the environment's units: one number for all its values, or one for each.
        high: highest action of an env step.

    Raises:
        ValueError: a number is not finite, or ``low`` is above ``high``.
    """

    def __init__(self, low: float | list[float], high: float | list[float]):
        low_V, high_V = (torch.tensor(bound, dtype=torch.float32).reshape(-1) for bound in (low, high))
        sizes = {len(low_V), len(high_V)} - {1}
        finite = torch.isfinite(torch.cat([low_V, high_V])).all()
        if len(sizes) > 1 or 0 in sizes or not finite or not (low_V <= high_V).all():
            raise ValueError(
                f"Box: low is {low} and high is {high}, expected finite low <= high, one or as many values"
            )
        self.low = low
        self.high = high

    def project(self, actions_BNHA: Tensor) -> Tensor:
        """See :class:`Constraint`.

        Raises:
            UserError: a block's values are not whole env steps of as many values as there are bounds.
        """
        return actions_BNHA.clamp(*(self._of_block(bound, actions_BNHA) for bound in (self.low, self.high)))

    @staticmethod
    def _of_block(bound: float | list[float], actions_BNHA: Tensor) -> Tensor:
        values = torch.as_tensor(bound, dtype=actions_BNHA.dtype, device=actions_BNHA.device).reshape(-1)
        env_steps, rest = divmod(actions_BNHA.shape[-1], len(values))
        if rest:
            raise UserError(
                f"Box: {len(values)} bounds, but a block has {actions_BNHA.shape[-1]} action values; give one number, "
                "or one for each value of an action"
            )
        return values.repeat(env_steps)
