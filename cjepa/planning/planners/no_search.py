"""No search: the plan that a search would begin with."""

from torch import Tensor

from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.candidates import cheapest
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class NoSearch(Planner):
    """Takes the first guess: what a policy (``--prior``) would do, or what is left of the last plan, else nothing.

    The cost is that of any plan, so that fallbacks and records work; a plan takes one step of the world model a block.
    """

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        actions_B1HA = problem.start(warm_start_BKHA)[:, None]
        best_B1HA, cost_B1 = cheapest(actions_B1HA, problem.cost(actions_B1HA), 1)
        return Plan(best_B1HA[:, 0], cost_B1[:, 0])
