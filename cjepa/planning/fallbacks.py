"""What to do instead of a plan that should not be executed."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cjepa.planning.agents import Agent
from cjepa.planning.perception import Observation
from cjepa.types import Plan


class Fallback(ABC):
    """Decides, for every environment, whether its plan is executed."""

    @abstractmethod
    def __call__(self, plan: Plan, agent: Agent, now: Observation) -> tuple[Tensor, Tensor]:
        """Actions to execute ``(B, H, A)``, and where they are not the plan's, bool ``(B,)``.

        Args:
            plan: that the agent has just made.
            agent: that made it, and knows the goal.
            now: what it was made from.
        """


class HoldWhenWorse(Fallback):
    """Does nothing where no candidate is expected to be better than doing nothing.

    Nothing is an action of 0: the agent stays where it is in environments of relative actions, such as Push-T. Agents
    that expect nothing, such as chance, are never stopped.
    """

    def __call__(self, plan: Plan, agent: Agent, now: Observation) -> tuple[Tensor, Tensor]:
        """See :class:`Fallback`."""
        nothing = agent.nothing()
        if nothing is None:
            return plan.actions_BHA, torch.zeros(len(plan.cost_B), dtype=torch.bool)
        holds_B = plan.cost_B >= nothing.cost_B
        return torch.where(holds_B[:, None, None], nothing.actions_BHA, plan.actions_BHA), holds_B
