"""Its Push-T, drawn and walled in like ours."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from cjepa.envs.pusht.drawing import Colours
from cjepa.envs.pusht.env import ACTION_PX, REACH_PX

_SHADING = 1.2  # its renderer draws the inside of a body lighter than the body's colour by this factor


def push_t_world(num_envs: int, image_size: int = 64, **options: Any) -> Any:
    """A ``World("swm/PushT-v1", ...)`` without goal marker, in the colours that our tokenizers were trained on.

    As in our Push-T, the agent stays within the walls; in its own it passes through them.

    Args:
        num_envs: number of environments.
        image_size: side of the pictures, in px.
        options: others of its ``World``.

    Raises:
        ModuleNotFoundError: stable-worldmodel is not installed.
    """
    import pymunk
    import stable_worldmodel

    if not hasattr(pymunk.Space, "on_collision"):
        pymunk.Space.on_collision = _on_collision
    colours = Colours()
    bodies = {"agent.color": _unshaded(colours.agent), "block.color": _unshaded(colours.block)}
    drawn = {
        "image_shape": (image_size, image_size),
        "with_target": False,
        "init_value": bodies,
        "pre_wrappers": [_WithinWalls],
    }
    return stable_worldmodel.World("swm/PushT-v1", num_envs, **{**drawn, **options})


class _WithinWalls(gym.ActionWrapper):
    def action(self, action: np.ndarray) -> np.ndarray:
        place = np.array(self.unwrapped.agent.position)
        return ((place + ACTION_PX * np.asarray(action)).clip(*REACH_PX) - place) / ACTION_PX


def _on_collision(space: Any, one: int, other: int, post_solve: Callable[..., None]) -> None:
    """What its environment calls of pymunk 7, by the means of pymunk 6, which gym-pusht and so our Push-T need."""
    space.add_collision_handler(one, other).post_solve = post_solve


def _unshaded(colour: Sequence[int]) -> np.ndarray:
    return np.array([round(value / _SHADING) for value in colour], np.uint8)
