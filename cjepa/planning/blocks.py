"""The two clocks of planning: env steps, and blocks of ``frame_stride`` env steps with their actions concatenated."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.base import ObjectEnv


@dataclass(frozen=True)
class ActionBlocks:
    """Actions of blocks, and their bounds in the environment's units.

    Args:
        low: lowest action of one env step, float32 ``(action_dim,)``.
        high: highest action of one env step.
        frame_stride: env steps per block.
    """

    low: np.ndarray
    high: np.ndarray
    frame_stride: int

    @classmethod
    def of(cls, env: ObjectEnv, frame_stride: int) -> "ActionBlocks":
        """Blocks of an environment's actions.

        Raises:
            UserError: its actions have no finite bounds.
        """
        return cls(*env.action_bounds(), frame_stride)

    @property
    def action_values(self) -> int:
        """A, the values of one block."""
        return len(self.low) * self.frame_stride

    def bounds(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Lowest and highest values of one block, ``(A,)`` each."""
        low_A, high_A = (torch.from_numpy(np.tile(bound, self.frame_stride)) for bound in (self.low, self.high))
        return low_A.to(device), high_A.to(device)

    def to_env_steps(self, actions_BHA: Tensor) -> np.ndarray:
        """Blocks in time order -> float32 ``(B, H * frame_stride, action_dim)``."""
        return actions_BHA.reshape(len(actions_BHA), -1, len(self.low)).numpy()
