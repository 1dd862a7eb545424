"""Slots that carry a position and a scale and see the image in their own frame.

Slot attention (Locatello et al., 2020) in frames of its own (Invariant Slot Attention, Biza et al., 2023) finds where
the objects are; a glimpse at each of them says what it looks like, and a sprite is drawn from that alone, as in
Attend-Infer-Repeat (Eslami et al., 2016) and SPACE (Lin et al., 2020). The per-pixel median of the data is the
background, and slots explain only what differs from it. That binds in minutes on a CPU.

File letters: L grid cells (g x g), K hidden width.
"""

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize

from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.sprites import (
    POSITION_DIM,
    GlimpseEncoder,
    SpriteDecoder,
    cell_centres,
    embed_position,
    read_position,
)
from cjepa.types import Tokens

_MIN_SCALE, _MAX_SCALE = 0.05, 1.0
_FULLY_SALIENT = 0.2  # difference from the background, of 1, from which on a pixel counts fully
_HUE_UNIT = 0.1  # unit vectors that far apart begin to look different
_NEAR_UNIT = 0.5  # a quarter of the frame
_GROUPED_CELLS = 48
_EMPTY = 1e-4  # keeps slots that own nothing finite
_SCALE_UNIT = 2.0  # relative coordinates are in units of 2 standard deviations: an object spans about [-1, 1]


class ConvEncoder(nn.Module):
    """Frames to a grid of features at a quarter of the resolution.

    Args:
        channels: of the features.
        in_channels: of the input.
    """

    def __init__(self, channels: int, in_channels: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels // 2, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2)
        )

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """-> features ``(B, channels, Y / 4, X / 4)``."""
        features = self.stem(images_BCYX)
        for block in self.blocks:
            features = features + block(features)
        return features


class InvariantSlotAttention(nn.Module):
    """Iterative attention of S slots over a feature grid, each in its own translated and scaled frame.

    Per iteration, Biza et al. 2023, algorithm 1: relative grid, keys and values with it, softmax over slots,
    weighted mean, new position and scale from the attention's moments, GRU and MLP on the content.

    Args:
        num_slots: S.
        slot_dim: width of the slots' state.
        feature_dim: width of the features.
        iterations: of the attention.
    """

    def __init__(self, num_slots: int, slot_dim: int, feature_dim: int, iterations: int):
        super().__init__()
        self.iterations = iterations
        self.initial_content = nn.Parameter(torch.randn(num_slots, slot_dim) * 0.5)
        self.norm_features = nn.LayerNorm(feature_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.to_hidden = nn.Linear(feature_dim, feature_dim)
        self.relative_to_hidden = nn.Linear(2, feature_dim, bias=False)
        self.to_query = nn.Linear(slot_dim, feature_dim, bias=False)
        self.to_value = nn.Linear(feature_dim, slot_dim)
        self.gru = nn.GRUCell(slot_dim, slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(slot_dim), nn.Linear(slot_dim, 2 * slot_dim), nn.GELU(), nn.Linear(2 * slot_dim, slot_dim)
        )

    def forward(self, features_BLK: Tensor, salience_BL: Tensor, grid_L2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bind slots to what is salient.

        Args:
            features_BLK: of the grid cells.
            salience_BL: how much of a cell is foreground, in [0, 1]; cells at 0 pull no slot.
            grid_L2: (x, y) of the cells.

        Returns:
            position (B, S, 2), scale (B, S, 1), attention (B, S, L).
        """
        batch = len(features_BLK)
        content = repeat(self.initial_content, "s d -> b s d", b=batch)
        # All slots start where the foreground is: they differ in content only, so that they part by what things look
        # like. Slots that start at places of their own cut the largest object into pieces instead.
        salience_BSL = repeat(salience_BL, "b l -> b s l", s=content.shape[1])
        position, scale = _moments(salience_BSL, grid_L2)
        shared = self.to_hidden(self.norm_features(features_BLK))
        for _ in range(self.iterations):
            relative = (grid_L2 - position[:, :, None]) / (_SCALE_UNIT * scale[:, :, None])
            # Keys and values share one hidden layer, and their second, linear layers act on the query and on the
            # pooled values instead of on every cell: the same function at a fraction of the cost.
            hidden_BSLK = torch.relu(shared[:, None] + self.relative_to_hidden(relative))
            query = self.to_query(self.norm_slots(content))
            logits = einsum(hidden_BSLK, query, "b s l k, b s k -> b s l") * query.shape[-1] ** -0.5
            attention = logits.float().softmax(dim=1)
            weights = attention * salience_BL[:, None]
            position, scale = _moments(weights, grid_L2)
            weights = weights / (weights.sum(dim=2, keepdim=True) + _EMPTY)
            pooled = einsum(weights.to(hidden_BSLK.dtype), hidden_BSLK, "b s l, b s l k -> b s k")
            update = rearrange(self.to_value(pooled), "b s d -> (b s) d")
            before = rearrange(content, "b s d -> (b s) d").to(update.dtype)
            content = rearrange(self.gru(update, before), "(b s) d -> b s d", b=batch)
            content = content + self.mlp(content)
        return position, scale, attention


def _moments(weights_BSL: Tensor, grid_L2: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of the grid: position (B, S, 2) and scale (B, S, 1)."""
    weights_BSL = weights_BSL / (weights_BSL.sum(dim=2, keepdim=True) + _EMPTY)
    position = einsum(weights_BSL, grid_L2, "b s l, l c -> b s c")
    spread_BSL = (grid_L2 - position[:, :, None]).square().mean(dim=-1)
    scale = (einsum(weights_BSL, spread_BSL, "b s l, b s l -> b s") + 1e-6).sqrt()
    return position, scale.clamp(_MIN_SCALE, _MAX_SCALE)[..., None]


class SlotTokenizer(Tokenizer):
    """Frames to S tokens of content, position and scale.

    A token is ``[content, position embedding, log scale]``. The position enters as sines and cosines at four
    wavelengths (see :func:`embed_position`), so that it weighs in the squared distance between tokens, which planners
    use as their cost, as much as what the object looks like.

    Args:
        num_slots: S; as many as there are objects. A spare one takes the cells where objects touch.
        content_dim: width of the learned part of a token.
        channels: of the encoder.
        hidden_dim: width of the MLPs from glimpses and to sprites.
        iterations: of slot attention.
        image_size: side of the square frames in pixels, a multiple of 4.
    """

    patch = 4

    def __init__(
        self,
        num_slots: int = 2,
        content_dim: int = 16,
        channels: int = 64,
        hidden_dim: int = 128,
        iterations: int = 3,
        image_size: int = 64,
    ):
        super().__init__()
        self.num_slots = num_slots
        self.content_dim = content_dim
        self.slot_dim = content_dim + POSITION_DIM + 1
        self.image_size = image_size
        self.encoder = ConvEncoder(channels, in_channels=6)
        self.attention = InvariantSlotAttention(num_slots, channels, channels, iterations)
        self.glimpse = GlimpseEncoder(content_dim, hidden_dim)
        self.decoder = SpriteDecoder(content_dim, hidden_dim)
        self.register_buffer("background_3YX", torch.ones(3, image_size, image_size))
        self.register_buffer("grid_L2", cell_centres(image_size // self.patch), persistent=False)

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """The encoder's feature grid ``(B, channels, Y / 4, X / 4)``."""
        difference = pixels_B3YX - self.background_3YX
        return self.encoder(torch.cat([pixels_B3YX, 3 * difference], dim=1))

    def slots(self, pixels_B3YX: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Content (B, S, content_dim), position (B, S, 2), scale (B, S, 1) and attention over the grid (B, S, L)."""
        features_BLK = rearrange(self.features(pixels_B3YX), "b k y x -> b (y x) k")
        salience_BL = self.salience(pixels_B3YX)
        position, scale, attention = self.attention(features_BLK, salience_BL, self.grid_L2)
        owned = rearrange(attention * salience_BL[:, None], "b s (y x) -> b s y x", y=self.image_size // self.patch)
        content = self.glimpse(pixels_B3YX - self.background_3YX, owned, position, scale)
        return content, position, scale, attention

    def salience(self, pixels_B3YX: Tensor) -> Tensor:
        """How much each cell differs from the background, in [0, 1]: float (B, L)."""
        difference = (pixels_B3YX - self.background_3YX).abs().amax(dim=1)
        cells = rearrange(difference, "b (y p) (x q) -> b (y x) (p q)", p=self.patch, q=self.patch)
        return (cells / _FULLY_SALIENT).clamp(max=1.0).mean(dim=-1)

    def cell_hues(self, pixels_B3YX: Tensor) -> Tensor:
        """Direction, in colour space, in which each cell differs from the background: unit vectors (B, L, 3).

        Unlike the colour itself it is the same where an object covers a pixel only in part.
        """
        difference = avg_pool2d(pixels_B3YX - self.background_3YX, self.patch)
        return normalize(rearrange(difference, "b c y x -> b (y x) c"), dim=-1)

    def grouping_loss(self, pixels_B3YX: Tensor, attention_BSL: Tensor) -> Tensor:
        """Similarity and proximity: nearby foreground of one colour is one object, of two colours is two.

        The two oldest Gestalt laws (Wertheimer, 1923) as a pairwise loss on the attention, in the spirit of normalised
        cuts (Shi and Malik, 2000). Without it slots like to share a large object among them.

        Args:
            pixels_B3YX: frames.
            attention_BSL: which slot owns a cell, summing to 1 over S.
        """
        # Foreground covers few cells; pairs of the others weigh next to nothing.
        salience_BL, cells_BL = self.salience(pixels_B3YX).topk(min(_GROUPED_CELLS, len(self.grid_L2)), dim=1)
        hue_BLC = self.cell_hues(pixels_B3YX).gather(1, cells_BL[:, :, None].expand(-1, -1, 3))
        place_BL2 = self.grid_L2[cells_BL]
        attention_BSL = attention_BSL.gather(2, cells_BL[:, None].expand(-1, attention_BSL.shape[1], -1))
        alike_BLL = torch.exp(-torch.cdist(hue_BLC, hue_BLC).square() / (2 * _HUE_UNIT**2))
        near_BLL = torch.exp(-torch.cdist(place_BL2, place_BL2).square() / (2 * _NEAR_UNIT**2))
        weight_BLL = salience_BL[:, :, None] * salience_BL[:, None, :] * near_BLL
        together_BLL = einsum(attention_BSL, attention_BSL, "b s l, b s m -> b l m")
        # Each law has its own mean: pairs of two colours are few, and one slot that owns everything must not pay.
        apart = _weighted_mean(1 - together_BLL, weight_BLL * alike_BLL)
        merged = _weighted_mean(together_BLL, weight_BLL * (1 - alike_BLL))
        return apart + merged

    def encode(self, pixels_B3YX: Tensor) -> Tokens:
        """See :class:`Tokenizer`; masks are the attention, upsampled to pixels."""
        content, position, scale, attention = self.slots(pixels_B3YX)
        attention = attention * self.salience(pixels_B3YX)[:, None]
        side = self.image_size // self.patch
        masks = repeat(attention, "b s (y x) -> b s (y p) (x q)", y=side, p=self.patch, q=self.patch)
        return Tokens(torch.cat([content, embed_position(position), scale.log()], dim=-1), masks, position)

    def decode(self, slots_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Tokenizer`."""
        content, embedding, log_scale = slots_BSD.split([self.content_dim, POSITION_DIM, 1], dim=-1)
        return self.render(content, read_position(embedding), log_scale.exp())

    def render(self, content: Tensor, position: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Slots to frames ``(B, 3, Y, X)`` and opacities ``(B, S, Y, X)``; what no slot covers is background."""
        colour_BS3, logits_BSYX = self.decoder(content, position, scale, self.image_size)
        background_logit = torch.zeros_like(logits_BSYX[:, :1])
        opacity = torch.cat([logits_BSYX, background_logit], dim=1).float().softmax(dim=1)[:, :-1]
        frames = self.background_3YX + einsum(opacity, colour_BS3.float(), "b s y x, b s c -> b c y x")
        return frames, opacity


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
