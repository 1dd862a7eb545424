"""Behaviour policy for Push-T."""

import math

import numpy as np

from cjepa.envs.base import ObjectEnv
from cjepa.envs.policies import MotionPolicy, check_range
from cjepa.envs.pusht.drawing import TABLE_PX
from cjepa.envs.pusht.env import ACTION_PX, BLOCK_START_PX, REACH_PX
from cjepa.errors import UserError

_PUSHES_WITHIN_PX = 50.0  # a motion that passes nearer to the block's middle pushes the block
_REDRAWS = 20


class PushTBehaviour(MotionPolicy):
    """Keeps touching the block and covers the table.

    Its motions go *through* the block (at a random point of it and on), *around* it (to a random bearing nearby) and
    anywhere (*free* moves).

    Args:
        share_through: share of motions that push.
        share_around: share of motions that change sides; the rest are free moves.
        momentum: share of the last action in the next one, in [0, 1).
        noise: standard deviation of the noise on each action, as a share of the motion's speed.
        speeds: least and greatest speed of a motion, as the length of its actions, in (0, 1].
        motion_env_steps: least and greatest duration of a motion; it ends earlier at its target.
        start_px: range of the block's x and y at the start.
        home_px: keep the block near the middle of the table: at a greater distance from there (px) no motion begins
            that would push the block farther out, and motions around the block lead towards its outer side. None:
            the block may go anywhere.

    Raises:
        UserError: a range is empty or out of bounds, or ``home_px`` is not positive.
    """

    action_length = ACTION_PX

    def __init__(
        self,
        share_through: float = 0.65,
        share_around: float = 0.25,
        momentum: float = 0.4,
        noise: float = 0.15,
        speeds: tuple[float, float] = (0.25, 1.0),
        motion_env_steps: tuple[int, int] = (4, 13),
        start_px: tuple[float, float] = (130.0, 380.0),
        home_px: float | None = None,
    ):
        super().__init__(share_through, share_around, momentum, noise, speeds, motion_env_steps)
        check_range("start_px", start_px, *BLOCK_START_PX)
        if home_px is not None and not home_px > 0:
            raise UserError(f"home_px is {home_px}, expected a positive distance in px, or null")
        self.start_px = tuple(start_px)
        self.home_px = home_px

    def start_state(self, env: ObjectEnv) -> np.ndarray:
        """Block anywhere in ``start_px``, agent at 105 to 240 px from its middle."""
        rng, (low, high) = self._rng, REACH_PX
        while True:
            block, angle = rng.uniform(*self.start_px, 2), rng.uniform(0, 2 * np.pi)
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(105, 240)
            centre = _block_centre(np.array([0, 0, *block, angle]))
            agent = centre + distance * np.array([np.cos(bearing), np.sin(bearing)])
            if (agent > low).all() and (agent < high).all() and np.linalg.norm(agent - block) > 90:
                return np.array([*agent, *block, angle, 0.0, 0.0])

    def look(self, env: ObjectEnv) -> np.ndarray:
        return env.get_state()

    def choose_target(self, seen: np.ndarray) -> np.ndarray:
        for _ in range(_REDRAWS):
            target = self._draw_target(seen)
            if not self._pushes_away(seen, target):
                break
        return target

    def _draw_target(self, seen: np.ndarray) -> np.ndarray:
        rng, agent, block = self._rng, seen[:2], _block_centre(seen)
        kind = rng.uniform()
        if kind < self.share_through:
            point = block + rng.uniform(-45, 45, 2)
            heading = (point - agent) / max(np.linalg.norm(point - agent), 1.0)
            target = point + heading * rng.uniform(0, 140)
        elif kind < self.share_through + self.share_around:
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(80, 160)
            bearing = self._towards_outer_side(bearing, block)
            target = block + distance * np.array([np.cos(bearing), np.sin(bearing)])
        else:
            target = rng.uniform(*REACH_PX, 2)
        return np.clip(target, *REACH_PX)

    def _towards_outer_side(self, bearing: float, block: np.ndarray) -> float:
        """``bearing``, turned up to half of the way to where the block is seen from the middle of the table."""
        if self.home_px is None:
            return bearing
        x, y = block - TABLE_PX / 2
        turn = (math.atan2(y, x) - bearing + math.pi) % (2 * math.pi) - math.pi
        return bearing + 0.5 * min(math.hypot(x, y) / self.home_px, 1.0) * turn

    def _pushes_away(self, seen: np.ndarray, target: np.ndarray) -> bool:
        """Whether the straight way to ``target`` would push the block away from home."""
        agent, block = seen[:2], _block_centre(seen)
        out, way = block - TABLE_PX / 2, target - agent
        if self.home_px is None or math.hypot(*out) < self.home_px or way @ out <= 0:
            return False
        nearest = agent + way * np.clip((block - agent) @ way / (way @ way), 0, 1)
        return math.dist(nearest, block) < _PUSHES_WITHIN_PX

    def gives_up(self, seen: np.ndarray, target: np.ndarray) -> bool:
        """Whether the motion would press the block into a wall: the agent is kinematic and would win."""
        agent = seen[:2].tolist()
        block = _block_centre(seen).tolist()
        near = math.dist(agent, block) < 130
        return near and any(
            abs(centre - 256.0) > 130.0
            and (centre - 256.0) * (centre - place) > 0
            and (centre - 256.0) * (to - place) > 0
            for place, centre, to in zip(agent, block, target.tolist(), strict=True)
        )


def _block_centre(state: np.ndarray) -> np.ndarray:
    """Middle of the T (px); its origin is at the top edge, 45 px away."""
    return state[2:4] + 45.0 * np.array([-np.sin(state[4]), np.cos(state[4])])
