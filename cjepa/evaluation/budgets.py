"""Arithmetic of a plan, counted by PyTorch."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cjepa.planning.perception import Observation
from cjepa.planning.problem import Cost
from cjepa.planning.world_model_agent import WorldModelAgent

_COUNTED = 2  # candidates; one could be a special case of a layer


def gigaflops(cost: Cost, actions_BNHA: Tensor) -> float:
    """Floating-point operations of one call, in units of 1e9: matrix products, attention and convolutions.

    Args:
        cost: of candidates.
        actions_BNHA: candidates, in any shape that the cost takes.
    """
    # PyTorch counts neither the layers that it fuses where no gradient is kept, nor fused attention on CPUs
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        cost(actions_BNHA)
    return counter.get_total_flops() / 1e9


def plan_gigaflops(agent: WorldModelAgent, start: Observation, goal: Observation) -> float:
    """Operations of the world model in a plan for one environment, in units of 1e9.

    Not counted: the tokenizer, the policy of a first guess, the search of a high level, and the backward passes of a
    planner that follows gradients.

    Args:
        agent: that plans.
        start: of one environment, or of several of which only the first counts.
        goal: likewise.
    """
    agent.reset(goal.first(1))
    agent.observe(start.first(1))
    asked = _CountedCandidates()
    with torch.no_grad():
        problem = agent.problem(torch.Generator().manual_seed(0), agent.horizon_blocks)
        agent.planner.plan(replace(problem, cost=asked))
    actions_1NHA = problem.starts().expand(-1, _COUNTED, -1, -1)
    return gigaflops(problem.cost, actions_1NHA) * asked.candidates / _COUNTED


class _CountedCandidates:
    """Counts the candidates that a planner asks about, at a cost of its own that takes no time."""

    def __init__(self):
        self.candidates = 0

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        self.candidates += actions_BNHA.shape[0] * actions_BNHA.shape[1]
        return actions_BNHA.square().mean(dim=(-2, -1))
