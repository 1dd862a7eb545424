"""The contract of planners: a problem in, the best plan out."""

from abc import ABC, abstractmethod

from torch import Tensor

from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class Planner(ABC):
    """Searches action sequences for a batch of environments at once."""

    @abstractmethod
    def plan(self, problem: PlanningProblem, warm_start_BHA: Tensor | None = None) -> Plan:
        """Find a sequence of low cost for each environment.

        Args:
            problem: cost, bounds, constraints, sizes and the generator of all randomness.
            warm_start_BHA: sequences to begin the search at, for example what is left of the last plan.

        Returns:
            The best candidates that were evaluated, with their costs; infinite where every cost was NaN.
        """
