"""A world model of a few parameters, clips of noise, and a short training, for tests."""

import lightning as L
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.types import Clip
from cjepa.world_models.masks import Mask, ObjectMask
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.training import WorldModel
from tests.contracts import stirred
from tests.trainers import quiet_trainer

SMALL = {"history_blocks": 3, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "dropout": 0.0}


class Zeros(Predictor):
    """Predicts 0 for everything and remembers what it was given."""

    token_dim, proprio_dim, action_dim, history_blocks = 2, 2, 1, 3

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS):
        self.given = (tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS)
        batch, blocks, slots, dim = tokens_BTSD.shape
        zeros = tokens_BTSD.new_zeros(batch, blocks + 1, slots, dim)
        return Prediction(zeros[:, :-1], zeros[:, -1:], torch.zeros_like(proprio_BTP[:, :1]))


def a_clip(blocks: int, batch: int = 2, slots: int = 3, dims=(6, 4, 10), seed: int = 0) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, blocks, slots, dims[0]), (batch, blocks, dims[1]), (batch, blocks, dims[2])]
    return Clip(*(torch.randn(shape, generator=generator) for shape in shapes))


def small_model(mask: Mask | None = None, seed: int = 0, **changes) -> WorldModel:
    torch.manual_seed(seed)
    predictor = stirred(EntityTransformer(token_dim=6, **SMALL), seed)
    return WorldModel(predictor, mask or ObjectMask(1), **changes).eval()


def fit(tokens_path, model: WorldModel, max_steps: int = 2, **options) -> L.Trainer:
    data = TokenClips(str(tokens_path), train_blocks=4, val_blocks=8, batch_size=16)
    trainer = quiet_trainer(max_steps, val_check_interval=1, **options)
    trainer.fit(model, datamodule=data)
    return trainer
