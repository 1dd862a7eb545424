"""The frame itself as a token, for models that predict pixels."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from cjepa.arguments import at_least, check
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.baselines.global_token import whole_frame
from cjepa.types import Tokens


class PixelTokenizer(Tokenizer):
    """One token per frame: all values of its pixels, made smaller by averaging. It has nothing to train.

    Args:
        side: of the smaller frame, in pixels; D = 3 x side x side.
        image_size: side of the frames, a multiple of ``side``.

    Raises:
        ValueError: a size is below 1, or ``image_size`` is no multiple of ``side``.
    """

    def __init__(self, side: int = 32, image_size: int = 64):
        at_least(1, side=side, image_size=image_size)
        check(image_size % side == 0, "image_size", image_size, f"a multiple of side = {side}")
        super().__init__(TokenizerInfo(1, 3 * side**2, image_size))
        self.side = side

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`."""
        batch, _, _, height, width = pixels_BT3YX.shape
        small_N3YX = torch.nn.functional.avg_pool2d(pixels_BT3YX.flatten(0, 1).float(), self.image_size // self.side)
        return whole_frame(rearrange(small_N3YX, "(b t) c y x -> b t 1 (c y x)", b=batch), height, width)

    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; pixels are repeated."""
        small_N3YX = rearrange(slots_BTSD, "b t 1 (c y x) -> (b t) c y x", c=3, y=self.side)
        frames = interpolate(small_N3YX.float(), size=(self.image_size, self.image_size), mode="nearest")
        frames = rearrange(frames, "(b t) c y x -> b t c y x", b=len(slots_BTSD))
        return frames, frames.new_ones(frames.shape[:2] + (1,) + frames.shape[3:])
