"""A planner that teaches the policy which its searches start from (DAgger, Ross et al., arXiv 1011.0686)."""

from typing import Any

import torch
from torch import Tensor

from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.policies.lessons import Lessons, join_lessons
from cjepa.types import Plan


class TeachingAgent(WorldModelAgent):
    """Plans in every situation and remembers what it decided; but often it is the policy that acts.

    So the lessons are also about where the policy gets by itself, which episodes of others do not show.

    Args:
        parts: of :class:`WorldModelAgent`, in its order; a prior among them.
        policy_share: probability that the policy does the first block of a plan, 0 to 1.
        seed: of who acts.
    """

    def __init__(self, *parts: Any, policy_share: float, seed: int):
        super().__init__(*parts)
        self.policy_share = policy_share
        self._draws = torch.Generator().manual_seed(seed)  # not the search's: kept plans leave that one alone
        self._lessons: list[Lessons] = []

    @property
    def lessons(self) -> Lessons:
        """All so far, of environments that had not finished, on the CPU."""
        return join_lessons(self._lessons)

    @torch.no_grad()
    def plan(
        self, generator: torch.Generator, warm_start_BKHA: Tensor | None = None, horizon_blocks: int | None = None
    ) -> Plan:
        """See :class:`~cjepa.planning.agents.Agent`; where the policy acts, the first block is its own."""
        plan = super().plan(generator, warm_start_BKHA, horizon_blocks)
        situation = self.situation()
        going_B = torch.from_numpy(~self.finished_B)
        lesson = Lessons(*(values.cpu() for values in situation), plan.actions_BHA[:, 0])
        self._lessons.append(Lessons(*(values[going_B].float() for values in lesson)))
        own_BHA = plan.actions_BHA.clone()
        own_BHA[:, 0] = self.prior.policy.act(*situation).cpu()
        own_BHA = self._problem.project(own_BHA[:, None].to(self._problem.device))[:, 0].cpu()
        acts_B = torch.rand(len(own_BHA), generator=self._draws) < self.policy_share
        return plan._replace(actions_BHA=torch.where(acts_B[:, None, None], own_BHA, plan.actions_BHA))
