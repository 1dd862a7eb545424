"""Patch tokens: from a trained tokenizer's own encoder, or from frozen features."""

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import interpolate, layer_norm

from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.features import FeatureEncoder, features_peak_bytes
from cjepa.tokenizers.grid import cell_centres
from cjepa.types import Tokens


class PatchTokenizer(Tokenizer):
    """A g x g grid of pooled encoder features, one token a cell: the rival that has the same eyes but no objects.

    A token holds the mean of the features in its cell and their first moments along x and y, so that pooling does not
    lose where in the cell something is. A cell of one feature vector is that vector: its moments are 0 and left out.

    Args:
        trained: whose features are used; it has ``features(pixels_B3YX)``, ``(B, K, y, x)``, and their
            ``feature_shape``.
        grid: g; divides the encoder's grid.
        layer_norm: give each token a mean of 0 and a deviation of 1 over its values, as V-JEPA 2-AC does.

    Raises:
        ValueError: the tokenizer has no feature grid, or g does not divide it.
    """

    def __init__(self, trained: Tokenizer | FeatureEncoder, grid: int, layer_norm: bool = False):
        if not hasattr(trained, "features"):
            raise ValueError(f"{type(trained).__name__} has no grid of features")
        channels, side = trained.feature_shape
        if side % grid:
            raise ValueError(f"a grid of {grid} does not divide the encoder's {side} x {side} cells")
        width = channels if grid == side else 3 * channels
        is_tokenizer = isinstance(trained, Tokenizer)
        env_id = trained.info.env_id if is_tokenizer else None
        of_features = "" if is_tokenizer or grid == side else trained.options  # a grid as it is tells its side
        options = " ".join(filter(None, (of_features, "layer_norm" * layer_norm)))
        info = TokenizerInfo(grid * grid, width, trained.image_size, index_is_place=True, env_id=env_id)
        super().__init__(info._replace(options=options))
        self.trained = trained
        self.grid = grid
        self.layer_norm = layer_norm
        self.register_buffer("inside_L2", cell_centres(side // grid), persistent=False)

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`Tokenizer`; masks are the cells themselves."""
        batch = len(pixels_BT3YX)
        features = self.trained.features(pixels_BT3YX.flatten(0, 1))
        cells_NSLK = rearrange(features, "n k (y p) (x q) -> n (y x) (p q) k", y=self.grid, x=self.grid)
        parts = [cells_NSLK, *(cells_NSLK * self.inside_L2[:, axis, None] for axis in (0, 1))]
        tokens = torch.cat([part.mean(dim=2) for part in parts], dim=-1)[..., : self.slot_dim]
        if self.layer_norm:
            tokens = layer_norm(tokens, tokens.shape[-1:])
        return grid_tokens(rearrange(tokens, "(b t) s d -> b t s d", b=batch), self.grid, pixels_BT3YX.shape[-2:])

    def peak_bytes(self, stored_bytes: int) -> int:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; features of a large encoder take more than small frames."""
        return max(super().peak_bytes(stored_bytes), features_peak_bytes(self.trained.feature_shape))

    def decode(self, slots_BTSD: Tensor) -> None:
        """Patches have no decoder."""
        return None


def grid_tokens(tokens_BTSD: Tensor, side: int, image_size: tuple[int, int]) -> Tokens:
    """Tokens of the cells of a side x side grid, row by row, each with the pixels of its cell as its mask.

    Args:
        tokens_BTSD: one token per cell.
        side: of the grid.
        image_size: height and width of the masks in pixels.
    """
    batch, blocks, cells = tokens_BTSD.shape[:3]
    owner = rearrange(torch.eye(cells, device=tokens_BTSD.device), "s (y x) -> 1 s y x", y=side)
    own = interpolate(owner, image_size)  # nearest: a cell need not be whole pixels
    masks = repeat(own, "1 s y x -> b t s y x", b=batch, t=blocks)
    positions = cell_centres(side).to(tokens_BTSD.device).expand(batch, blocks, -1, -1)
    spread = tokens_BTSD.new_full((batch, blocks, cells, 1), (1 / 3) ** 0.5 / side)
    return Tokens(tokens_BTSD, masks, positions, spread)
