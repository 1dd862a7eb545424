"""One class of each kind as users write them, outside the package.

They are held to the contract tests; test_outside.py copies this file to where a user's file would be.
"""

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cjepa.envs.base import ObjectEnv
from cjepa.envs.policies import RandomPolicy
from cjepa.envs.pusht.env import PushT
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.types import Tokens
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.training import WorldModel


class SlowPushT(PushT):
    """Push-T whose actions move the agent half as far."""

    def advance(self, action: np.ndarray) -> None:
        super().advance(np.asarray(action) / 2)


class Calm(RandomPolicy):
    """Random actions, each halfway to the middle of the action space."""

    def act(self, env: ObjectEnv) -> np.ndarray:
        middle = (env.action_space.low + env.action_space.high) / 2
        return (super().act(env) + middle) / 2


class Bands(Tokenizer):
    """Mean colours of horizontal bands."""

    def __init__(self, num_slots: int = 4, image_size: int = 64):
        super().__init__(TokenizerInfo(num_slots, 3, image_size, index_is_place=True))

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        batch, blocks, _, height, width = pixels_BT3YX.shape
        colours = adaptive_avg_pool2d(pixels_BT3YX.flatten(0, 1), (self.num_slots, 1))
        slots = colours[..., 0].transpose(1, 2).reshape(batch, blocks, self.num_slots, 3)
        band_Y = torch.arange(height, device=slots.device) * self.num_slots // height
        masks_SY = (band_Y == torch.arange(self.num_slots, device=slots.device)[:, None]).to(slots.dtype)
        masks = masks_SY[None, None, :, :, None].expand(batch, blocks, -1, -1, width)
        return Tokens(slots, masks, slots.new_zeros(*slots.shape[:3], 2), slots.new_full((*slots.shape[:3], 1), 0.1))

    def decode(self, slots_BTSD: Tensor) -> None:
        return None


class OwnPredictor(EntityTransformer):
    """The transformer under another name."""


class OwnMask(ObjectMask):
    """The object mask under another name."""


class OwnModel(WorldModel):
    """Weighs the next block twice."""

    def __init__(self, predictor: OwnPredictor, mask: OwnMask, future_weight: float = 2.0, **options):
        super().__init__(predictor, mask, **options)
        self.loss_weights["future"] = future_weight


class OwnPlanner(CEM):
    """The cross-entropy method under another name."""


class DoubleCost(LastStepMSE):
    """Twice the distance at the end."""

    def __call__(self, rollout, actions_BNHA: Tensor, goal) -> Tensor:
        return 2 * super().__call__(rollout, actions_BNHA, goal)


ENV_ID = f"{__name__.rpartition('.')[2]}/SlowPushT-v0"
if ENV_ID not in gym.registry:
    gym.register(ENV_ID, entry_point=SlowPushT)
