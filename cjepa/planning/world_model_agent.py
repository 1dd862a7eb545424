"""The agent that plans in the imagination of a world model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cjepa.planning.agents import Agent
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.constraints import Constraint
from cjepa.planning.costs import RolloutCost, checked_plan
from cjepa.planning.distances import matched_errors
from cjepa.planning.hierarchy import HighLevel
from cjepa.planning.objectives import Disagreement, Goal, Objective
from cjepa.planning.perception import Observation, Perception
from cjepa.planning.planners.base import Planner, solved
from cjepa.planning.priors import PolicyPrior
from cjepa.planning.problem import PlanningProblem, generator_on
from cjepa.policies.base import Situation
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip, Plan
from cjepa.world_models.dynamics import Dynamics, take_rows


class WorldModelAgent(Agent):
    """Plans in token space: tokenize what was seen and the goal image, search actions in the world model.

    Args:
        dynamics: the world model, in eval mode.
        tokenizer: the one whose tokens the world model was trained on.
        planner: of action blocks.
        objective: of predicted futures.
        blocks: of the environment's actions.
        horizon_blocks: H.
        goal_proprio: indices of the proprio values that a goal fixes; None for all.
        history_blocks: frames that a plan starts from, 1 to ``dynamics.history_blocks``; fewer at the begin of a trial.
        constraints: of plans, besides the bounds.
        prior: whose plan the search starts from; None for what is left of the last plan.
        high_level: proposes what to aim at on the way to the goal; None aims at the goal.
        lineage: which episodes the world model learned from, for objectives that learn from the same; empty: unknown.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        tokenizer: Tokenizer,
        planner: Planner,
        objective: Objective,
        blocks: ActionBlocks,
        horizon_blocks: int,
        goal_proprio: Sequence[int] | None = None,
        history_blocks: int = 1,
        constraints: Sequence[Constraint] = (),
        prior: PolicyPrior | None = None,
        high_level: HighLevel | None = None,
        lineage: Mapping[str, Any] | None = None,
    ):
        super().__init__(blocks, horizon_blocks)
        self.dynamics = dynamics
        self.tokenizer = tokenizer
        self.planner = planner
        self.objective = objective.for_model(dynamics, tokenizer, lineage or {})
        self.goal_proprio = goal_proprio
        self.history_blocks = history_blocks
        self.constraints = tuple(constraints)
        self.prior = prior
        self.high_level = high_level
        self._perception = Perception(tokenizer, history_blocks)

    def reset(self, goal: Observation) -> None:
        """See :class:`Agent`."""
        super().reset(goal)
        self._perception.reset()
        self._proprio: list[np.ndarray] = []
        self._actions: list[Tensor] = []

    def observe(self, now: Observation, actions_BA: Tensor | None = None) -> None:
        """See :class:`Agent`."""
        self._perception.see(now)
        self._proprio = [*self._proprio, now.proprio_BP][-self.history_blocks :]
        if actions_BA is not None:
            self._actions = [*self._actions, actions_BA][-self.history_blocks :]

    @torch.no_grad()
    def plan(
        self, generator: torch.Generator, warm_start_BKHA: Tensor | None = None, horizon_blocks: int | None = None
    ) -> Plan:
        """See :class:`Agent`.

        Raises:
            UserError: the world model predicts nothing but NaN.
        """
        problem = self._problem = self.problem(generator, horizon_blocks or self.horizon_blocks)
        return checked_plan(solved(self.planner, problem, self._starts(problem, warm_start_BKHA)).cpu())

    def _starts(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None) -> Tensor | None:
        """Where the search starts: at the prior's plan and at what is left of the last plan, the cheaper one first.

        Most planners start at the first one alone.
        """
        starts = [] if warm_start_BKHA is None else [warm_start_BKHA.to(problem.device)]
        if self.prior is not None:
            starts.insert(0, self.prior(self.dynamics, self._state, self.situation(), problem)[:, None])
        if len(starts) < 2:
            return starts[0] if starts else None
        both_BKHA = torch.cat(starts, dim=1)
        order_BK = problem.cost(problem.project(both_BKHA)).nan_to_num(nan=torch.inf).argsort(dim=1)
        return both_BKHA.gather(1, order_BK[..., None, None].expand_as(both_BKHA))

    def situation(self) -> Situation:
        """What a policy would look at, on the device of the world model; to be called after :meth:`problem`."""
        seen = (self._seen_BSD, torch.from_numpy(self._proprio[-1]), self._goal_BSD)
        return Situation(*(values.to(device_of(self.dynamics)) for values in seen))

    def problem(self, generator: torch.Generator, horizon_blocks: int) -> PlanningProblem:
        """What the planner has to solve now: the way to the goal, or to the high level's sub-goal."""
        device = device_of(self.dynamics)
        tokens_BTSD, goal_tokens_BSD = self._perception.tokens(self.goal)
        context = self._clip(tokens_BTSD, self._proprio, device)
        goal = self._clip(goal_tokens_BSD[:, None], [self.goal.proprio_BP], device)
        skipped_B = torch.from_numpy(self.finished_B).to(device) if self.finished_B.any() else None
        if self.high_level is not None:
            goal = self.high_level.sub_goal(context, goal, self._goal_of, generator, skipped_B, self.goal.sentences_B)
        self._seen_BSD, self._goal_BSD = tokens_BTSD[:, -1], goal.tokens_BTSD[:, 0]
        with torch.autocast(device.type, torch.bfloat16):
            self._state = self.dynamics.observe(context)
        aimed = self._goal_of(self.dynamics.normalise(goal))
        cost = RolloutCost(self.dynamics, self._state, aimed, self.objective, skipped_B)
        return PlanningProblem(
            cost,
            *self.blocks.bounds(device),
            len(tokens_BTSD),
            horizon_blocks,
            generator_on(device, generator),
            self.constraints,
            self.blocks.frame_stride,
        )

    @torch.no_grad()
    def imagine(self, actions_BHA: Tensor) -> Tensor:
        """See :class:`Agent`; in the tokenizer's units, on the CPU."""
        rows = self._problem.cost.rows_at_once
        return torch.cat(
            [
                self._imagined(part_RHA, slice(part * rows, part * rows + len(part_RHA)))
                for part, part_RHA in enumerate(actions_BHA.split(rows))
            ]
        )

    @torch.no_grad()
    def imagine_candidates(self, actions_NHA: Tensor) -> Tensor:
        """Tokens that the agent expects of N candidates for the first environment, ``(N, H, S, D)``.

        In the tokenizer's units, on the CPU. To be called after :meth:`problem`, before the next observation.
        """
        return self._imagined(actions_NHA, torch.zeros(len(actions_NHA), dtype=torch.long))

    def _imagined(self, actions_RHA: Tensor, rows: slice | Tensor) -> Tensor:
        """Of R environments, some of which may be the same."""
        device = device_of(self.dynamics)
        state = take_rows(self._state, rows)
        with torch.autocast(device.type, torch.bfloat16):
            rollout = self.dynamics.rollout(state, actions_RHA.to(device))
        return self.dynamics.denormalise(rollout).tokens_BHSD.float().cpu()

    @torch.no_grad()
    def nothing(self) -> Plan:
        """See :class:`Agent`."""
        return self._problem.nothing().cpu()

    @torch.no_grad()
    def guess(self) -> Tensor | None:
        """What the prior's policy would do now ``(B, H, A)``, as constraints allow; None without a prior."""
        if self.prior is None:
            return None
        guess_BHA = self.prior(self.dynamics, self._state, self.situation(), self._problem)
        return self._problem.project(guess_BHA[:, None])[:, 0].cpu()

    @torch.no_grad()
    def disagreement(self, actions_BHA: Tensor) -> Tensor:
        """How far the members of an ensemble disagree about plans, mean over blocks and objects, ``(B,)``.

        Raises:
            UserError: the world model is no ensemble.
        """
        cost = self._problem.cost
        of_plans = RolloutCost(self.dynamics, self._state, cost.goal, Disagreement(), cost.skipped_B)
        return of_plans(actions_BHA[:, None].to(self._problem.device))[:, 0].cpu()

    @torch.no_grad()
    def surprise(self, expected_BSD: Tensor) -> Tensor:
        """See :class:`Agent`."""
        return self._error(expected_BSD, self._seen_BSD)

    @torch.no_grad()
    def goal_distance(self, seen: Observation) -> Tensor:
        """Mean squared error of tokens to those of the goal, ``(B,)``, in the units of the model; slots are matched."""
        perception = Perception(self.tokenizer, history_blocks=1)
        perception.see(seen)
        tokens_B1SD, goal_BSD = perception.tokens(self.goal)
        return self._error(tokens_B1SD[:, 0], goal_BSD)

    def _error(self, one_BSD: Tensor, other_BSD: Tensor) -> Tensor:
        """Mean squared error of matched tokens in the units of the model, ``(B,)``, on the CPU."""
        one, other = (self._normalised(tokens_BSD).tokens_BTSD[:, 0].float() for tokens_BSD in (one_BSD, other_BSD))
        return matched_errors(one, other).mean(dim=-1).cpu()

    def _normalised(self, tokens_BSD: Tensor) -> Clip:
        """One frame with the proprioception of the goal, in the units of the model."""
        return self.dynamics.normalise(
            self._clip(tokens_BSD[:, None], [self.goal.proprio_BP], device_of(self.dynamics))
        )

    def _clip(self, tokens_BTSD: Tensor, proprio: list[np.ndarray], device: torch.device) -> Clip:
        """Frames with the actions between them; what the last row of actions holds is never read."""
        batch, blocks = tokens_BTSD.shape[:2]
        past = self._actions[len(self._actions) - (blocks - 1) :]
        actions = torch.stack([*past, torch.zeros(batch, self.blocks.action_values)], dim=1)
        proprio_BTP = torch.from_numpy(np.stack(proprio, axis=1))
        return Clip(tokens_BTSD, proprio_BTP, actions).on(device)

    def _goal_of(self, goal: Clip) -> Goal:
        tokens_BSD, proprio_BP = goal.tokens_BTSD[:, 0], goal.proprio_BTP[:, 0]
        fixed_BP = torch.ones_like(proprio_BP)
        if self.goal_proprio is not None and proprio_BP.shape[1]:
            fixed_BP.zero_()[:, list(self.goal_proprio)] = 1.0
        known_BP = proprio_BP.isfinite().float()  # 0 where only a picture is known of a goal
        text_BW = None if self.goal.sentences_B is None else self.objective.read(self.goal.sentences_B)
        text_BW = None if text_BW is None else text_BW.to(tokens_BSD.device)
        return Goal(tokens_BSD, proprio_BP.nan_to_num(), fixed_BP * known_BP, text_BW, known_BP)
