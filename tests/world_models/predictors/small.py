"""A predictor small enough for tests, and random inputs for it."""

import torch

from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.contracts import build, stirred

B, T, S, D, P, A = 3, 3, 4, 6, 4, 10
SIZES = {
    "token_dim": D,
    "proprio_dim": P,
    "action_dim": A,
    "history_blocks": T,
    "dim": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}


def make(cls=EntityTransformer, **changes) -> Predictor:
    torch.manual_seed(0)
    return stirred(build(cls, num_tokens=S, **SIZES | changes)).eval()


def inputs(blocks: int = T, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(B, blocks, S, D), (B, blocks, P), (B, blocks, A)]
    mask_BTS = torch.zeros(B, blocks, S, dtype=torch.bool)
    return *(torch.randn(shape, generator=generator) for shape in shapes), mask_BTS


OPTIONS = {
    "no-anchor": {"anchor": False, "num_positions": S},
    "concatenated": {"conditioning": "concatenated"},
    "rotary": {"time": "rotary"},
    "matched": {"matching": "hungarian"},
    "stop-gradient": {"stop_gradient": True},
    "all": {"anchor": False, "num_positions": S, "conditioning": "concatenated", "time": "rotary"},
}
