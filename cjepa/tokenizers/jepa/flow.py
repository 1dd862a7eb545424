"""Optical flow from the patches of two frames, and what is wrong with it as far as the frames themselves say.

File letters: K width of features; R offsets of a patch in the other frame; N frames; Q flow cells per side of a patch;
G labels, the background first; U frames but the last.
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
_LABELS = 256  # of uint8
_FEWEST_PIXELS = 8  # of an object whose middle is known, as where flow is scored


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


def simulated(labels_BTYX: Tensor) -> tuple[Tensor, Tensor]:
    """Flow as label images tell it: an object's pixels move as the middle of what is seen of it, the background rests.

    Args:
        labels_BTYX: integers below 256, 0 = background.

    Returns:
        Flow ``(B, U, 2, Y, X)`` in pixels, and where it is known, bool ``(B, U, Y, X)``: not at objects of which one of
        the two frames shows fewer than 8 pixels.
    """
    height, width = labels_BTYX.shape[-2:]
    label_BTL = labels_BTYX.flatten(2).long()
    index_L = torch.arange(height * width, device=label_BTL.device)

    def summed(values_L: Tensor) -> Tensor:
        values_BTL = values_L.float().expand(label_BTL.shape)
        return values_BTL.new_zeros(*label_BTL.shape[:2], _LABELS).scatter_add(2, label_BTL, values_BTL)

    pixels_BTG = summed(torch.ones_like(index_L))
    middles = [summed(axis_L) / pixels_BTG for axis_L in (index_L % width, index_L // width)]
    moved_BU2G = torch.stack(middles, dim=2).diff(dim=1)
    known_BUG = (pixels_BTG[:, :-1] >= _FEWEST_PIXELS) & (pixels_BTG[:, 1:] >= _FEWEST_PIXELS)
    moved_BU2G[..., 0], known_BUG[..., 0] = 0.0, True
    label_BUL = label_BTL[:, :-1]
    flow_BU2L = moved_BU2G.nan_to_num().take_along_dim(label_BUL[:, :, None], dim=-1)
    known_BUL = known_BUG.take_along_dim(label_BUL, dim=-1)
    return flow_BU2L.unflatten(-1, (height, width)), known_BUL.unflatten(-1, (height, width))


def end_point_error(flow_BU2YX: Tensor, labels_BTYX: Tensor) -> Tensor:
    """Mean distance to :func:`simulated` flow in pixels, over objects and over the background, the sum; a scalar."""
    true_BU2YX, known_BUYX = simulated(labels_BTYX)
    error_BUYX = (flow_BU2YX - true_BU2YX).norm(dim=2)
    of_object_BUYX = labels_BTYX[:, :-1] > 0
    parts = [known_BUYX & of_object_BUYX, known_BUYX & ~of_object_BUYX]
    return sum((error_BUYX * part).sum() / part.sum().clamp(min=1) for part in parts)
