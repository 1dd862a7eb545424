"""A vision transformer that makes one token of a frame: LeWorldModel's encoder (arXiv 2603.19312).

File letters: L patches and the class token; W width.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.baselines.global_token import whole_frame
from cjepa.tokenizers.encoders import quick_attention, transformer_blocks
from cjepa.types import Tokens


class ViTTokenizer(Tokenizer):
    """Patches and a class token through a pre-norm transformer; the token is a projection of the class token.

    It has no loss of its own: :class:`~cjepa.world_models.end_to_end.LeWorldModel` trains it with its predictor. While
    it is trained, the batch norm of the projection compares the frames of a batch; afterwards frames are independent.

    Args:
        dim: D, and the width of the transformer.
        depth: blocks.
        num_heads: of the attention; divides ``dim``.
        patch_size: side of the square patches in pixels; divides ``image_size``.
        projection_dim: hidden width of the projection.
        image_size: side of the square frames in pixels.

    Raises:
        ValueError: a size is too small, or does not divide another.
    """

    def __init__(
        self,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        patch_size: int = 8,
        projection_dim: int = 512,
        image_size: int = 64,
    ):
        super().__init__(TokenizerInfo(1, dim, image_size))
        at_least(1, dim=dim, depth=depth, num_heads=num_heads, patch_size=patch_size)
        at_least(1, projection_dim=projection_dim, image_size=image_size)
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim = {dim}")
        if image_size % patch_size:
            raise ValueError(f"patch_size is {patch_size}, expected a divisor of image_size = {image_size}")
        self.embed = nn.Conv2d(3, dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn((image_size // patch_size) ** 2 + 1, dim) * 0.02)
        self.blocks = transformer_blocks(dim, depth, num_heads)
        self.norm = nn.LayerNorm(dim)
        self.project = projection(dim, projection_dim)

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; the token owns every pixel."""
        batch, _, _, height, width = pixels_BT3YX.shape
        patches_NLW = rearrange(self.embed(2 * pixels_BT3YX.flatten(0, 1) - 1), "n w y x -> n (y x) w")
        tokens_NLW = torch.cat([self.class_token.expand(len(patches_NLW), -1, -1), patches_NLW], dim=1)
        tokens_NLW = tokens_NLW + self.position_embedding
        with quick_attention(tokens_NLW.device):
            for block in self.blocks:
                tokens_NLW = block(tokens_NLW)
        token_NW = self.project(self.norm(tokens_NLW[:, 0])).float()
        return whole_frame(rearrange(token_NW, "(b t) d -> b t 1 d", b=batch), height, width)

    def decode(self, slots_BTSD: Tensor) -> None:
        """The token cannot be drawn."""
        return None


def projection(dim: int, hidden_dim: int) -> nn.Sequential:
    """LeWorldModel's head after its encoder and after its predictor: an MLP with a batch norm, on ``(N, dim)``."""
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))
