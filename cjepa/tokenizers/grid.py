"""Places in image coordinates: (x, y), [-1, 1] within the frame."""

import torch
from einops import einsum, rearrange
from torch import Tensor


def centroids(masks_BSYX: Tensor) -> Tensor:
    """Centres (x, y) of masks in image coordinates [-1, 1]: float (..., S, 2); the middle for an empty mask."""
    height, width = masks_BSYX.shape[-2:]
    weights = rearrange(masks_BSYX, "... y x -> ... (y x)")
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    return einsum(weights, cell_centres(height, width).to(weights), "... l, l c -> ... c")


def cell_centres(height: int, width: int | None = None) -> Tensor:
    """(x, y) of the cells of a grid in [-1, 1], row by row: float (height * width, 2); square unless width is given."""
    y, x = (cell_middles(side) for side in (height, width or height))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def cell_middles(count: int, device: torch.device | None = None) -> Tensor:
    """Middles of ``count`` equal cells that fill [-1, 1]: float (count,)."""
    return (torch.arange(count, device=device) + 0.5) / count * 2 - 1


def gathered(values_BLD: Tensor, index_BK: Tensor) -> Tensor:
    """The rows of a batch that are named by their indices: ``(B, K, D)``."""
    return values_BLD.take_along_dim(index_BK[..., None], dim=1)
