"""A world model that is the simulator of Collide itself: right about everything but a constant error."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.world import MAX_BODIES, Attribute
from cjepa.evaluation.interventions.laboratory import Laboratory, SceneProtocol, open_laboratory
from cjepa.progress import NoProgress
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Clip, Predicted, Rollout
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.loading import LoadedWorldModel

STRIDE = 2
NAMES = tuple(attribute.name.lower() for attribute in Attribute)
_OTHERS = [index for index, name in enumerate(NAMES) if name != "angle"]


class Seen(NamedTuple):
    tokens_BSD: Tensor


class SimulatedDynamics(Dynamics):
    """Simulates what oracle tokens say.

    Args:
        stride: env steps per block.
        error_units: added to every predicted x.
    """

    token_dim, proprio_dim, action_dim, history_blocks = 14, 0, 0, 3

    def __init__(self, stride: int, error_units: float = 0.0):
        super().__init__()
        self.stride, self.error_units = stride, error_units
        self.env, self.tokenizer = Collide(), OracleTokenizer(MAX_BODIES, NAMES)

    def normalise(self, clip: Clip) -> Clip:
        return Clip(clip.tokens_BTSD, clip.proprio_BTP[..., :0], clip.actions_BTA[..., :0])

    def denormalise(self, rollout: Rollout) -> Rollout:
        return rollout

    def observe(self, clip: Clip) -> Seen:
        return Seen(clip.tokens_BTSD[:, -1])

    def step(self, state: Seen, actions_BA: Tensor) -> Seen:
        return Seen(torch.stack([self._simulated(tokens_SD) for tokens_SD in state.tokens_BSD]))

    def predicted(self, state: Seen) -> Predicted:
        tokens_BSD = state.tokens_BSD.clone()
        tokens_BSD[..., 1] += self.error_units
        return Predicted(tokens_BSD, tokens_BSD.new_zeros(len(tokens_BSD), 0))

    def _simulated(self, tokens_SD: Tensor) -> Tensor:
        bodies = np.zeros((MAX_BODIES, len(NAMES)))
        values_SD = tokens_SD.double().numpy()
        bodies[: len(values_SD), _OTHERS] = values_SD[:, :-2]
        bodies[: len(values_SD), Attribute.ANGLE] = np.arctan2(values_SD[:, -1], values_SD[:, -2])
        bodies[bodies[:, Attribute.PRESENT] < 0.5] = 0
        self.env.set_state(bodies)
        for _ in range(self.stride):
            self.env.advance(np.zeros(2))
        objects = torch.from_numpy(self.env.objects())[None, None, : len(values_SD)]
        return self.tokenizer.encode(objects).slots_BTSD[0, 0]


def laboratory(path: Path, error_units: float = 0.0) -> Laboratory:
    """Nine scenes of this model; it errs by so much."""
    model = SimulatedDynamics(STRIDE, error_units)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = SceneProtocol(str(path), scenes=9, val_scenes=9, horizon_blocks=8)
    return open_laboratory(loaded, {"frame_stride": STRIDE}, protocol, path, NoProgress())
