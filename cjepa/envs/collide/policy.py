"""Behaviour policy for Collide with an agent."""

import numpy as np

from cjepa.envs.base import ObjectEnv
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.starts import AGENT_SIZE
from cjepa.envs.collide.world import ACTION_UNITS, POSITION, TABLE_UNITS, Attribute
from cjepa.envs.policies import MotionPolicy
from cjepa.errors import UserError

_REACH = (AGENT_SIZE, TABLE_UNITS - AGENT_SIZE)


class CollideBehaviour(MotionPolicy):
    """Pushes bodies about, the target body more often than the others.

    Its motions go *through* a body (at a random point of it and on), *around* it (to a random bearing nearby) and
    anywhere (*free* moves).

    Args:
        share_target: share of the motions through and around a body that are about the target body.
        share_through: share of motions that push.
        share_around: share of motions that change sides; the rest are free moves.
        momentum: share of the last action in the next one, in [0, 1).
        noise: standard deviation of the noise on each action, as a share of the motion's speed.

    Raises:
        UserError: an episode begins in another environment.
    """

    action_length = ACTION_UNITS

    def __init__(
        self,
        share_target: float = 0.7,
        share_through: float = 0.7,
        share_around: float = 0.2,
        momentum: float = 0.4,
        noise: float = 0.15,
    ):
        super().__init__(share_through, share_around, momentum, noise)
        self.share_target = share_target

    def start_state(self, env: ObjectEnv) -> None:
        if not isinstance(env, Collide) or not env.agent:
            mend = "choose another policy, or env_id cjepa/Collide-v0 with env_kwargs agent: true"
            raise UserError(f"{type(self).__name__} needs Collide with an agent, got {type(env).__name__}; {mend}")

    def look(self, env: Collide) -> np.ndarray:
        """x, y (units) of the agent, of the target body and of all others that are there."""
        bodies = env.objects().astype(np.float64)
        there = np.flatnonzero(bodies[:, Attribute.PRESENT]).tolist()
        others = [body for body in there if body not in (0, env.target_body)]
        return bodies[[0, env.target_body, *others], POSITION].ravel()

    def choose_target(self, seen: np.ndarray) -> np.ndarray:
        rng, places = self._rng, seen.reshape(-1, 2)
        agent, target_body, others = places[0], places[1], places[2:]
        about_target = not len(others) or rng.uniform() < self.share_target
        body = target_body if about_target else others[rng.integers(len(others))]
        kind = rng.uniform()
        if kind < self.share_through:
            point = body + rng.uniform(-20, 20, 2)
            heading = (point - agent) / max(np.linalg.norm(point - agent), 1.0)
            target = point + heading * rng.uniform(0, 120)
        elif kind < self.share_through + self.share_around:
            bearing, distance = rng.uniform(0, 2 * np.pi), rng.uniform(80, 140)
            target = body + distance * np.array([np.cos(bearing), np.sin(bearing)])
        else:
            target = rng.uniform(*_REACH, 2)
        return np.clip(target, *_REACH)
