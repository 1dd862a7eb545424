"""Behaviour policy for Push-T."""

import math

import numpy as np

from cjepa.envs.base import ObjectEnv
from cjepa.envs.policies import MotionPolicy
from cjepa.envs.pusht.env import ACTION_PX, REACH_PX


class PushTBehaviour(MotionPolicy):
    """Keeps touching the block and covers the table.

    Its motions go *through* the block (at a random point of it and on), *around* it (to a random bearing nearby) and
    anywhere (*free* moves).
    """

    action_length = ACTION_PX

    def start_state(self, env: ObjectEnv) -> np.ndarray:
        """Block anywhere but at the walls, agent at 105 to 240 px from its middle."""
        rng, (low, high) = self._rng, REACH_PX
        while True:
            block, angle = rng.uniform(130, 380, 2), rng.uniform(0, 2 * np.pi)
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(105, 240)
            centre = _block_centre(np.array([0, 0, *block, angle]))
            agent = centre + distance * np.array([np.cos(bearing), np.sin(bearing)])
            if (agent > low).all() and (agent < high).all() and np.linalg.norm(agent - block) > 90:
                return np.array([*agent, *block, angle, 0.0, 0.0])

    def look(self, env: ObjectEnv) -> np.ndarray:
        return env.get_state()

    def choose_target(self, seen: np.ndarray) -> np.ndarray:
        rng, agent, block = self._rng, seen[:2], _block_centre(seen)
        kind = rng.uniform()
        if kind < self.share_through:
            point = block + rng.uniform(-45, 45, 2)
            heading = (point - agent) / max(np.linalg.norm(point - agent), 1.0)
            target = point + heading * rng.uniform(0, 140)
        elif kind < self.share_through + self.share_around:
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(80, 160)
            target = block + distance * np.array([np.cos(bearing), np.sin(bearing)])
        else:
            target = rng.uniform(*REACH_PX, 2)
        return np.clip(target, *REACH_PX)

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
