"""Actions of its environments: bounds, blocks, and what its policies do to them."""

from typing import Protocol

import numpy as np
from gymnasium import spaces

from cjepa.errors import UserError
from cjepa.planning.blocks import ActionBlocks


class Scaler(Protocol):
    """What its policies call a process: a scaler of scikit-learn, or :class:`WithinBounds`."""

    def transform(self, values: np.ndarray) -> np.ndarray:
        """The environment's units -> those of the solver, ``(rows, values)``."""

    def inverse_transform(self, values: np.ndarray) -> np.ndarray:
        """The solver's units -> those of the environment."""


class WithinBounds:
    """Clips the actions of its policies as our environments do: ``WorldModelPolicy(..., process={"action": ...})``.

    ``swm/PushT-v1`` takes actions of any size, and most of its solvers propose them; a model knows only those within
    the bounds.

    Args:
        action_space: of one environment, ``world.envs.single_action_space``.

    Raises:
        UserError: it is not a Box of shape (A,) with finite bounds.
    """

    def __init__(self, action_space: spaces.Space):
        self.low, self.high = bounds_of(action_space)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """The solver's units are those of the environment."""
        return values

    def inverse_transform(self, values: np.ndarray) -> np.ndarray:
        """Clipped; NaN, the action of an environment that has finished, stays."""
        return values.clip(self.low, self.high)


def bounds_of(space: spaces.Space, batched: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest action of one environment, float32 ``(A,)`` each.

    Args:
        space: of one environment, or of a batch of them.
        batched: the space is of a batch, ``(environments, A)``.

    Raises:
        UserError: the space is not a Box of this shape with finite bounds.
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 + batched:
        raise UserError(f"action space {space}, expected a Box of shape {'(environments, A)' if batched else '(A,)'}")
    low, high = (bound[0] if batched else bound for bound in (space.low, space.high))
    if not np.isfinite([low, high]).all():
        raise UserError(f"action space {space} without finite bounds; planners search between them")
    return low.astype(np.float32), high.astype(np.float32)


def blocks_of(space: spaces.Space, action_values: int) -> ActionBlocks:
    """Blocks of as many env steps as a world model takes at a time.

    Raises:
        UserError: as :func:`bounds_of`, or the actions do not fill blocks of ``action_values``.
    """
    low, high = bounds_of(space)
    if action_values % len(low):
        raise UserError(f"actions of {len(low)} values, but the world model takes blocks of {action_values} values")
    return ActionBlocks(low, high, action_values // len(low))
