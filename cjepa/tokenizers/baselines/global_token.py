"""One token a frame, without objects: the kind that LeWorldModel plans with (arXiv 2603.19312)."""

from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.types import Tokens

_LAST_SIDE = 4  # of the grid that becomes the token
_SPREAD = 3**-0.5  # standard deviation of a whole frame, in image coordinates


class GlobalTokenizer(TrainableTokenizer):
    """A convolutional autoencoder whose bottleneck is the token.

    LeWorldModel trains a small vision transformer together with its predictor, against a prior on the tokens. Here the
    token is trained before any dynamics, by drawing the frame again, as other tokenizers are: a rival of the same
    kind, one vector a frame, but not that model.

    Args:
        dim: D.
        channels: of the first convolution; they double whenever the resolution halves.
        image_size: side of the square frames in pixels, 4 times a power of two.

    Raises:
        ValueError: the size is another.
    """

    def __init__(self, dim: int = 192, channels: int = 32, image_size: int = 64):
        super().__init__(TokenizerInfo(1, dim, image_size))
        halvings = (image_size // _LAST_SIDE).bit_length() - 1
        if halvings < 1 or image_size != _LAST_SIDE * 2**halvings:
            raise ValueError(f"image_size: expected {_LAST_SIDE} times a power of two, not {image_size}")
        widths = [channels * 2**level for level in range(halvings)]
        flat = widths[-1] * _LAST_SIDE**2
        down = [nn.Conv2d(3, channels, 4, stride=2, padding=1)]
        up = [nn.ConvTranspose2d(channels, 3, 4, stride=2, padding=1)]
        for wide, narrow in zip(widths[1:], widths, strict=False):
            down += [nn.GELU(), nn.Conv2d(narrow, wide, 4, stride=2, padding=1)]
            up = [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), nn.GELU(), *up]
        to_flat, to_grid = (
            Rearrange("n c y x -> n (c y x)"),
            Rearrange("n (c y x) -> n c y x", y=_LAST_SIDE, x=_LAST_SIDE),
        )
        self.encoder = nn.Sequential(*down, nn.GELU(), to_flat, nn.Linear(flat, dim))
        self.decoder = nn.Sequential(nn.Linear(dim, flat), nn.GELU(), to_grid, *up)

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; the token owns every pixel."""
        batch, _, _, height, width = pixels_BT3YX.shape
        token = self.encoder(pixels_BT3YX.flatten(0, 1)).float()
        slots_BTSD = rearrange(token, "(b t) d -> b t 1 d", b=batch)
        return whole_frame(slots_BTSD, height, width)

    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`."""
        drawn = self.decoder(rearrange(slots_BTSD, "b t 1 d -> (b t) d")).float()
        frames = rearrange(drawn, "(b t) c y x -> b t c y x", b=len(slots_BTSD))
        return frames, frames.new_ones(frames.shape[:2] + (1,) + frames.shape[3:])

    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """Mean squared error of the frames that the tokens draw."""
        frames, _ = self.decode(self.encode(pixels_BT3YX).slots_BTSD)
        return {"reconstruction": (frames - pixels_BT3YX).square().mean()}


def whole_frame(slots_BTSD: Tensor, height: int, width: int) -> Tokens:
    """One token per frame, S = 1, that owns every pixel."""
    batch, blocks = slots_BTSD.shape[:2]
    everything = slots_BTSD.new_ones(batch, blocks, 1, height, width)
    middle, spread = slots_BTSD.new_zeros(batch, blocks, 1, 2), slots_BTSD.new_full((batch, blocks, 1, 1), _SPREAD)
    return Tokens(slots_BTSD, everything, middle, spread)
