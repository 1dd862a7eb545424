"""Who chooses actions in a closed loop: a planner on a world model, the same planner on the simulator, or chance."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, encode_clips
from cjepa.types import Clip, Plan, Rollout, VideoBatch
from cjepa.world_models.dynamics import Dynamics, repeat_rows, take_rows

_ROLLOUT_CELLS = 16_000  # sequences x entities in one forward pass: activations then stay near the caches


class Situation(NamedTuple):
    """Where a batch of environments is and where it should get to."""

    pixels_BYXC: np.ndarray
    objects_BOF: np.ndarray
    """The simulator's own account of the bodies; only oracle tokenizers may look."""
    proprio_BP: np.ndarray
    state_BF: np.ndarray
    """Simulator states; only the simulator's own planner may look."""


class Agent(ABC):
    """Chooses the next actions of a batch of environments."""

    @abstractmethod
    def act(self, now: Situation, goal: Situation, generator: torch.Generator) -> np.ndarray:
        """Actions for the next env steps, float32 ``(B, env steps, action_dim)``, in [-1, 1]."""


class RandomAgent(Agent):
    """Uniform actions.

    Args:
        env_steps: how many to give at a time.
        action_dim: of the environment.
    """

    def __init__(self, env_steps: int, action_dim: int):
        self.env_steps = env_steps
        self.action_dim = action_dim

    def act(self, now: Situation, goal: Situation, generator: torch.Generator) -> np.ndarray:
        shape = (len(now.proprio_BP), self.env_steps, self.action_dim)
        return (torch.rand(shape, generator=generator) * 2 - 1).numpy()


class WorldModelAgent(Agent):
    """Plans in token space: encode where we are and the goal image, search actions, give the whole plan.

    Args:
        world_model: in eval mode.
        tokenizer: the one whose tokens the world model was trained on.
        planner: of action blocks.
        objective: of predicted futures.
        horizon_blocks: H.
        frame_stride: env steps a block.
    """

    def __init__(
        self,
        world_model: Dynamics,
        tokenizer: Tokenizer,
        planner: Planner,
        objective: Objective,
        horizon_blocks: int,
        frame_stride: int,
    ):
        self.world_model = world_model
        self.tokenizer = tokenizer
        self.planner = planner
        self.objective = objective
        self.horizon_blocks = horizon_blocks
        self.frame_stride = frame_stride

    def act(self, now: Situation, goal: Situation, generator: torch.Generator) -> np.ndarray:
        actions_BHA = self.plan(now, goal, generator).actions_BHA
        return actions_BHA.reshape(len(actions_BHA), self.horizon_blocks * self.frame_stride, -1).numpy()

    @torch.inference_mode()
    def plan(self, now: Situation, goal: Situation, generator: torch.Generator) -> Plan:
        """Search from one context frame; actions ``(B, H, A)`` in [-1, 1]."""
        # one clip of two frames: slot s of the goal is then the object that slot s is now
        both = self._encode(now, goal)
        context, target = (Clip(*(values[:, t : t + 1] for values in both)) for t in (0, 1))
        model = self.world_model
        high_A = torch.ones(model.action_dim)
        goal = model.normalise(target)
        state = model.observe(context)
        device = goal.tokens_BTSD.device

        def cost_fn(actions_BNHA: Tensor) -> Tensor:
            batch, candidates = actions_BNHA.shape[:2]
            actions_BHA = actions_BNHA.flatten(0, 1).to(device)
            rollout = self._rollout(repeat_rows(state, candidates), actions_BHA)
            goal_tokens = goal.tokens_BTSD[:, 0].repeat_interleave(candidates, dim=0)
            goal_proprio = goal.proprio_BTP[:, 0].repeat_interleave(candidates, dim=0)
            return self.objective.cost(rollout, goal_tokens, goal_proprio).reshape(batch, candidates).cpu()

        with torch.autocast(device.type, torch.bfloat16):
            batch = len(context.tokens_BTSD)
            return self.planner.plan(cost_fn, batch, self.horizon_blocks, -high_A, high_A, generator)

    @torch.inference_mode()
    def imagine(self, now: Situation, actions: np.ndarray) -> Tensor:
        """Predicted tokens, in the tokenizer's scale, ``(B, H, S, D)`` for actions ``(B, env steps, action_dim)``."""
        model = self.world_model
        context = self._encode(now)
        device = context.tokens_BTSD.device
        blocks = torch.from_numpy(actions).reshape(len(actions), self.horizon_blocks, -1).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            rollout = self._rollout(model.observe(context), blocks)
        return model.denormalise(rollout).tokens_BHSD.cpu()

    def _encode(self, *situations: Situation) -> Clip:
        """Frames, one a situation; action rows are placeholders that rollouts do not read."""
        device = device_of(self.world_model)
        pixels, objects = (
            torch.from_numpy(np.stack([getattr(situation, name) for situation in situations], axis=1))
            for name in ("pixels_BYXC", "objects_BOF")
        )
        tokens = encode_clips(self.tokenizer, VideoBatch(pixels, objects_BTOF=objects))
        proprio = torch.from_numpy(np.stack([situation.proprio_BP for situation in situations], axis=1))
        actions = torch.zeros(*tokens.shape[:2], self.world_model.action_dim)
        return Clip(*(values.to(device) for values in (tokens, proprio, actions)))

    def _rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout:
        model = self.world_model
        rows = max(1, _ROLLOUT_CELLS // ((self.tokenizer.num_slots + 2) * (model.history_blocks + 1)))
        parts = []
        for start in range(0, len(actions_BHA), rows):
            part = slice(start, start + rows)
            parts.append(model.rollout(take_rows(state, part), actions_BHA[part]))
        return Rollout(*(torch.cat(values).float() for values in zip(*parts, strict=True)))


class SimulatorAgent(Agent):
    """The ceiling: the same planner on the simulator itself, with true states for start, goal and cost.

    Args:
        env: a simulator to roll out in.
        planner: of action blocks.
        horizon_blocks: H.
        frame_stride: env steps a block.
    """

    def __init__(self, env: ObjectEnv, planner: Planner, horizon_blocks: int, frame_stride: int):
        self.env = env
        self.planner = planner
        self.horizon_blocks = horizon_blocks
        self.frame_stride = frame_stride

    def act(self, now: Situation, goal: Situation, generator: torch.Generator) -> np.ndarray:
        action_dim = self.env.action_space.shape[0]
        high_A = torch.ones(action_dim * self.frame_stride)
        env_steps = self.horizon_blocks * self.frame_stride
        plans = []
        for state, goal_state in zip(now.state_BF, goal.state_BF, strict=True):
            # the simulator runs one candidate after the other, so environments are planned one by one too
            def cost_fn(actions_1NHA: Tensor, state=state, goal_state=goal_state) -> Tensor:
                candidates = actions_1NHA[0].reshape(-1, env_steps, action_dim).numpy()
                return torch.tensor([[self._cost(state, goal_state, actions) for actions in candidates]])

            plan = self.planner.plan(cost_fn, 1, self.horizon_blocks, -high_A, high_A, generator)
            plans.append(plan.actions_BHA[0].reshape(env_steps, action_dim).numpy())
        return np.stack(plans)

    def _cost(self, state: np.ndarray, goal_state: np.ndarray, actions: np.ndarray) -> float:
        self.env.set_state(state)
        for action in actions:
            self.env.advance(action)
        return float(self.env.state_error(self.env.get_state(), goal_state).sum())
