"""Cost of candidate actions: predicted by a world model, or run on the simulator itself."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import Statement
from cjepa.errors import UserError
from cjepa.planning.objectives import Goal, Objective
from cjepa.shapes import check_given
from cjepa.types import Plan
from cjepa.world_models.dynamics import Dynamics, take_rows

_CELLS_NEAR_THE_CACHES = 16_000  # sequences x entities in one forward pass on a CPU
_BYTES_PER_CELL = 128 * 1024  # of activations without gradients; generous for a token of 384 values


class RolloutCost:
    """Rolls candidates out in a world model and compares them with the goal.

    Gradients with respect to the actions are kept unless the caller switches them off.

    Args:
        dynamics: the world model.
        state: of B environments, as ``dynamics.observe`` gave it.
        goal: of B environments, normalised.
        objective: of predicted futures.
        skipped_B: environments whose cost nobody needs, bool; it is 0, whatever the candidate. None: compute all.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        state: NamedTuple,
        goal: Goal,
        objective: Objective,
        skipped_B: Tensor | None = None,
    ):
        self.dynamics = dynamics
        self.state = state
        self.goal = goal
        self.objective = objective
        self.skipped_B = skipped_B
        self._wanted_W = None if skipped_B is None else (~skipped_B).nonzero().squeeze(1)  # once: a GPU waits for it

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """Cost ``(B, N)``."""
        return self.in_parts(actions_BNHA, self.of_part)

    def in_parts(self, actions_BNHA: Tensor, of_part: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Cost ``(B, N)``, as many candidates at a time as memory allows, whichever environment they are of.

        Args:
            actions_BNHA: candidates.
            of_part: that is asked for the cost of each part, as :meth:`of_part` is.
        """
        candidates = actions_BNHA.shape[1]
        if self._wanted_W is None:
            wanted_W = torch.arange(len(actions_BNHA), device=actions_BNHA.device)
        else:
            wanted_W = self._wanted_W
            actions_BNHA = actions_BNHA[wanted_W]
        actions_RHA, row_R = actions_BNHA.flatten(0, 1), wanted_W.repeat_interleave(candidates)
        rows = self.rows_at_once
        parts = zip(actions_RHA.split(rows), row_R.split(rows), strict=True)
        cost_WN = torch.cat([of_part(*part) for part in parts]).reshape(-1, candidates)
        if self.skipped_B is None:
            return cost_WN
        return cost_WN.new_zeros(len(self.skipped_B), candidates).index_copy(0, wanted_W, cost_WN)

    def of_part(self, actions_RHA: Tensor, row_R: Tensor) -> Tensor:
        """Cost ``(R,)`` of candidates for the environments ``row_R``, in one rollout."""
        with torch.autocast(actions_RHA.device.type, torch.bfloat16):
            rollout = self.dynamics.rollout(take_rows(self.state, row_R), actions_RHA)
            single = rollout.map(lambda values: values[:, None].float())
            cost_R1 = self.objective(single, actions_RHA[:, None], take_rows(self.goal, row_R))
        check_given(cost_R1, (len(row_R), 1), f"{type(self.objective).__name__}: cost_BN")
        return cost_R1[:, 0]

    @property
    def rows_at_once(self) -> int:
        """Candidates that memory allows in one rollout."""
        cells_per_row = (self.goal.tokens_BSD.shape[1] + 2) * (self.dynamics.history_blocks + 1)
        return max(1, _cells_at_once(self.goal.tokens_BSD.device) // cells_per_row)


class SimulatorCost:
    """Runs candidates of one environment on the simulator; its error at the end is the cost.

    Args:
        env: a simulator to run them in.
        state: where they start.
        goal_state: where they should get to.
        statement: what should become true instead, if the goal is a sentence.
    """

    def __init__(self, env: ObjectEnv, state: np.ndarray, goal_state: np.ndarray, statement: Statement | None = None):
        self.env = env
        self.state = state
        self.goal_state = goal_state
        self.statement = statement

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """Cost ``(1, N)`` of candidates ``(1, N, H, A)``."""
        action_dim = self.env.action_space.shape[0]
        actions_NHFA = actions_BNHA[0].detach().unflatten(-1, (-1, action_dim)).numpy()
        ends_NF = np.stack([self._end(actions_HFA) for actions_HFA in actions_NHFA])
        if self.statement is None:
            error_N = self.env.state_error(ends_NF, self.goal_state).sum(axis=-1)
        else:
            places = [self.env.named_places(end_F) for end_F in ends_NF]
            error_N = np.array([self.statement.error(known, self.env.table) for known in places])
        return torch.from_numpy(error_N).float()[None]

    def _end(self, actions_HFA: np.ndarray) -> np.ndarray:
        env = self.env
        env.set_state(self.state)
        for action in actions_HFA.reshape(-1, actions_HFA.shape[-1]):
            env.advance(action)
        return env.get_state()


def checked_plan(plan: Plan) -> Plan:
    """A plan of a world model that can tell candidates apart.

    Raises:
        UserError: the world model predicts nothing but NaN.
    """
    if not torch.isfinite(plan.cost_B).all():
        raise UserError(
            "the world model predicts NaN or infinite values for every candidate of a plan; its training has "
            "diverged or its weights are damaged: see train/loss in its metrics.csv, and train it again"
        )
    return plan


def _cells_at_once(device: torch.device) -> int:
    if device.type != "cuda":
        return _CELLS_NEAR_THE_CACHES  # 2 GB at most, whatever is free: parts of another size round differently
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return max(_CELLS_NEAR_THE_CACHES, free_bytes // _BYTES_PER_CELL)
