"""Optical flow from the patches of two frames, and what is wrong with it as far as the frames themselves say.

File letters: K width of features; R offsets of a patch in the other frame; N frames; Q flow cells per side of a patch.
Flow is in pixels, x then y, from a frame to the next one: what is at p is at p + flow(p) a frame later.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, normalize, pad

from cjepa.tokenizers.grid import cell_centres

_SCALES = (1, 2, 4)  # px that are averaged before frames are compared: a move beyond an object's edge is seen too
_EDGES = 10.0  # how much less smooth flow may be where the frame changes
_SMALLEST = 1e-3


class FlowHead(nn.Module):
    """Likeness of every patch to its neighbours in the next frame, and its own features, to flow.

    Args:
        dim: K.
        patch_size: side of the patches in pixels, even.
        reach: patches to each side that are compared.
        hidden_dim: of the convolutions.
    """

    def __init__(self, dim: int, patch_size: int, reach: int = 2, hidden_dim: int = 64):
        super().__init__()
        self.patch_size, self.reach = patch_size, reach
        self.cells = patch_size // 2
        self.to_compared = nn.Conv2d(dim, hidden_dim, 1)
        self.to_flow = nn.Sequential(
            nn.Conv2d(dim + (2 * reach + 1) ** 2, hidden_dim, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden_dim, 2 * self.cells**2, 3, padding=1),
        )

    def forward(self, first_NKYX: Tensor, second_NKYX: Tensor) -> Tensor:
        """Features of frames and of those after them, ``(N, K, y, x)`` -> flow ``(N, 2, Y, X)`` in pixels."""
        first, second = (normalize(self.to_compared(values), dim=1) for values in (first_NKYX, second_NKYX))
        height, width = first.shape[-2:]
        padded = pad(second, [self.reach] * 4)
        offsets = [(y, x) for y in range(2 * self.reach + 1) for x in range(2 * self.reach + 1)]
        alike = [(first * padded[..., y : y + height, x : x + width]).sum(dim=1) for y, x in offsets]
        flow = self.to_flow(torch.cat([first_NKYX, torch.stack(alike, dim=1)], dim=1)).float() * self.patch_size
        cells = rearrange(flow, "n (c p q) y x -> n c (y p) (x q)", p=self.cells, q=self.cells)
        return interpolate(cells, scale_factor=2.0, mode="bilinear")


def warped(frames_N3YX: Tensor, flow_N2YX: Tensor) -> Tensor:
    """The frames before, drawn with the pixels of the frames after them: at p is what is at p + flow(p).

    Args:
        frames_N3YX: the frames after; what would come from outside is that of the edge.
        flow_N2YX: x and y, in pixels.

    Returns:
        ``(N, 3, Y, X)``.
    """
    height, width = frames_N3YX.shape[-2:]
    at_YX2 = cell_centres(height, width).to(flow_N2YX.device).unflatten(0, (height, width))
    moved = flow_N2YX.movedim(1, -1) * 2 / torch.tensor([width, height], device=flow_N2YX.device)
    return grid_sample(frames_N3YX, at_YX2 + moved, padding_mode="border", align_corners=False)


def photometric(first_N3YX: Tensor, second_N3YX: Tensor, flow_N2YX: Tensor) -> Tensor:
    """How far warped frames are from the frames before them: Charbonnier's loss, mean of three scales; a scalar."""
    again = warped(second_N3YX, flow_N2YX)
    differences = [avg_pool2d(first_N3YX, side) - avg_pool2d(again, side) for side in _SCALES]
    return torch.stack([((d.square() + _SMALLEST**2).sqrt() - _SMALLEST).mean() for d in differences]).mean()


def smoothness(flow_N2YX: Tensor, frames_N3YX: Tensor) -> Tensor:
    """Mean absolute difference of the flow of neighbouring pixels, less where the frame has an edge; a scalar."""
    parts = []
    for axis in (-1, -2):
        edge_N1YX = frames_N3YX.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        parts.append((flow_N2YX.diff(dim=axis).abs() * (-_EDGES * edge_N1YX).exp()).mean())
    return sum(parts)
