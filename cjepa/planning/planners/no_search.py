"""No search: the plan that a search would begin with."""

from torch import Tensor

from cjepa.planning.planners.base import Planner
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class NoSearch(Planner):
    """Takes the first guess: what a policy (``--prior``) would do, or what is left of the last plan, else nothing.

    The cost is that of any plan, so that fallbacks and records work; a plan takes one step of the world model a block.
    """

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        actions_BHA = problem.start(warm_start_BKHA)
        return Plan(actions_BHA, problem.cost(actions_BHA[:, None])[:, 0].nan_to_num(nan=float("inf")))
