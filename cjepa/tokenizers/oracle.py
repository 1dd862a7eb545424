"""The simulator's own account of the objects as tokens: the bound that no eyes can pass.

File letter: A values of a body, of which an angle makes two.
"""

import torch
from torch import Tensor

from cjepa.tokenizers.base import Tokenizer
from cjepa.types import Tokens

_PROJECTION_SEED = 0


class OracleTokenizer(Tokenizer):
    """One token a body: its attributes, raw or through a fixed random projection.

    An attribute named ``angle`` enters as its cosine and sine. Reads the column ``objects``.

    Args:
        num_bodies: S.
        attributes: names of the columns of ``objects``, in order.
        dim: D of a fixed random projection, or 0 for the attributes themselves.
    """

    column = "objects"

    def __init__(self, num_bodies: int, attributes: tuple[str, ...], dim: int = 0):
        super().__init__()
        self.num_slots = num_bodies
        is_angle = torch.tensor([name == "angle" for name in attributes])
        self.register_buffer("is_angle_F", is_angle, persistent=False)
        width = len(attributes) + int(is_angle.sum())
        self.slot_dim = dim or width
        generator = torch.Generator().manual_seed(_PROJECTION_SEED)
        projection = torch.randn(width, dim, generator=generator) / width**0.5 if dim else torch.eye(width)
        self.register_buffer("projection_AD", projection)

    def encode(self, objects_BTOF: Tensor) -> Tokens:
        """Attributes ``(B, T, bodies, attributes)`` -> tokens; masks and places are empty, they belong to pixels."""
        angle, other = objects_BTOF[..., self.is_angle_F], objects_BTOF[..., ~self.is_angle_F]
        values = torch.cat([other, angle.cos(), angle.sin()], dim=-1).float()
        tokens = (values[..., None] * self.projection_AD).sum(dim=-2)  # not a product that autocast would round
        empty = [tokens.new_zeros(*tokens.shape[:3], *size) for size in ((0, 0), (2,), (1,))]
        return Tokens(tokens, *empty)

    def decode(self, slots_BTSD: Tensor) -> None:
        """Nothing to look at."""
        return None
