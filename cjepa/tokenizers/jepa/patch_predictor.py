"""The narrow transformer that predicts features of hidden patches from those of visible ones.

File letters: K visible patches; G groups of M targets each; V levels; W width.
"""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from cjepa.arguments import at_least, check
from cjepa.tokenizers.encoders import quick_attention, transformer_blocks
from cjepa.tokenizers.grid import gathered
from cjepa.tokenizers.jepa.masks import View
from cjepa.tokenizers.jepa.patch_encoder import PatchEncoder


class PredictedPatches(NamedTuple):
    """Features of the last block, or of several levels side by side."""

    targets_BGMD: Tensor
    visible_BKD: Tensor | None
    """Of the context; None from a predictor of the targets alone."""


class PatchPredictor(nn.Module):
    """Context and mask tokens, each with the sines of its place, through narrow blocks.

    Every group of targets goes through the blocks by itself, with the whole context.

    Args:
        encoder: whose features it predicts.
        width: W, a multiple of 4.
        depth: blocks.
        num_heads: of the attention; divides ``width``.
        visible: whether it predicts the features of the context too.
    """

    def __init__(self, encoder: PatchEncoder, width: int, depth: int, num_heads: int, visible: bool = False):
        super().__init__()
        at_least(1, predictor_width=width, predictor_depth=depth, predictor_heads=num_heads)
        check(width % 4 == 0, "predictor_width", width, "a multiple of 4")
        check(width % num_heads == 0, "predictor_heads", num_heads, f"a divisor of predictor_width = {width}")
        self.width = width
        features = encoder.levels * encoder.dim
        self.embed: nn.Module = nn.Linear(features, width)
        if encoder.levels > 1:
            self.embed = nn.Sequential(nn.Linear(features, encoder.dim), nn.GELU(), nn.Linear(encoder.dim, width))
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = transformer_blocks(width, depth, num_heads)
        self.norm = nn.LayerNorm(width)
        self.to_targets = nn.Linear(width, features)
        self.to_visible = nn.Linear(width, features) if visible else None

    def forward(self, context_BKD: Tensor, view: View, places_LW: Tensor) -> PredictedPatches:
        """Predict the targets of a view.

        Args:
            context_BKD: features of the visible patches.
            view: which they are, and which are predicted.
            places_LW: sines of the places of all patches, as wide as the predictor.
        """
        groups, visible = view.targets_BGM.shape[1], context_BKD.shape[1]
        places_BLW = places_LW.expand(len(context_BKD), -1, -1)
        context_BKW = self.embed(context_BKD) + gathered(places_BLW, view.context_BK)
        queries = gathered(places_BLW, view.targets_BGM.flatten(1)) + self.mask_token
        queries = rearrange(queries, "b (g m) w -> (b g) m w", g=groups)
        tokens = torch.cat([repeat(context_BKW, "b k w -> (b g) k w", g=groups), queries], dim=1)
        with quick_attention(tokens.device):
            for block in self.blocks:
                tokens = block(tokens)
        tokens = rearrange(self.norm(tokens), "(b g) n w -> b g n w", g=groups)
        seen = None if self.to_visible is None else self.to_visible(tokens[:, :, :visible].mean(dim=1))
        return PredictedPatches(self.to_targets(tokens[:, :, visible:]), seen)
