"""A planner of ours as one of its solvers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.integrations.stable_worldmodel.actions import Scaler, bounds_of
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.planners.base import Planner
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class PlannerSolver:
    """Plans with its models, or with :class:`WorldModelCost`.

    Args:
        model: with ``get_cost(info_dict, action_candidates) -> (B, N)``.
        planner: of action blocks.
        batch_size: environments planned for at a time.
        device: of the model.
        seed: of the search.
        process: that its ``WorldModelPolicy`` has for actions, where its model takes them in scaled units: the bounds
            are scaled with it. None where the solver's units are those of the environment.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """

    def __init__(
        self,
        model: Any,
        planner: Planner,
        batch_size: int = 1,
        device: str | torch.device = "cpu",
        seed: int = 0,
        process: Scaler | None = None,
    ):
        at_least(1, batch_size=batch_size)
        self.model = model
        self.planner = planner
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.process = process
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def configure(self, *, action_space: spaces.Space, n_envs: int, config: Any) -> None:
        """Take over the sizes of a world.

        Args:
            action_space: of all environments, ``(n_envs, action_dim)``.
            n_envs: number of environments.
            config: its ``PlanConfig``.

        Raises:
            UserError: the action space is not a Box with finite bounds.
        """
        bounds = np.stack(bounds_of(action_space, batched=True))
        if self.process is not None:
            bounds = np.sort(self.process.transform(bounds), axis=0)
        self._blocks = ActionBlocks(*bounds.astype(np.float32), config.action_block)
        self._n_envs, self._horizon = n_envs, config.horizon

    @property
    def action_dim(self) -> int:
        """A, the values of one block."""
        return self._blocks.action_values

    @property
    def n_envs(self) -> int:
        """Number of environments."""
        return self._n_envs

    @property
    def horizon(self) -> int:
        """H, in blocks."""
        return self._horizon

    def __call__(self, info_dict: Mapping[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """See :meth:`solve`."""
        return self.solve(info_dict, init_action)

    @torch.no_grad()
    def solve(self, info_dict: Mapping[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """Plan for all environments of an info dictionary.

        Args:
            info_dict: what is known of n environments, ``(n, T, ...)`` each.
            init_action: what is left of the last plans, ``(n, h, A)`` with h up to H.

        Returns:
            ``actions`` ``(n, H, A)`` on the CPU, and ``costs``, one number per environment.
        """
        total = len(next(iter(info_dict.values())))
        parts = [slice(first, first + self.batch_size) for first in range(0, total, self.batch_size)]
        plans = [
            self._plan(
                {key: values[part] for key, values in info_dict.items()},
                min(part.stop, total) - part.start,
                None if init_action is None else init_action[part],
            )
            for part in parts
        ]
        actions_BHA = torch.cat([plan.actions_BHA for plan in plans])
        return {"actions": actions_BHA, "costs": torch.cat([plan.cost_B for plan in plans]).tolist()}

    def _plan(self, info: Mapping[str, Any], batch: int, rest_BHA: Tensor | None) -> Plan:
        cost = _InfoCost(self.model, info, self.device)
        bounds, stride = self._blocks.bounds(self.device), self._blocks.frame_stride
        problem = PlanningProblem(cost, *bounds, batch, self.horizon, self._generator, frame_stride=stride)
        if rest_BHA is None:
            return self.planner.plan(problem).cpu()
        start_B1HA = torch.zeros(batch, 1, self.horizon, self.action_dim, device=self.device)
        start_B1HA[:, 0, : rest_BHA.shape[1]] = rest_BHA
        return self.planner.plan(problem, start_B1HA).cpu()


class _InfoCost:
    """Cost of candidates by a model that reads an info dictionary."""

    def __init__(self, model: Any, info: Mapping[str, Any], device: torch.device):
        self.model = model
        self.info = info
        self.device = device
        # its models keep what they have encoded in the dictionary: one for each number of candidates
        self._repeated: dict[int, dict[str, Any]] = {}

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        candidates = actions_BNHA.shape[1]
        if candidates not in self._repeated:
            self._repeated[candidates] = {key: self._repeat(values, candidates) for key, values in self.info.items()}
        return self.model.get_cost(self._repeated[candidates], actions_BNHA).float()

    def _repeat(self, values: Any, candidates: int) -> Any:
        """As its own solvers do: tensors and arrays for each candidate, lists as they are."""
        if isinstance(values, np.ndarray):
            return np.repeat(values[:, None], candidates, axis=1)
        if not torch.is_tensor(values):
            return values
        values = values.to(self.device, dtype=torch.float32 if values.is_floating_point() else None)
        return values[:, None].expand(-1, candidates, *values.shape[1:])
