"""Arithmetic of a plan, counted by PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cjepa.planning.hierarchy import HighLevel
from cjepa.planning.perception import Observation
from cjepa.planning.planners.base import Planner
from cjepa.planning.problem import Cost, PlanningProblem
from cjepa.planning.recording import CountedCandidates
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.types import Plan
from cjepa.world_models.transformer import unpadded

_COUNTED = 2  # candidates; one could be a special case of a layer


def gigaflops(cost: Cost, actions_BNHA: Tensor) -> float:
    """Floating-point operations of one call, in units of 1e9: matrix products, attention and convolutions.

    Args:
        cost: of candidates.
        actions_BNHA: candidates, in any shape that the cost takes.
    """
    # PyTorch counts neither the layers that it fuses where no gradient is kept, nor fused attention on CPUs
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), unpadded(), sdpa_kernel(SDPBackend.MATH), counter:
        cost(actions_BNHA)
    return counter.get_total_flops() / 1e9


def plan_gigaflops(agent: WorldModelAgent, start: Observation, goal: Observation) -> float:
    """Operations of the world models of all levels in a plan for one environment, in units of 1e9.

    The backward passes of a planner that follows gradients count too; the tokenizer, and the policy of a first guess,
    do not.

    Args:
        agent: that plans.
        start: of one environment, or of several of which only the first counts.
        goal: likewise.
    """
    agent.reset(goal.first(1))
    agent.observe(start.first(1))
    with torch.no_grad(), _counted(agent.high_level) as above:
        problem = agent.problem(torch.Generator().manual_seed(0), agent.horizon_blocks)
        low = _Counted(agent.planner)
        low.plan(problem)
    return low.gigaflops + (above.gigaflops if above else 0.0)


class _Counted(Planner):
    """Plans at a cost that takes no time, and counts what the candidates would have cost."""

    def __init__(self, planner: Planner):
        self._planner = planner
        self.gigaflops = 0.0

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`."""
        asked = CountedCandidates()
        plan = self._planner.plan(replace(problem, cost=asked), warm_start_BKHA)
        actions_1NHA = problem.starts().expand(-1, _COUNTED, -1, -1)
        self.gigaflops += gigaflops(problem.cost, actions_1NHA) * asked.candidates / _COUNTED
        if asked.followed:
            self.gigaflops += gigaflops(_with_gradient(problem.cost), actions_1NHA) * asked.followed / _COUNTED
        return plan


def _with_gradient(cost: Cost) -> Cost:
    """The cost, and on the way its gradient with respect to the actions."""

    def followed(actions_BNHA: Tensor) -> Tensor:
        actions_BNHA = actions_BNHA.detach().requires_grad_()
        cost_BN = cost(actions_BNHA)
        torch.autograd.grad(cost_BN.sum(), actions_BNHA)
        return cost_BN.detach()

    return followed


@contextmanager
def _counted(high_level: HighLevel | None) -> Iterator[_Counted | None]:
    """Inside, the search of a high level is counted."""
    if high_level is None:
        yield None
        return
    planner = high_level.planner
    high_level.planner = counted = _Counted(planner)
    try:
        yield counted
    finally:
        high_level.planner = planner
