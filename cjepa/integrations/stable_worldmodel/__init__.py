"""A world model of ours for stable-worldmodel's solvers, and our planners for its models; docs/stable-worldmodel.md.

Its protocols are met without importing it: release 0.1.1, and the main branch where the solvers are in ``planning``.
Its ``info`` dictionaries have entries ``(B, T, ...)`` of B environments and T frames, for costs ``(B, N, T, ...)``: the
same for each of N candidates.
"""

from cjepa.integrations.stable_worldmodel.actions import WithinBounds
from cjepa.integrations.stable_worldmodel.cost import WorldModelCost
from cjepa.integrations.stable_worldmodel.pusht import push_t_world
from cjepa.integrations.stable_worldmodel.solver import PlannerSolver

__all__ = ["PlannerSolver", "WithinBounds", "WorldModelCost", "push_t_world"]
