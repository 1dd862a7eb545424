"""Where a slot is and what it looks like: position embeddings, glimpses at a place, sprites drawn at a place.

Glimpses and sprites follow Attend-Infer-Repeat (Eslami et al., 2016) and SPACE (Lin et al., 2020).
"""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from cjepa.tokenizers.grid import cell_middles

_WAVELENGTHS = (4.0, 2.0, 1.0, 0.5)  # of position embeddings, in image coordinates
POSITION_DIM = 4 * len(_WAVELENGTHS)
_WINDOW = 2.5  # half the side of a glimpse or sprite, in standard deviations: the corners of a T fit
CORRECTION_DIM = 3
_TRANSPARENT = -6.0  # opacity logit


class GlimpseEncoder(nn.Module):
    """What is at a slot's place, seen in the slot's own frame, to content and a correction of place and size.

    Args:
        content_dim: width of the content.
        hidden_dim: width of the MLP.
        side: of a glimpse in places.
    """

    def __init__(self, content_dim: int, hidden_dim: int, side: int = 16):
        super().__init__()
        self.side = side
        self.mlp = nn.Sequential(
            nn.Linear(4 * side**2, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, content_dim + CORRECTION_DIM),
        )
        nn.init.zeros_(self.mlp[-1].weight[-CORRECTION_DIM:])  # begins with none
        nn.init.zeros_(self.mlp[-1].bias[-CORRECTION_DIM:])

    def forward(self, difference_B3YX: Tensor, owned_BSYX: Tensor, position: Tensor, scale: Tensor) -> Tensor:
        """Content and correction (see :func:`corrected`) of every slot, (B, S, content_dim + 3).

        Args:
            difference_B3YX: frames minus background.
            owned_BSYX: how much of each place a slot owns, in [0, 1], at any resolution.
            position: of the slots, (B, S, 2).
            scale: of the slots, (B, S, 1).
        """
        unit = cell_middles(self.side, position.device)
        places_BS2I = position[..., None] + _WINDOW * scale[..., None] * unit
        seen = _look(difference_B3YX[:, None], places_BS2I)
        owned = _look(owned_BSYX[:, :, None], places_BS2I)
        return self.mlp(torch.cat([seen, owned], dim=2).flatten(2))


def corrected(position: Tensor, scale: Tensor, correction: Tensor) -> tuple[Tensor, Tensor]:
    """Place and size of the whole object, from those of what a slot owns of it.

    The moments of what is owned jump when another object covers a part. What a glimpse shows can tell by how much, as
    in SPACE (Lin et al., 2020), where it gives the whole of a pose.

    Args:
        position: of what is owned, (..., 2).
        scale: of what is owned, (..., 1).
        correction: any numbers (..., 3): the place moves by at most one standard deviation along each axis, the size
            changes by a factor of at most 1.65.
    """
    move, grow = correction.tanh().split([2, 1], dim=-1)
    return position + scale * move, scale * (0.5 * grow).exp()


class SpriteDecoder(nn.Module):
    """Content to a sprite, one colour with its shading and a shape, drawn at the slot's place in the slot's size.

    Args:
        content_dim: width of the content.
        hidden_dim: width of the MLP.
        side: of a sprite in cells.
    """

    def __init__(self, content_dim: int, hidden_dim: int, side: int = 16):
        super().__init__()
        self.side = side
        self.to_colour = nn.Linear(content_dim, 3)
        self.to_sprite = nn.Sequential(
            nn.Linear(content_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, 2 * side**2),
        )

    def forward(
        self, content: Tensor, position: Tensor, scale: Tensor, image_size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the sprite of every slot.

        Args:
            content: of the slots, (B, S, content_dim).
            position: (B, S, 2) in [-1, 1].
            scale: (B, S, 1), the frame's side being 2.
            image_size: Y and X in pixels.

        Returns:
            Colour residuals (B, S, 3); shades (B, S, Y, X), 1 where colours are full; opacity logits (B, S, Y, X).
        """
        places_BS2I = (cell_middles(image_size, position.device) - position[..., None]) / (_WINDOW * scale[..., None])
        sprite = rearrange(self.to_sprite(content).float(), "b s (c y x) -> b s c y x", c=2, y=self.side)
        # what is outside an image counts as 0: outside its window a sprite has its full colour and is transparent
        outside = sprite.new_tensor([1.0, _TRANSPARENT])[:, None, None]
        drawn = _look(torch.stack([sprite[:, :, 0], sprite[:, :, 1] - _TRANSPARENT], dim=2), places_BS2I) + outside
        return self.to_colour(content), *drawn.unbind(2)


def _look(images: Tensor, places_BS2I: Tensor) -> Tensor:
    """Bilinear values at a grid of places; 0 outside the image.

    An upright grid makes that two products of matrices, many times as fast on a CPU as gathering pixels. An einsum
    does not copy an image that all slots look at for each of them, as a broadcast product would.

    Args:
        images: (B, S, C, Y, X), or (B, 1, C, Y, X) for one that all slots look at.
        places_BS2I: the x of the grid's I columns and the y of its I rows, in [-1, 1] inside the image.

    Returns:
        Values (B, S, C, I, I).
    """
    with torch.autocast(images.device.type, enabled=False):  # 8 bits would blur places
        columns, rows = (
            _interpolation(places_BSI.float(), size)
            for places_BSI, size in zip(places_BS2I.unbind(2), (images.shape[-1], images.shape[-2]), strict=True)
        )
        narrow = einsum(images.float(), columns, "b s c y x, b s j x -> b s c y j")
        return einsum(rows, narrow, "b s i y, b s c y j -> b s c i j")


def _interpolation(places: Tensor, size: int) -> Tensor:
    """Weights (..., I, size) that interpolate between the middles of ``size`` cells, at places (..., I) in [-1, 1]."""
    index = ((places + 1) * size - 1) / 2
    return (1 - (index[..., None] - torch.arange(size, device=places.device)).abs()).clamp(min=0)


def embed_position(position_BS2: Tensor) -> Tensor:
    """(x, y) in [-1, 1] as sines, then cosines, at wavelengths of 4, 2, 1 and 1/2: float (..., 16).

    The longest is half a wave over the frame, so the position can be read back; the shorter ones make small
    differences count.
    """
    phase = torch.cat([position_BS2.float() * (2 * torch.pi / length) for length in _WAVELENGTHS], dim=-1)
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


def read_position(embedding: Tensor) -> Tensor:
    """The inverse of :func:`embed_position`, from the longest wavelength; also of predicted embeddings.

    Args:
        embedding: (..., 16); the length of a pair of sine and cosine does not matter.

    Returns:
        (..., 2): x and y, in [-2, 2].
    """
    sine, cosine = embedding.split(POSITION_DIM // 2, dim=-1)
    return torch.atan2(sine[..., :2], cosine[..., :2]) * _WAVELENGTHS[0] / (2 * torch.pi)
