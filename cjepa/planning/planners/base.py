"""The contract of planners: a problem in, the best plan out."""

from abc import ABC, abstractmethod

from torch import Tensor

from cjepa.arguments import above, at_least, check
from cjepa.errors import UserError
from cjepa.planning.problem import PlanningProblem
from cjepa.shapes import check_given
from cjepa.types import Plan


class Planner(ABC):
    """Searches action sequences for a batch of environments at once."""

    @abstractmethod
    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """Find a sequence of low cost for each environment.

        Args:
            problem: cost, bounds, constraints, sizes and the generator of all randomness.
            warm_start_BKHA: sequences to begin the search at, the most important first, for example what is left of the
                last plan and of its elites.

        Returns:
            The best candidates that were evaluated, with their costs; infinite where every cost was NaN.
        """


def solved(planner: Planner, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
    """The plan of a planner, which may be the user's own.

    Args:
        planner: that searches.
        problem: to solve.
        warm_start_BKHA: see :meth:`Planner.plan`.

    Raises:
        UserError: it gives no plan, actions, costs or elites of another shape, or actions that are not allowed.
    """
    plan, name = planner.plan(problem, warm_start_BKHA), type(planner).__name__
    if not isinstance(plan, Plan):
        raise UserError(f"{name}.plan gives a {type(plan).__name__}, expected a Plan")
    shape_BHA = (problem.batch, problem.horizon_blocks, len(problem.low_A))
    check_given(plan.actions_BHA, shape_BHA, f"{name}.plan: actions_BHA")
    check_given(plan.cost_B, shape_BHA[:1], f"{name}.plan: cost_B")
    if (others := plan.elites_BKHA) is not None:
        count = others.shape[1] if isinstance(others, Tensor) and others.ndim > 1 else 1
        check_given(others, (shape_BHA[0], count, *shape_BHA[1:]), f"{name}.plan: elites_BKHA")
    within_BHA = (plan.actions_BHA >= problem.low_A) & (plan.actions_BHA <= problem.high_A)
    if not within_BHA.all():
        raise UserError(f"{name}.plan gives actions out of bounds or NaN; `problem.project` keeps within bounds")
    return plan


def check_search(num_samples: int, iterations: int, num_elites: int, initial_std: float, min_std: float) -> None:
    """Check the arguments that planners have in common which draw samples around a mean.

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, ``iterations`` is below 1, ``initial_std`` is not above
            0, or ``min_std`` is below 0.
    """
    check(2 <= num_elites <= num_samples, "num_elites", num_elites, f"2..num_samples = {num_samples}")
    at_least(1, iterations=iterations)
    above(0, initial_std=initial_std)
    at_least(0, min_std=min_std)
