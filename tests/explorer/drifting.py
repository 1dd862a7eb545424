"""A world model of Push-T in which every env step moves the agent by 20 px x its action, and nothing else moves."""

from typing import NamedTuple

from torch import Tensor

from cjepa.envs.pusht.env import PushT
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Clip, Predicted, Rollout
from cjepa.world_models.dynamics import Dynamics

PX_PER_ACTION = 20.0


class Seen(NamedTuple):
    tokens_BSD: Tensor


class Drifting(Dynamics):
    """On oracle tokens in pixels, whose first two values are x and y; body 0 is the agent."""

    token_dim, proprio_dim, action_dim, history_blocks = 7, 0, 10, 1

    def __init__(self):
        super().__init__()
        self.tokenizer = OracleTokenizer(2, PushT.attribute_names)

    def normalise(self, clip: Clip) -> Clip:
        return Clip(clip.tokens_BTSD, clip.proprio_BTP[..., :0], clip.actions_BTA)

    def denormalise(self, rollout: Rollout) -> Rollout:
        return rollout

    def observe(self, clip: Clip) -> Seen:
        return Seen(clip.tokens_BTSD[:, -1])

    def step(self, state: Seen, actions_BA: Tensor) -> Seen:
        tokens_BSD = state.tokens_BSD.clone()
        tokens_BSD[:, 0, :2] += PX_PER_ACTION * actions_BA.unflatten(1, (5, 2)).sum(dim=1)
        return Seen(tokens_BSD)

    def predicted(self, state: Seen) -> Predicted:
        return Predicted(state.tokens_BSD, state.tokens_BSD.new_zeros(len(state.tokens_BSD), 0))
