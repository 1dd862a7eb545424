"""Which patches a JEPA sees and which it predicts, in rectangular blocks.

File letters: L patches of a clip, time by time and row by row; K of them visible; G groups of M targets each.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_ASPECT = (0.75, 1.5)  # height over width; these shares and ratios are the published ones
_NUM_TARGETS, _TARGET_SHARE, _CONTEXT_SHARE = 4, (0.15, 0.2), (0.85, 1.0)
_TUBES = ((8, 0.15), (2, 0.7))  # blocks and the share of the frame that each of them covers
_LEAST_SHARE = 16  # at least one patch in sixteen stays visible


class View(NamedTuple):
    """One way to hide patches of a batch: indices, int64, in rising order."""

    context_BK: Tensor
    """The patches that the encoder sees."""
    targets_BGM: Tensor
    """The patches that are predicted; each group by itself."""


def image_view(batch: int, side: int, generator: torch.Generator) -> View:
    """I-JEPA: four blocks as targets, each a group, and as context one large block without them.

    The sizes of the blocks are the same for the whole batch, their places are not. Rows with more context than the
    one with the least lose some of it at random, so that the batch is rectangular.

    Args:
        batch: B.
        side: of the square grid of patches, 2 or more.
        generator: of sizes and places, on the CPU.
    """
    target_size = _block_size(side, _TARGET_SHARE, _ASPECT, generator)
    context_size = _block_size(side, _CONTEXT_SHARE, (1.0, 1.0), generator)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        targets_BGL = _blocks(rows, _NUM_TARGETS, side, target_size, generator)
        context_BL = _blocks(rows, 1, side, context_size, generator)[:, 0]
        return context_BL & ~targets_BGL.any(dim=1), targets_BGL

    context_BL, targets_BGL = _with_context(batch, side, draw)
    targets_BGM = targets_BGL.nonzero()[:, 2].reshape(batch, _NUM_TARGETS, -1)
    return View(_chosen(context_BL, generator), targets_BGM)


def tube_views(batch: int, times: int, side: int, generator: torch.Generator) -> list[View]:
    """V-JEPA: eight short-range blocks, or two long-range ones, hidden at all times; each union is one group.

    Args:
        batch: B.
        times: of the grid, 1 or more; the blocks are at the same place in all of them.
        side: of the square grid of patches at one time, 2 or more.
        generator: of sizes and places, on the CPU.

    Returns:
        The two views.
    """
    views = []
    for blocks, share in _TUBES:
        size = _block_size(side, (share, share), _ASPECT, generator)

        def draw(rows: int, blocks: int = blocks, size: tuple[int, int] = size) -> tuple[Tensor, Tensor]:
            hidden_BL = _blocks(rows, blocks, side, size, generator).any(dim=1)
            return ~hidden_BL, hidden_BL

        context_BL, hidden_BL = _with_context(batch, side, draw)
        parts = [_through_time(_chosen(mask_BL, generator), times, side) for mask_BL in (context_BL, hidden_BL)]
        views.append(View(parts[0], parts[1][:, None]))
    return views


def _block_size(
    side: int, share: tuple[float, float], aspect: tuple[float, float], generator: torch.Generator
) -> tuple[int, int]:
    """Height and width of a block of a random share of the frame and a random aspect; smaller than the frame."""
    drawn_share, drawn_aspect = torch.rand(2, generator=generator).tolist()
    patches = (share[0] + drawn_share * (share[1] - share[0])) * side**2
    ratio = aspect[0] + drawn_aspect * (aspect[1] - aspect[0])
    height, width = (round((patches * factor) ** 0.5) for factor in (ratio, 1 / ratio))
    return min(max(height, 1), side - 1), min(max(width, 1), side - 1)


def _blocks(batch: int, count: int, side: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Blocks of one size at random places: bool ``(batch, count, side * side)``."""
    inside = []
    for length in size:
        start_BG1 = torch.randint(0, side - length + 1, (batch, count, 1), generator=generator)
        place_L = torch.arange(side)
        inside.append((place_L >= start_BG1) & (place_L < start_BG1 + length))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(2)


def _with_context(batch: int, side: int, draw: Callable[[int], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Visible and hidden patches of every row, drawn again where too few are visible."""
    least = max(1, side**2 // _LEAST_SHARE)
    context_BL, hidden = draw(batch)
    while bool((short_B := context_BL.sum(dim=1) < least).any()):
        context_BL[short_B], hidden[short_B] = draw(int(short_B.sum()))
    return context_BL, hidden


def _chosen(mask_BL: Tensor, generator: torch.Generator) -> Tensor:
    """Indices of as many True values of each row as the row with the fewest has, the others left out at random."""
    count = int(mask_BL.sum(dim=1).min())
    order_BL = torch.where(mask_BL, torch.rand(mask_BL.shape, generator=generator), 2.0)
    return order_BL.topk(count, largest=False).indices.sort(dim=1).values


def _through_time(index_BK: Tensor, times: int, side: int) -> Tensor:
    """The same places at all times."""
    return (torch.arange(times)[:, None] * side**2 + index_BK[:, None]).flatten(1)
