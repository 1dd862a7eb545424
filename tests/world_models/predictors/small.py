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


def noise(batch: int, blocks: int, slots: int, dims=(D, P, A), later: int = 0, seed: int = 0):
    """Tokens, proprioception, actions, of ``later`` more blocks too, and a mask that hides nothing."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, blocks, slots, dims[0]), (batch, blocks, dims[1]), (batch, blocks + later, dims[2])]
    mask_BTS = torch.zeros(batch, blocks, slots, dtype=torch.bool)
    return *(torch.randn(shape, generator=generator) for shape in shapes), mask_BTS


def inputs(blocks: int = T, slots: int = S):
    return noise(B, blocks, slots)


OPTIONS = {
    "no-anchor": {"anchor": False, "num_positions": S},
    "concatenated": {"conditioning": "concatenated"},
    "rotary": {"time": "rotary"},
    "matched": {"matching": "hungarian"},
    "stop-gradient": {"stop_gradient": True},
    "all": {"anchor": False, "num_positions": S, "conditioning": "concatenated", "time": "rotary"},
}
