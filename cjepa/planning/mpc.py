"""Model-predictive control: plan, execute the first blocks of the plan, observe, plan again."""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from cjepa.planning.agents import Agent
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.perception import Observation
from cjepa.planning.sub_goals import Route
from cjepa.progress import Progress
from cjepa.types import Plan


class Plant(Protocol):
    """What is controlled: a batch of environments, each of which may be finished."""

    def observe(self) -> Observation:
        """All environments as they are now."""

    def execute(self, actions_BTA: np.ndarray) -> None:
        """T env steps of every environment that is not finished."""

    @property
    def finished(self) -> np.ndarray:
        """Which environments are, bool (B,)."""


class PlanRecord(NamedTuple):
    """One planning call and what came of it."""

    env_step: int
    """When it was made, from the start of the trials."""
    seconds: float
    """Wall time of observing and planning, for all environments together."""
    plan: Plan
    """Without meaning for environments that had finished."""
    actions_BHA: Tensor
    """What was chosen: the plan's, or the fallback's."""
    fallback_B: Tensor
    """Where the fallback acted instead of the plan, bool."""
    surprise_B: Tensor | None
    """How wrong the last plan's expectation of this moment was, see ``Agent.surprise``; None for the first plan."""
    goal_B: np.ndarray | None = None
    """Number of the goal that the plan was made for; None where there is only one."""


@dataclass(frozen=True)
class MPC:
    """The control loop.

    Args:
        execute_blocks: of every plan, 1 to the agent's horizon.
        warm_start: begin every search at what the last plan has left; of use if plans are not executed to their end.
        fallback: acts instead of plans that should not be executed; None executes every plan.
    """

    execute_blocks: int
    warm_start: bool = False
    fallback: Fallback | None = None

    def run(
        self,
        agent: Agent,
        plant: Plant,
        goal: Observation,
        budget_env_steps: int,
        generator: torch.Generator,
        progress: Progress,
        route: Route | None = None,
    ) -> list[PlanRecord]:
        """Control a plant until it is finished or the budget is spent; no plan reaches beyond its end.

        Args:
            agent: plans for all environments at once.
            plant: whose environments are at the start of their trials.
            goal: of every environment.
            budget_env_steps: most env steps.
            generator: of the agent's randomness, on the CPU.
            progress: advanced by the env steps of every block.
            route: by way of other goals, the last of which is ``goal``; None for the straight way.
        """
        records: list[PlanRecord] = []
        agent.reset(goal if route is None else route.goal)
        spent, block_BA, rest_BKHA, expected_BSD = 0, None, None, None
        while spent < budget_env_steps and not plant.finished.all():
            now = plant.observe()
            started = time.perf_counter()
            agent.observe(now, block_BA)
            agent.skip(plant.finished)
            if route is not None:
                route.update(agent, now, spent)
            blocks_left = -(-(budget_env_steps - spent) // agent.blocks.frame_stride)
            horizon_blocks = min(agent.horizon_blocks, blocks_left)
            start_BKHA = None if rest_BKHA is None else rest_BKHA[:, :, :horizon_blocks]
            plan = agent.plan(generator, start_BKHA, horizon_blocks)
            seconds = time.perf_counter() - started
            actions_BHA, fallback_B = self._checked(plan, agent, now)
            surprise_B = None if expected_BSD is None else agent.surprise(expected_BSD)
            imagined_BHSD = agent.imagine(actions_BHA)
            goal_B = None if route is None else route.index_B
            records.append(PlanRecord(spent, seconds, plan, actions_BHA, fallback_B, surprise_B, goal_B))
            taken, block_BA = self._execute(actions_BHA, agent, plant, budget_env_steps - spent, progress)
            spent += taken
            # of use only if another plan follows, and then all of these blocks have been executed
            expected_BSD = None if imagined_BHSD is None else imagined_BHSD[:, : self.execute_blocks][:, -1]
            rest_BKHA = self._rest(actions_BHA, plan.elites_BKHA, agent) if self.warm_start else None
        return records

    def _checked(self, plan: Plan, agent: Agent, now: Observation) -> tuple[Tensor, Tensor]:
        if self.fallback is None:
            return plan.actions_BHA, torch.zeros(len(plan.cost_B), dtype=torch.bool)
        return self.fallback(plan, agent, now)

    def _execute(
        self, actions_BHA: Tensor, agent: Agent, plant: Plant, env_steps_left: int, progress: Progress
    ) -> tuple[int, Tensor]:
        """The first blocks of a plan, as long as there is something to control: env steps taken, and the last block."""
        taken = 0
        for index in range(self.execute_blocks):
            if index and agent.history_blocks > 1:
                agent.observe(plant.observe(), actions_BHA[:, index - 1])
            block_BA = actions_BHA[:, index]
            steps_BTA = agent.blocks.to_env_steps(block_BA[:, None])[:, : env_steps_left - taken]
            plant.execute(steps_BTA)
            taken += steps_BTA.shape[1]
            progress.advance(steps_BTA.shape[1])
            if taken >= env_steps_left or plant.finished.all():
                break
        return taken, block_BA

    def _rest(self, actions_BHA: Tensor, elites_BKHA: Tensor | None, agent: Agent) -> Tensor:
        """What is left of a plan, and of its elites, with the middle of the bounds behind it."""
        plans_BKHA = actions_BHA[:, None]
        if elites_BKHA is not None:
            plans_BKHA = torch.cat([plans_BKHA, elites_BKHA], dim=1)
        low_A, high_A = agent.blocks.bounds()
        middle_BKHA = ((low_A + high_A) / 2).expand(*plans_BKHA.shape[:2], self.execute_blocks, -1)
        return torch.cat([plans_BKHA[:, :, self.execute_blocks :], middle_BKHA], dim=2)
