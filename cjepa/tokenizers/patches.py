"""Patch tokens from the slot tokenizer's own encoder: the rival that has the same eyes but no objects."""

import torch
from einops import rearrange, repeat
from torch import Tensor

from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.slots import SlotTokenizer
from cjepa.tokenizers.sprites import cell_centres
from cjepa.types import Tokens


class PatchTokenizer(Tokenizer):
    """A g x g grid of pooled encoder features, one token a cell.

    A token holds the mean of the features in its cell and their first moments along x and y, so that pooling does not
    lose where in the cell something is.

    Args:
        slots: the tokenizer whose encoder is used.
        grid: g; divides the encoder's grid.
    """

    def __init__(self, slots: SlotTokenizer, grid: int):
        super().__init__()
        side = slots.image_size // slots.patch
        if side % grid:
            raise ValueError(f"a grid of {grid} does not divide the encoder's {side} x {side} cells")
        self.slots = slots
        self.grid = grid
        self.num_slots = grid * grid
        self.slot_dim = 3 * slots.attention.to_hidden.in_features
        self.register_buffer("centres_S2", cell_centres(grid), persistent=False)
        self.register_buffer("inside_L2", cell_centres(side // grid), persistent=False)

    def encode(self, pixels_B3YX: Tensor) -> Tokens:
        """See :class:`Tokenizer`; masks are the cells themselves."""
        features = self.slots.features(pixels_B3YX)
        cells_BSLK = rearrange(features, "b k (y p) (x q) -> b (y x) (p q) k", y=self.grid, x=self.grid)
        moments = [cells_BSLK * self.inside_L2[:, axis, None] for axis in (0, 1)]
        tokens = torch.cat([part.mean(dim=2) for part in (cells_BSLK, *moments)], dim=-1)
        batch, side = len(pixels_B3YX), pixels_B3YX.shape[-1] // self.grid
        owner = torch.eye(self.num_slots, device=tokens.device)
        masks = repeat(owner, "s (y x) -> b s (y p) (x q)", b=batch, y=self.grid, p=side, q=side)
        return Tokens(tokens, masks, self.centres_S2.expand(batch, -1, -1))

    def decode(self, slots_BSD: Tensor) -> None:
        """Patches have no decoder."""
        return None
