"""Which action sequences a plan may consist of."""

from abc import ABC, abstractmethod

from torch import Tensor


class Constraint(ABC):
    """A set of allowed action sequences, given by a way into it."""

    @abstractmethod
    def project(self, actions_BNHA: Tensor) -> Tensor:
        """The nearest allowed sequence to each candidate; a sequence that is allowed stays as it is.

        Args:
            actions_BNHA: blocks of actions in the environment's units, never changed in place.
        """


class Box(Constraint):
    """Every action value between two bounds.

    Args:
        low_A: lowest values of one block.
        high_A: highest values of one block.
    """

    def __init__(self, low_A: Tensor, high_A: Tensor):
        self.low_A = low_A
        self.high_A = high_A

    def project(self, actions_BNHA: Tensor) -> Tensor:
        """See :class:`Constraint`."""
        return actions_BNHA.clamp(self.low_A, self.high_A)
