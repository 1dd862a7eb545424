"""A vision transformer over patches of frames, or tubelets of clips, that can be shown a part of them.

File letters: L patches of a clip, time by time and row by row; K of them visible; W width; V levels.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.arguments import at_least, check
from cjepa.tokenizers.encoders import quick_attention, transformer_blocks
from cjepa.tokenizers.grid import gathered

_LONGEST = 10_000.0  # patches per rad of the slowest sine


class PatchEncoder(nn.Module):
    """Linear patches with fixed sines of their place, and pre-norm blocks.

    Args:
        dim: W, even parts of which are sines of time, row and column: a multiple of 4.
        depth: blocks.
        num_heads: of the attention; divides ``dim``.
        patch_size: side of the square patches in pixels; divides ``image_size``.
        tubelet: frames of a patch: 1 for images.
        image_size: side of the square frames in pixels.
        levels: V: how many depths, evenly spaced up to the last block, the output holds; divides ``depth``.
        mlp_dim: hidden width of the MLPs; None: four times ``dim``.

    Raises:
        ValueError: a size is too small, or does not divide another.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        patch_size: int,
        tubelet: int,
        image_size: int,
        levels: int = 1,
        mlp_dim: int | None = None,
    ):
        super().__init__()
        at_least(1, dim=dim, depth=depth, num_heads=num_heads, patch_size=patch_size, tubelet=tubelet, levels=levels)
        if mlp_dim is not None:
            at_least(1, mlp_dim=mlp_dim)
        check(dim % 4 == 0, "dim", dim, "a multiple of 4")
        check(dim % num_heads == 0, "num_heads", num_heads, f"a divisor of dim = {dim}")
        check(image_size % patch_size == 0, "patch_size", patch_size, f"a divisor of image_size = {image_size}")
        check(image_size >= 4 * patch_size, "patch_size", patch_size, f"a quarter of image_size = {image_size} at most")
        check(depth % levels == 0, "levels", levels, f"a divisor of depth = {depth}")
        self.dim, self.patch_size, self.tubelet, self.levels = dim, patch_size, tubelet, levels
        self.side = image_size // patch_size
        self.embed = nn.Linear(3 * tubelet * patch_size**2, dim)
        self.blocks = transformer_blocks(dim, depth, num_heads, mlp_dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(levels))

    def forward(self, pixels_BT3YX: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Clips, float in [0, 1], of a multiple of ``tubelet`` frames -> features ``(B, K, V * W)``.

        Args:
            pixels_BT3YX: the clips.
            kept_BK: indices of the patches to look at; all L of them by default. No others are read.
        """
        size = self.patch_size
        patches_BLC = rearrange(
            2 * pixels_BT3YX - 1, "b (t d) c (y p) (x q) -> b (t y x) (d c p q)", d=self.tubelet, p=size, q=size
        )
        places_LW = self.places(pixels_BT3YX.shape[1] // self.tubelet, self.dim, pixels_BT3YX.device)
        places_BLW = places_LW.expand(len(pixels_BT3YX), -1, -1)
        if kept_BK is not None:
            patches_BLC, places_BLW = gathered(patches_BLC, kept_BK), gathered(places_BLW, kept_BK)
        tokens_BKW = self.embed(patches_BLC) + places_BLW
        every = len(self.blocks) // self.levels
        found = []
        with quick_attention(pixels_BT3YX.device):
            for number, block in enumerate(self.blocks, start=1):
                tokens_BKW = block(tokens_BKW)
                if number % every == 0:
                    found.append(self.norms[len(found)](tokens_BKW))
        return torch.cat(found, dim=-1)

    def places(self, times: int, width: int, device: torch.device) -> Tensor:
        """Sines of time, row and column of the patches of a clip ``(L, width)``; of images, of row and column."""
        in_time = 0 if self.tubelet == 1 else width // 3 // 2 * 2
        in_row = (width - in_time) // 2 // 2 * 2
        widths = (in_time, in_row, width - in_time - in_row)
        index_L3 = torch.cartesian_prod(*(torch.arange(n, device=device) for n in (times, self.side, self.side)))
        return torch.cat([_sines(index_L3[:, axis], part) for axis, part in enumerate(widths) if part], dim=1)


def _sines(index_L: Tensor, width: int) -> Tensor:
    """Sines and cosines of an index: ``(L, width)``, width even."""
    rate_R = _LONGEST ** (-torch.arange(0, width, 2, device=index_L.device) / width)
    angle_LR = index_L[:, None] * rate_R
    return torch.cat([angle_LR.sin(), angle_LR.cos()], dim=1)
