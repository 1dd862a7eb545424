"""A world model of ours as the cost that its solvers minimise."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from cjepa.api import PictureWorldModel
from cjepa.errors import UserError
from cjepa.integrations.stable_worldmodel.actions import blocks_of
from cjepa.planning.compatibility import check_units
from cjepa.planning.objectives import LastStepMSE, Objective
from cjepa.planning.perception import Observation
from cjepa.planning.planners.no_search import NoSearch
from cjepa.planning.problem import PlanningProblem
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.tokenizers.encode import device_of


class WorldModelCost(nn.Module):
    """The first argument of its solvers, which is called ``model`` in release 0.1.1 and ``cost`` in main.

    Candidates and observations are in the environment's units, and candidates are clipped to the bounds: give its
    ``WorldModelPolicy`` no ``transform``, and no ``process`` but :class:`WithinBounds`.

    Args:
        model: which is frozen; ``.to(device)`` moves its tokenizer as well.
        action_space: of one environment, ``world.envs.single_action_space``.
        objective: of predicted futures; None for :class:`~cjepa.planning.objectives.LastStepMSE`.
        goal_proprio: indices of the values of ``goal_proprio`` that the goal fixes; None for all. In Push-T (0, 1).

    Raises:
        UserError: the action space is not a Box of shape (A,) with finite bounds, its actions do not fill the model's
            blocks, or they are in other units than those of the training.
    """

    def __init__(
        self,
        model: PictureWorldModel,
        action_space: spaces.Space,
        objective: Objective | None = None,
        goal_proprio: Sequence[int] | None = None,
    ):
        super().__init__()
        self.dynamics = model.dynamics
        self.tokenizer = model.tokenizer.tokenizer
        self.eval().requires_grad_(False)
        self.blocks = blocks_of(action_space, self.dynamics.action_dim)
        check_units(self.dynamics, self.blocks, "the world model")
        self.objective = objective or LastStepMSE()
        self.goal_proprio = goal_proprio
        self._seen: _Seen | None = None

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """Cost ``(B, N)`` of candidates ``(B, N, H, A)``, with gradients where they are wanted.

        Args:
            info_dict: ``pixels`` and ``goal``, uint8 ``(B, N, T, Y, X, 3)``; for a model with proprioception
                ``proprio`` and, where it is known, ``goal_proprio``, ``(B, N, T, P)``; with T > 1 frames
                ``action_history``, the T - 1 blocks between them ``(B, N, T - 1, A)``.
            action_candidates: of H blocks.

        Raises:
            UserError: something is missing, or of another size or type than the model's.
        """
        if action_candidates.shape[-1] != self.blocks.action_values:
            raise UserError(
                f"candidates of {action_candidates.shape[-1]} values per block, but the world model takes "
                f"{self.blocks.action_values}: give PlanConfig(action_block={self.blocks.frame_stride})"
            )
        seen = self._read(info_dict)
        if self._seen is None or not seen.equals(self._seen):  # a solver asks many times about one moment
            self._problem = self._problem_of(seen)
            self._seen = seen
        actions_BNHA = action_candidates.to(device_of(self.dynamics))
        return self._problem.cost(self._problem.project(actions_BNHA)).to(action_candidates.device)

    def _problem_of(self, seen: "_Seen") -> PlanningProblem:
        """Of one moment. The search is the solver's: horizon and generator do not matter."""
        parts = (self.dynamics, self.tokenizer, NoSearch(), self.objective, self.blocks)
        frames = seen.pixels_BTYXC.shape[1]
        agent = WorldModelAgent(*parts, horizon_blocks=1, goal_proprio=self.goal_proprio, history_blocks=frames)
        # solvers call from inference mode, whose tensors a gradient solver could not use afterwards
        with torch.inference_mode(False), torch.no_grad():
            agent.reset(_observation(seen.goal_BTYXC[:, -1], seen.goal_proprio_BTP[:, -1]))
            for frame in range(frames):
                actions_BA = torch.from_numpy(seen.actions_BTA[:, frame - 1]) if frame else None
                agent.observe(_observation(seen.pixels_BTYXC[:, frame], seen.proprio_BTP[:, frame]), actions_BA)
            return agent.problem(torch.Generator(), horizon_blocks=1)

    def _read(self, info: Mapping[str, Any]) -> "_Seen":
        pixels_BTYXC, goal_BTYXC = self._pictures(info, "pixels"), self._pictures(info, "goal")
        (batch, frames), width = pixels_BTYXC.shape[:2], self.dynamics.proprio_dim
        if frames > self.dynamics.history_blocks:
            longest = self.dynamics.history_blocks
            raise UserError(
                f"pixels of {frames} frames, but the world model takes {longest}: give "
                f"PlanConfig(history_len={longest})"
            )
        proprio_BTP = _values(info, "proprio", batch, frames, width)
        if width and "goal_proprio" in info:
            goal_proprio_BTP = _values(info, "goal_proprio", batch, 1, width)
        else:
            goal_proprio_BTP = np.full((batch, 1, width), np.nan, np.float32)
        actions_BTA = _values(info, "action_history", batch, frames - 1, self.blocks.action_values)
        return _Seen(pixels_BTYXC, goal_BTYXC, proprio_BTP, goal_proprio_BTP, actions_BTA)

    def _pictures(self, info: Mapping[str, Any], key: str) -> np.ndarray:
        pictures_BTYXC = _of_environments(info, key)
        shape, side = pictures_BTYXC.shape, self.tokenizer.image_size
        if len(shape) != 5 or shape[-1] != 3 or pictures_BTYXC.dtype != np.uint8:
            raise UserError(
                f"{key} of shape {shape} and {pictures_BTYXC.dtype} for each candidate, expected (B, T, Y, X, 3) and "
                "uint8: give WorldModelPolicy no transform"
            )
        if side is not None and shape[2:4] != (side, side):
            raise UserError(
                f"{key}: {shape[3]} x {shape[2]} px, but the tokenizer needs {side} x {side}: give "
                f"World(image_shape=({side}, {side})) and episodes of such frames"
            )
        return pictures_BTYXC


class _Seen(NamedTuple):
    """What an info dictionary says of B environments; the last frame of the goal counts."""

    pixels_BTYXC: np.ndarray
    goal_BTYXC: np.ndarray
    proprio_BTP: np.ndarray
    goal_proprio_BTP: np.ndarray
    """NaN: unknown."""
    actions_BTA: np.ndarray
    """Blocks between the frames."""

    def equals(self, other: "_Seen") -> bool:
        """Whether all values are the same."""
        return all(np.array_equal(one, another, equal_nan=True) for one, another in zip(self, other, strict=True))


def _values(info: Mapping[str, Any], key: str, batch: int, rows: int, width: int) -> np.ndarray:
    """Rows of an entry, ``(batch, rows, width)``; it is not looked at where no values are wanted."""
    if not rows or not width:
        return np.zeros((batch, rows, width), np.float32)
    values_BTV = _of_environments(info, key)
    if values_BTV.shape != (batch, rows, width) or not np.isfinite(values_BTV).all():
        raise UserError(
            f"{key} of shape {values_BTV.shape} for each candidate, expected finite values of shape "
            f'{(batch, rows, width)}; a history of frames needs WorldModelPolicy(history_keys=("pixels", "proprio"))'
        )
    return values_BTV


def _of_environments(info: Mapping[str, Any], key: str) -> np.ndarray:
    """A copy of what holds for the first candidate, and so for all, ``(B, T, ...)``; float32 or integers."""
    if key not in info:
        raise UserError(f"info without {key!r}, only {', '.join(sorted(info))}")
    values = torch.as_tensor(info[key])[:, 0].cpu()
    return np.array(values.float() if values.is_floating_point() else values)


def _observation(pixels_BYXC: np.ndarray, proprio_BP: np.ndarray) -> Observation:
    """Without what only simulators know."""
    batch = len(pixels_BYXC)
    return Observation(pixels_BYXC, np.zeros((batch, 0, 0), np.float32), proprio_BP, np.zeros((batch, 0)))
