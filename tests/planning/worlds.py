"""A world that tests can compute by hand: an environment, a tokenizer that sees it, and dynamics that know it."""

from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.objectives import LastStepMSE, Learned
from cjepa.planning.perception import Observation
from cjepa.planning.planners.cem import CEM
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Clip, Predicted
from cjepa.world_models.dynamics import Dynamics

LOW, HIGH = np.array([-0.4, -0.4], np.float32), np.array([0.3, 0.3], np.float32)
STRIDE = 2


class PointWorld(ObjectEnv):
    """A point that moves by its actions, which are within -0.4 and 0.3; values outside are recorded as faults."""

    body_names, attribute_names, env_steps_per_second = ("point",), ("x", "y"), 10
    goal_proprio, error_names = (0,), ("distance",)
    sent: list[np.ndarray] = []
    """Actions of all worlds, in order."""

    def __init__(self):
        self.action_space = spaces.Box(LOW, HIGH)
        self.place = np.zeros(2)

    def get_state(self):
        return self.place.copy()

    def set_state(self, state):
        self.place = np.asarray(state, np.float64).copy()

    def advance(self, action):
        PointWorld.sent.append(np.asarray(action, np.float32))
        self.place = self.place + action

    def proprio(self):
        return self.place.astype(np.float32)

    def render_pixels(self):
        return np.zeros((4, 4, 3), np.uint8)

    def render_labels(self):
        return np.zeros((4, 4), np.uint8)

    def objects(self):
        return self.place.astype(np.float32)[None]

    def contacts(self):
        return np.zeros((1, 1), np.uint8)

    def state_error(self, state, goal_state):
        return np.linalg.norm(state - goal_state, axis=-1, keepdims=True) / 0.1


class PointState(NamedTuple):
    place_B2: Tensor


class PointDynamics(Dynamics):
    """Knows how the point moves, but takes it to be where it was on average over its history."""

    token_dim, proprio_dim, action_dim, history_blocks = 2, 2, 2 * STRIDE, 3

    def __init__(self, action_scale: float = 1.0, proprio_dim: int = 2):
        super().__init__()
        self.action_scale, self.proprio_dim = action_scale, proprio_dim
        self.clips: list[Clip] = []
        self.register_buffer("unused", torch.zeros(1))

    def normalise(self, clip):
        return Clip(clip.tokens_BTSD, clip.proprio_BTP[..., : self.proprio_dim], clip.actions_BTA / self.action_scale)

    def denormalise(self, rollout):
        return rollout

    def observe(self, clip):
        self.clips.append(clip)
        return PointState(clip.tokens_BTSD[:, :, 0].mean(dim=1))

    def step(self, state, actions_BA):
        return PointState(state.place_B2 + actions_BA.unflatten(-1, (STRIDE, 2)).sum(dim=1))

    def predicted(self, state):
        return Predicted(state.place_B2[:, None], state.place_B2[:, : self.proprio_dim])

    def rollout(self, state, actions_BHA):
        with torch.autocast("cpu", enabled=False):
            return super().rollout(state, actions_BHA).map(lambda values: values.float())


def observation(places) -> Observation:
    env, rows = PointWorld(), []
    for place in places:
        env.set_state(np.array(place, np.float64))
        rows.append((env.render_pixels(), env.objects(), env.proprio(), env.get_state()))
    return Observation(*(np.stack(values) for values in zip(*rows, strict=True)))


def blocks() -> ActionBlocks:
    return ActionBlocks.of(PointWorld(), STRIDE)


def point_agent(history_blocks: int = 1, horizon_blocks: int = 2, **options) -> WorldModelAgent:
    """Plans with the true dynamics."""
    oracle = OracleTokenizer(1, ("x", "y")).eval()
    parts = (PointDynamics(), oracle, options.pop("planner", CEM(64, 10, 8)), LastStepMSE(), blocks(), horizon_blocks)
    return WorldModelAgent(*parts, history_blocks=history_blocks, **options)


class Taught(LastStepMSE):
    """Says that it has learned something."""

    def __init__(self, *learned: Learned):
        super().__init__()
        self._learned = list(learned)

    def learned(self, lineage):
        return self._learned
