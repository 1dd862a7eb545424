"""What stands out from a still background: where, in which hue, and how its cells group into objects.

File letters: G cells of the grid, row by row; L the most salient of them.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, normalize

from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import Frame

FULLY_SALIENT = 0.2  # difference from the background, of 1, from which on a pixel counts fully
_HUE_UNIT = 0.1  # unit vectors that far apart begin to look different
_NEAR_UNIT = 0.5  # a quarter of the frame
_FEWEST_CELLS = 48
_LOOKED_AT = 0.375  # of all cells
_GROUPED = 0.1875  # of all cells
_MOST_GROUPED = 192
_TOLERANCE = 10 / 255  # a background's own changes: noise, compression, what is left of a change of light
_REACH = 1 / 32  # of the frame's side: a background's edges may be so far from where they were
_LIGHT_CELLS = 2  # along each axis: so few that the background is most of each, whatever objects cover


class Foreground(nn.Module):
    """Difference from the per-pixel median of the data.

    Args:
        image_size: side of the square frames in pixels.
        patch: side of a cell in pixels.
        tolerant: see :meth:`unexplained`.
    """

    def __init__(self, image_size: int, patch: int, tolerant: bool = False):
        super().__init__()
        self.patch = patch
        self.tolerant = tolerant
        self.register_buffer("background_3YX", torch.ones(3, image_size, image_size))
        self.register_buffer("grid_G2", cell_centres(image_size // patch), persistent=False)

    def fit(self, pixels_B3YX: Tensor) -> None:
        """Take the median of frames as the background."""
        self.background_3YX.copy_(pixels_B3YX.median(dim=0).values)

    def difference(self, pixels_B3YX: Tensor) -> Tensor:
        """Frames minus background, in [-1, 1]."""
        return pixels_B3YX - self.background_3YX

    def unexplained(self, pixels_B3YX: Tensor) -> Tensor:
        """What slots are to explain, in [-1, 1]: the difference, and if tolerant, only what no background can be.

        A tolerant foreground follows the light of each frame, the median difference of each of its quarters, and takes
        all values for background that lie between those around a pixel, give or take a little. So a line that has moved
        or gone is not an object; comparing with a neighbourhood is due to Elgammal et al. (2000).
        """
        if not self.tolerant:
            return self.difference(pixels_B3YX)
        size = pixels_B3YX.shape[-1]
        quarters = rearrange(
            self.difference(pixels_B3YX), "b c (i y) (j x) -> b c i j (y x)", i=_LIGHT_CELLS, j=_LIGHT_CELLS
        )
        light = interpolate(quarters.median(dim=-1).values, size, mode="bilinear")
        reach = round(_REACH * size)
        darkest, brightest = (
            sign * max_pool2d(sign * self.background_3YX, 2 * reach + 1, stride=1, padding=reach) for sign in (-1, 1)
        )
        evened = pixels_B3YX - light
        stands_out = (evened < darkest - _TOLERANCE) | (evened > brightest + _TOLERANCE)
        with_rim = max_pool2d(stands_out.any(dim=1, keepdim=True).float(), 3, stride=1, padding=1)  # drawn softly
        return (evened - self.background_3YX) * with_rim

    def salience(self, difference_B3YX: Tensor) -> Tensor:
        """How much each cell differs from the background, in [0, 1]: float (B, G)."""
        strongest = difference_B3YX.abs().amax(dim=1, keepdim=True)
        return avg_pool2d((strongest / FULLY_SALIENT).clamp(max=1.0), self.patch).flatten(1)

    def hues(self, difference_B3YX: Tensor) -> Tensor:
        """Direction, in colour space, in which each cell differs from the background: unit vectors (B, G, 3).

        Unlike the colour itself it is the same where an object covers a pixel only in part.
        """
        cells = avg_pool2d(difference_B3YX, self.patch)
        return normalize(rearrange(cells, "b c y x -> b (y x) c"), dim=-1)

    def look(self, difference_B3YX: Tensor, features_BGK: Tensor) -> tuple[Frame, Tensor]:
        """The cells that slots look at, most salient first, and their indices (B, L).

        Foreground covers a small part of a frame and slots own nothing else, so the rest need not be attended to. Where
        it covers more than three eighths, what stands out least is left out.
        """
        looked_at = self._cells(_LOOKED_AT)
        salience_BG, cells_BG = self.salience(difference_B3YX).sort(dim=1, descending=True, stable=True)
        salience_BL, cells_BL = salience_BG[:, :looked_at], cells_BG[:, :looked_at]
        features, hues = (
            values.take_along_dim(cells_BL[..., None], dim=1) for values in (features_BGK, self.hues(difference_B3YX))
        )
        return Frame(features, hues, salience_BL, self.grid_G2[cells_BL]), cells_BL

    def _cells(self, share: float) -> int:
        return min(len(self.grid_G2), max(_FEWEST_CELLS, int(share * len(self.grid_G2))))

    def grouping_loss(self, frame: Frame, attention_BSL: Tensor) -> Tensor:
        """Similarity and proximity: nearby foreground of one colour is one object, of two colours is two.

        The two oldest Gestalt laws (Wertheimer, 1923) as a pairwise loss on the attention, in the spirit of normalised
        cuts (Shi and Malik, 2000). Without it slots like to share a large object among them.

        Args:
            frame: from :meth:`look`.
            attention_BSL: which slot owns a cell, summing to 1 over S.
        """
        # Pairs of the least salient cells weigh next to nothing; of a fine grid a sample is enough.
        cells = self._cells(_GROUPED)
        step = -(-cells // _MOST_GROUPED)
        _, hues_BL3, salience_BL, places_BL2 = (values[:, :cells:step] for values in frame)
        attention_BSL = attention_BSL[:, :, :cells:step]
        alike_BLL = likeness(hues_BL3, hues_BL3)
        near_BLL = nearness(places_BL2, places_BL2)
        weight_BLL = salience_BL[:, :, None] * salience_BL[:, None, :] * near_BLL
        together_BLL = einsum(attention_BSL, attention_BSL, "b s l, b s m -> b l m")
        # Each law has its own mean: pairs of two colours are few, and one slot that owns everything must not pay.
        apart = _weighted_mean(1 - together_BLL, weight_BLL * alike_BLL)
        merged = _weighted_mean(together_BLL, weight_BLL * (1 - alike_BLL))
        return apart + merged


def likeness(first_BLC: Tensor, second_BMC: Tensor) -> Tensor:
    """How alike hues are, in [0, 1]: float (B, L, M)."""
    return torch.exp(-torch.cdist(first_BLC, second_BMC).square() / (2 * _HUE_UNIT**2))


def nearness(first_BL2: Tensor, second_BM2: Tensor) -> Tensor:
    """How near places are, in [0, 1]: float (B, L, M)."""
    return torch.exp(-torch.cdist(first_BL2, second_BM2).square() / (2 * _NEAR_UNIT**2))


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
