"""Who chooses actions in a closed loop: the contract, chance, and a planner on the simulator itself.

The planner on a world model is in :mod:`.world_model_agent`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import parse
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.costs import SimulatorCost
from cjepa.planning.perception import Observation
from cjepa.planning.planners.base import Planner, solved
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class Agent(ABC):
    """Plans for a batch of environments: reset once per trial, observe what happens, plan whenever asked.

    Args:
        blocks: of the environment's actions.
        horizon_blocks: H.
    """

    history_blocks = 1
    """Frames that it wants to observe, one per block; with 1 the frame that a plan starts from is enough."""

    def __init__(self, blocks: ActionBlocks, horizon_blocks: int):
        self.blocks = blocks
        self.horizon_blocks = horizon_blocks

    def reset(self, goal: Observation) -> None:
        """Begin a new trial of every environment."""
        self.goal = goal
        self.finished_B = np.zeros(len(goal.proprio_BP), bool)

    def aim(self, goal: Observation) -> None:
        """Aim at another goal in the same trial."""
        self.goal = goal

    def skip(self, finished_B: np.ndarray) -> None:
        """Learn which environments have finished, bool; their plans do not matter, and those of the others stay."""
        self.finished_B = finished_B

    def observe(self, now: Observation, actions_BA: Tensor | None = None) -> None:
        """See the environments, after a block of actions; without actions right after a reset."""
        self.now = now

    @abstractmethod
    def plan(
        self, generator: torch.Generator, warm_start_BKHA: Tensor | None = None, horizon_blocks: int | None = None
    ) -> Plan:
        """Actions for the next H blocks, within the bounds, on the CPU.

        Args:
            generator: of all randomness, on the CPU.
            warm_start_BKHA: to begin a search at, the most important first.
            horizon_blocks: H of this plan; None for the agent's.
        """

    def imagine(self, actions_BHA: Tensor) -> Tensor | None:
        """Tokens that the agent expects of the first B environments, ``(B, H, S, D)``; None if it expects nothing.

        To be called after :meth:`plan`, before the next observation.
        """
        return None

    def nothing(self) -> Plan | None:
        """Doing nothing for as long as the last plan, and what that is expected to cost; None if it expects nothing.

        An action of 0 counts as nothing, or the nearest one that is allowed. To be called as :meth:`imagine`.
        """
        return None

    def surprise(self, expected_BSD: Tensor) -> Tensor | None:
        """Mean squared error of what was expected for the last observation, ``(B,)``; None if it expects nothing.

        Slots are matched; the error is in the units of the model. To be called as :meth:`imagine`.

        Args:
            expected_BSD: of a block that :meth:`imagine` gave.
        """
        return None

    def goal_distance(self, seen: Observation) -> Tensor | None:
        """How far the environments are from the goal, ``(B,)``; None if the agent cannot tell."""
        return None


class RandomAgent(Agent):
    """Uniform actions within the bounds."""

    def plan(
        self, generator: torch.Generator, warm_start_BKHA: Tensor | None = None, horizon_blocks: int | None = None
    ) -> Plan:
        """See :class:`Agent`; chance has no cost."""
        low_A, high_A = self.blocks.bounds()
        shape = (len(self.now.proprio_BP), horizon_blocks or self.horizon_blocks, self.blocks.action_values)
        actions_BHA = low_A + (high_A - low_A) * torch.rand(shape, generator=generator)
        return Plan(actions_BHA, torch.zeros(shape[0]))


class SimulatorAgent(Agent):
    """The ceiling: the same planner on the simulator itself, with true states for start, goal and cost.

    Args:
        env: a simulator to roll out in.
        planner: of action blocks.
        blocks: of the environment's actions.
        horizon_blocks: H.
    """

    def __init__(self, env: ObjectEnv, planner: Planner, blocks: ActionBlocks, horizon_blocks: int):
        super().__init__(blocks, horizon_blocks)
        self.env = env
        self.planner = planner

    def plan(
        self, generator: torch.Generator, warm_start_BKHA: Tensor | None = None, horizon_blocks: int | None = None
    ) -> Plan:
        """See :class:`Agent`; the simulator runs one candidate after the other, so environments come one by one too."""
        horizon_blocks = horizon_blocks or self.horizon_blocks
        plans, self._problems = [], []
        for row, (state, goal_state) in enumerate(zip(self.now.state_BF, self.goal.state_BF, strict=True)):
            sentences_B = self.goal.sentences_B
            statement = None if sentences_B is None else parse(sentences_B[row])
            cost = SimulatorCost(self.env, state, goal_state, statement)
            sizes = {"batch": 1, "horizon_blocks": horizon_blocks, "frame_stride": self.blocks.frame_stride}
            problem = PlanningProblem(cost, *self.blocks.bounds(), generator=generator, **sizes)
            self._problems.append(problem)
            start_1KHA = None if warm_start_BKHA is None else warm_start_BKHA[row : row + 1]
            plans.append(solved(self.planner, problem, start_1KHA))
        return _stacked(plans)

    def nothing(self) -> Plan:
        """See :class:`Agent`."""
        return _stacked([problem.nothing() for problem in self._problems])


def _stacked(plans: Sequence[Plan]) -> Plan:
    """Plans of single environments as one of a batch."""
    return Plan(*(None if values[0] is None else torch.cat(values) for values in zip(*plans, strict=True)))
