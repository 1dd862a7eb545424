"""Two levels (HWM, arXiv 2604.03208): a search over macro-actions says what the low level should see next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from cjepa.checkpoints import find_checkpoint
from cjepa.errors import UserError
from cjepa.planning.costs import RolloutCost, checked_plan
from cjepa.planning.objectives import Goal, Objective
from cjepa.planning.planners.base import Planner, solved
from cjepa.planning.problem import PlanningProblem, generator_on
from cjepa.types import Clip, Rollout
from cjepa.world_models.loading import LoadedWorldModel, load_world_model
from cjepa.world_models.macro import MacroDynamics


@dataclass(frozen=True)
class Hierarchy:
    """The high level of a hierarchy of two: it proposes the tokens that the planner aims at, before every plan.

    Args:
        run: run or checkpoint of `cjepa fit -c experiments/pusht/macro.yaml`, trained on the tokens of the world model.
        planner: searches macro-actions, by class_path.
        objective: compares the predicted ends of long blocks with the goal, by class_path.
        horizon_blocks: long blocks per plan of the high level, enough to reach the goal.
    """

    run: str
    planner: Planner
    objective: Objective
    horizon_blocks: PositiveInt = 4


class HighLevel:
    """Plans in long blocks, and gives the end of the first one as the sub-goal.

    Args:
        dynamics: over long blocks, in eval mode.
        planner: of macro-actions.
        objective: of predicted ends of long blocks.
        horizon_blocks: H, long blocks.
    """

    def __init__(self, dynamics: MacroDynamics, planner: Planner, objective: Objective, horizon_blocks: int):
        self.dynamics = dynamics
        self.planner = planner
        self.objective = objective
        self.horizon_blocks = horizon_blocks

    @torch.no_grad()
    def sub_goal(
        self,
        seen: Clip,
        goal: Clip,
        goal_of: Callable[[Clip], Goal],
        generator: torch.Generator,
        skipped_B: Tensor | None,
        sentences_B: Sequence[str] | None,
    ) -> Clip:
        """One frame that each of B environments should show next, in the units of tokenizer and environment.

        Where the plan comes nearest to the goal in its first long block, this is the goal itself; but not where the
        objective reads sentences (as ThinkJEPA's slow module does), since what they say is no frame.

        Args:
            seen: until now. Only its last frame is read: those before it are not a long block apart.
            goal: one frame.
            goal_of: what counts of a goal that is normalised.
            generator: of the search.
            skipped_B: environments whose sub-goal nobody needs, bool; None for none of them.
            sentences_B: that should become true; None for goals that are seen.

        Raises:
            UserError: the dynamics predict nothing but NaN.
        """
        dynamics, device = self.dynamics, seen.tokens_BTSD.device
        now = seen.blocks(-1)
        no_actions = now.proprio_BTP.new_zeros(len(now.proprio_BTP), 1, dynamics.action_dim)
        with torch.autocast(device.type, torch.bfloat16):
            state = dynamics.observe(now._replace(actions_BTA=no_actions))
        aimed = goal_of(dynamics.normalise(goal._replace(actions_BTA=no_actions)))
        text_BW = None if sentences_B is None else self.objective.read(sentences_B)
        aimed = aimed._replace(text_BW=None if text_BW is None else text_BW.to(device))
        cost = RolloutCost(dynamics, state, aimed, self.objective, skipped_B)
        sizes = (len(no_actions), self.horizon_blocks, generator_on(device, generator))
        plan = checked_plan(solved(self.planner, PlanningProblem(cost, *dynamics.bounds(), *sizes)))
        with torch.autocast(device.type, torch.bfloat16):
            rollout = dynamics.rollout(state, plan.actions_BHA).map(Tensor.float)
        near_B = self._costs(rollout, plan.actions_BHA, aimed).argmin(dim=1) == 0
        near_B &= text_BW is None
        first = dynamics.denormalise(rollout.map(lambda values: values[:, :1]))
        tokens_B1SD = torch.where(near_B[:, None, None, None], goal.tokens_BTSD, first.tokens_BHSD)
        sub_goal = goal._replace(tokens_BTSD=tokens_B1SD)
        if not dynamics.proprio_dim:
            return sub_goal
        return sub_goal._replace(proprio_BTP=torch.where(near_B[:, None, None], goal.proprio_BTP, first.proprio_BHP))

    def _costs(self, rollout: Rollout, actions_BHA: Tensor, goal: Goal) -> Tensor:
        """What every long block of a plan would cost as its last, ``(B, H)``."""
        blocks = [slice(block, block + 1) for block in range(self.horizon_blocks)]
        costs = [
            self.objective(rollout.map(lambda values, at=at: values[:, None, at]), actions_BHA[:, None, at], goal)
            for at in blocks
        ]
        return torch.cat(costs, dim=1)


class LoadedHighLevel(NamedTuple):
    """What planning on two levels takes."""

    high_level: HighLevel
    lineage: Mapping[str, Any]
    """What was held out from training."""


def load_high_level(hierarchy: Hierarchy, model: LoadedWorldModel, device: torch.device | str) -> LoadedHighLevel:
    """The high level above a world model, on a device.

    Raises:
        UserError: not a run of macro-actions, or it was trained on other tokens or proprioception.
    """
    loaded = load_world_model(find_checkpoint(hierarchy.run))
    if not isinstance(loaded.dynamics, MacroDynamics):
        raise UserError(
            f"--hierarchy.run {hierarchy.run}: a world model without macro-actions; give a run of `cjepa fit -c "
            "experiments/pusht/cjepa.yaml -c experiments/pusht/macro.yaml`"
        )
    widths = [(one.tokenizer_fingerprint, one.dynamics.proprio_dim) for one in (loaded, model)]
    if widths[0] != widths[1]:
        found, expected = (f"tokens of tokenizer {tokens} with {proprio} proprio values" for tokens, proprio in widths)
        raise UserError(
            f"--hierarchy.run {hierarchy.run}: it was trained on {found}, but the world model on {expected}; train "
            "both on the same tokens"
        )
    objective = hierarchy.objective.for_model(loaded.dynamics, loaded.tokenizer, loaded.lineage)
    parts = (hierarchy.planner, objective, hierarchy.horizon_blocks)
    return LoadedHighLevel(HighLevel(loaded.dynamics.to(device), *parts), loaded.lineage)
