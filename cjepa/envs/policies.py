"""Policies for data collection: they see the environment, not pixels."""

import math
from abc import ABC, abstractmethod

import numpy as np

from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError


class Policy(ABC):
    """Chooses actions during one episode at a time."""

    @abstractmethod
    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode; all randomness of the next one comes from ``rng``."""

    @abstractmethod
    def start_state(self, env: ObjectEnv) -> np.ndarray | None:
        """The state to start an episode from, or None for the environment's own."""

    @abstractmethod
    def act(self, env: ObjectEnv) -> np.ndarray:
        """Action float32 (action_dim,) for the environment's current state."""


class RandomPolicy(Policy):
    """Uniform actions in the action space."""

    def reset(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def start_state(self, env: ObjectEnv) -> None:
        return None

    def act(self, env: ObjectEnv) -> np.ndarray:
        return self._rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)


class StillPolicy(Policy):
    """Zeros, or the nearest action that the environment allows: for environments that move by themselves."""

    def reset(self, rng: np.random.Generator) -> None:
        """Nothing is random."""

    def start_state(self, env: ObjectEnv) -> None:
        return None

    def act(self, env: ObjectEnv) -> np.ndarray:
        return np.clip(np.float32(0), env.action_space.low, env.action_space.high)


class MotionPolicy(Policy):
    """Short straight motions of an agent, without a task; a low-pass filter gives momentum.

    Subclasses say where the agent is (the first two values of :meth:`look`), how far an action of length 1 aims
    (``action_length``), and where the next motion leads: :meth:`choose_target`. Actions stay in the action space.

    Args:
        share_through: share of motions that push.
        share_around: share of motions that change sides; the rest are free moves.
        momentum: share of the last action in the next one, in [0, 1).
        noise: standard deviation of the noise on each action, as a share of the motion's speed.
        speeds: least and greatest speed of a motion, as the length of its actions, in (0, 1].
        motion_env_steps: least and greatest duration of a motion; it ends earlier at its target.

    Raises:
        UserError: a range is empty or out of bounds.
    """

    action_length: float
    """How far an action of length 1 aims, in the environment's units."""

    def __init__(
        self,
        share_through: float = 0.65,
        share_around: float = 0.25,
        momentum: float = 0.4,
        noise: float = 0.15,
        speeds: tuple[float, float] = (0.25, 1.0),
        motion_env_steps: tuple[int, int] = (4, 13),
    ):
        check_range("speeds", speeds, 0.01, 1.0)
        check_range("motion_env_steps", motion_env_steps, 1, 1000)
        self.share_through = share_through
        self.share_around = share_around
        self.momentum = momentum
        self.noise = noise
        self.speeds = tuple(speeds)
        self.motion_env_steps = tuple(motion_env_steps)

    @abstractmethod
    def look(self, env: ObjectEnv) -> np.ndarray:
        """What the policy sees, float ``(F,)``; the agent's x and y come first."""

    @abstractmethod
    def choose_target(self, seen: np.ndarray) -> np.ndarray:
        """Where the next motion leads, ``(2,)``: x and y in the environment's units."""

    def gives_up(self, seen: np.ndarray, target: np.ndarray) -> bool:
        """Whether a motion to ``target`` should be abandoned; False by default."""
        return False

    def reset(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._last = np.zeros(2)
        self._steps_left = 0

    def act(self, env: ObjectEnv) -> np.ndarray:
        seen = self.look(env)
        if self._steps_left == 0 or self.gives_up(seen, self._target):
            self._speed = self._rng.uniform(*self.speeds)
            self._steps_left = int(self._rng.integers(*self.motion_env_steps, endpoint=True))
            self._target = self.choose_target(seen)
        self._steps_left -= 1
        wanted = 2.0 * (self._target - seen[:2]) / self.action_length
        norm = math.sqrt(wanted @ wanted)  # np.linalg.norm takes three times as long, and this runs once per frame
        wanted = wanted * min(self._speed / max(norm, 1e-6), 1.0)
        noisy = wanted + self._rng.normal(0, self.noise, 2) * self._speed
        self._last = self.momentum * self._last + (1 - self.momentum) * noisy
        if norm < 0.25:
            self._steps_left = 0
        return np.minimum(np.maximum(self._last, env.action_space.low), env.action_space.high).astype(np.float32)


def check_range(option: str, values: tuple[float, float], least: float, greatest: float) -> None:
    """Check that ``values`` are the ends of a range within ``least``..``greatest``.

    Raises:
        UserError: they are not.
    """
    low, high = values
    if not least <= low <= high <= greatest:
        raise UserError(f"{option} is {list(values)}, expected [low, high] within {least} to {greatest}")
