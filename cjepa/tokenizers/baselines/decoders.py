"""Slots back to frames or features: the spatial broadcast decoder and the slot mixer.

File letters: L cells of a grid, K width of what is decoded.
"""

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from cjepa.tokenizers.grid import cell_centres

_FIRST_SIDE = 8  # of the grid that a slot is broadcast to


class SpatialBroadcastDecoder(nn.Module):
    """Every slot draws a whole frame and its opacity; a softmax over slots mixes them.

    Watters et al., 2019, as used by slot attention and SAVi: the slot at each of 8 x 8 places, position added,
    transposed 5 x 5 convolutions with stride 2 up to the frame's size, and one with stride 1.

    Args:
        slot_dim: D.
        channels: of the convolutions.
        image_size: side of the frame in pixels, 8 times a power of two.

    Raises:
        ValueError: the size is another.
    """

    def __init__(self, slot_dim: int, channels: int, image_size: int):
        super().__init__()
        doublings = (image_size // _FIRST_SIDE).bit_length() - 1
        if doublings < 0 or image_size != _FIRST_SIDE * 2**doublings:
            raise ValueError(f"image_size: expected {_FIRST_SIDE} times a power of two, not {image_size}")
        self.embed_position = PositionEmbedding(slot_dim, _FIRST_SIDE)
        layers, width = [], slot_dim
        for _ in range(doublings):
            layers += [nn.ConvTranspose2d(width, channels, 5, stride=2, padding=2, output_padding=1), nn.ReLU()]
            width = channels
        self.network = nn.Sequential(
            *layers, nn.Conv2d(width, channels, 5, padding=2), nn.ReLU(), nn.Conv2d(channels, 4, 1)
        )

    def forward(self, slots_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """-> frames ``(B, 3, Y, X)`` and masks ``(B, S, Y, X)``, which sum to 1 over S."""
        broadcast = repeat(slots_BSD, "b s d -> (b s) d y x", y=_FIRST_SIDE, x=_FIRST_SIDE)
        drawn = self.network(self.embed_position(broadcast)).float()
        colour, logit = rearrange(drawn, "(b s) c y x -> b s c y x", b=len(slots_BSD)).split([3, 1], dim=2)
        masks = logit.softmax(dim=1)
        return (masks * colour).sum(dim=1), masks[:, :, 0]


class PositionEmbedding(nn.Module):
    """Adds a linear function of (x, y) in [-1, 1] to a grid of features.

    Args:
        channels: of the features.
        side: of the grid.
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        grid = rearrange(cell_centres(side), "(y x) c -> c y x", y=side)
        self.register_buffer("grid_2YX", grid, persistent=False)
        self.project = nn.Conv2d(2, channels, 1)

    def forward(self, features_BKYX: Tensor) -> Tensor:
        """The same shape."""
        return features_BKYX + self.project(self.grid_2YX)


class SlotMixer(nn.Module):
    """Every cell decides which slots it is made of, mixes them, and is rendered from the mixture alone.

    Sajjadi et al., 2022 (OSRT, section 3.2): an allocation transformer, in which learned cell queries attend to the
    slots; mixing weights, the softmax over slots of one more dot product; and a render MLP on mixture and position.

    Args:
        slot_dim: D.
        num_cells: L.
        out_dim: K, width of what is rendered.
        num_blocks: of the allocation transformer.
        num_heads: of its attention; divides D.
        render_dim: hidden width of the render MLP, which has three hidden layers.
    """

    def __init__(self, slot_dim: int, num_cells: int, out_dim: int, num_blocks: int, num_heads: int, render_dim: int):
        super().__init__()
        self.cells_LD = nn.Parameter(torch.randn(num_cells, slot_dim) * slot_dim**-0.5)
        self.norm_memory = nn.LayerNorm(slot_dim)
        self.allocation = nn.ModuleList(AllocationBlock(slot_dim, num_heads) for _ in range(num_blocks))
        self.to_query = nn.Sequential(nn.LayerNorm(slot_dim), nn.Linear(slot_dim, slot_dim, bias=False))
        self.to_key = nn.Sequential(nn.LayerNorm(slot_dim), nn.Linear(slot_dim, slot_dim, bias=False))
        widths = [slot_dim, render_dim, render_dim, render_dim]
        hidden = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.render = nn.Sequential(*hidden, nn.Linear(render_dim, out_dim))

    def forward(self, slots_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """-> what is rendered ``(B, L, K)`` and the mixing weights ``(B, S, L)``, which sum to 1 over S."""
        cells_BLD = repeat(self.cells_LD, "l d -> b l d", b=len(slots_BSD))
        weights_BSL = self.mixing_weights(slots_BSD)
        mixed_BLD = einsum(weights_BSL, slots_BSD.float(), "b s l, b s d -> b l d")
        return self.render(mixed_BLD + cells_BLD), weights_BSL

    def mixing_weights(self, slots_BSD: Tensor) -> Tensor:
        """How much of each slot a cell is made of, float (B, S, L)."""
        cells_BLD = repeat(self.cells_LD, "l d -> b l d", b=len(slots_BSD))
        memory_BSD = self.norm_memory(slots_BSD)
        for block in self.allocation:
            cells_BLD = block(cells_BLD, memory_BSD)
        query_BLD, key_BSD = self.to_query(cells_BLD), self.to_key(slots_BSD)
        logits_BSL = einsum(query_BLD, key_BSD, "b l d, b s d -> b s l") * key_BSD.shape[-1] ** -0.5
        return logits_BSL.float().softmax(dim=1)


class AllocationBlock(nn.Module):
    """A pre-norm block in which cells attend to slots but not to each other.

    Args:
        dim: width of both.
        num_heads: of the attention; divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, cells_BLD: Tensor, slots_BSD: Tensor) -> Tensor:
        """Cells of the same shape."""
        cells_BLD = cells_BLD + self.attention(self.norm_1(cells_BLD), slots_BSD, slots_BSD, need_weights=False)[0]
        return cells_BLD + self.mlp(self.norm_2(cells_BLD))
