"""Where a search begins: what a policy would do, as far as the world model can tell."""

from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.planning.problem import PlanningProblem
from cjepa.policies.base import GoalPolicy, Situation
from cjepa.world_models.dynamics import Dynamics, in_a_row


class PolicyPrior:
    """Lets a policy act in the imagination of a world model, block by block.

    Args:
        policy: in eval mode, on the device of the world model.
    """

    def __init__(self, policy: GoalPolicy):
        self.policy = policy

    def __call__(self, dynamics: Dynamics, state: NamedTuple, seen: Situation, problem: PlanningProblem) -> Tensor:
        """Actions ``(B, H, A)`` within the problem's bounds.

        Args:
            dynamics: the world model.
            state: of B environments, as ``dynamics.observe`` gave it.
            seen: by the policy, in this state, in the units of tokenizer and environment.
            problem: whose horizon and bounds count.
        """
        tokens_BSD, proprio_BP, goal_BSD = seen
        blocks = []
        for _ in range(problem.horizon_blocks):
            actions_BA = self.policy.act(tokens_BSD, proprio_BP, goal_BSD).clamp(problem.low_A, problem.high_A)
            blocks.append(actions_BA)
            with torch.autocast(actions_BA.device.type, torch.bfloat16):
                state = dynamics.step(state, actions_BA)
                single = in_a_row([dynamics.predicted(state)])
            tokens_BSD, proprio_BP = (values[:, 0] for values in dynamics.denormalise(single.map(Tensor.float))[:2])
        return torch.stack(blocks, dim=1)
