"""The simulator's own account of the objects as tokens: the bound that no eyes can pass.

File letter: A values of a body, of which an angle makes two.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.slots.sprites import POSITION_DIM, embed_position, read_position
from cjepa.types import Tokens

_PROJECTION_SEED = 0


class OracleTokenizer(Tokenizer):
    """One token a body: its attributes or some of them, raw or through a fixed random projection.

    An attribute named ``angle`` enters as its cosine and sine, last. Reads the column ``objects``.

    Args:
        num_bodies: S.
        attributes: names of the columns of ``objects``, in order.
        dim: D of a fixed random projection, or 0 for the attributes themselves.
        kept: attributes that tokens hold; default: all.
        side_units: of the table, for x and y as the sines and cosines of slots, at the end of the token, where
            predictors that know places expect them; 0 for x and y as they are. Waves of bodies that are not
            ``present`` are 0.

    Raises:
        ValueError: an attribute to keep is not among them; there is no x and y to make waves of, or a projection too.
    """

    def __init__(
        self,
        num_bodies: int,
        attributes: tuple[str, ...],
        dim: int = 0,
        kept: tuple[str, ...] = (),
        side_units: float = 0.0,
    ):
        if unknown := [name for name in kept if name not in attributes]:
            raise ValueError(f"no attribute {', '.join(unknown)}; the objects have {', '.join(attributes)}")
        held = [name for name in attributes if name in (kept or attributes)]
        placed = {"x", "y"} if side_units else set()
        if side_units and (dim or side_units < 0 or not placed <= set(held)):
            raise ValueError(f"side_units {side_units:g}: expected x and y, a side above 0, and no projection (dim 0)")
        width = len(held) + held.count("angle") + (POSITION_DIM - 2 if placed else 0)
        options = "" if held == list(attributes) else ",".join(held)  # as wide tokens may hold other attributes
        options += f" on {side_units:g}" if placed else ""
        super().__init__(TokenizerInfo(num_bodies, dim or width, column="objects", options=options))
        self.side_units, self._attributes = side_units, list(attributes)
        self._names = [name for name in held if name not in {"angle"} | placed]
        for buffer, names in (("is_angle_F", {"angle"} & set(held)), ("is_other_F", self._names)):
            self.register_buffer(buffer, torch.tensor([name in names for name in attributes]), persistent=False)
        generator = torch.Generator().manual_seed(_PROJECTION_SEED)
        projection = torch.randn(width, dim, generator=generator) / width**0.5 if dim else torch.eye(width)
        self.register_buffer("projection_AD", projection)

    def encode(self, objects_BTOF: Tensor) -> Tokens:
        """Attributes ``(B, T, bodies, attributes)`` -> tokens; masks and places are empty, they belong to pixels."""
        angle, other = objects_BTOF[..., self.is_angle_F], objects_BTOF[..., self.is_other_F]
        values = torch.cat([other, angle.cos(), angle.sin(), *self._waves(objects_BTOF)], dim=-1).float()
        tokens = (values[..., None] * self.projection_AD).sum(dim=-2)  # not a product that autocast would round
        empty = [tokens.new_zeros(*tokens.shape[:3], *size) for size in ((0, 0), (2,), (1,))]
        return Tokens(tokens, *empty)

    def places(self, tokens_BTSD: Tensor) -> Tensor | None:
        """x and y of every body, ``(B, T, S, 2)``, in the units of the attributes.

        Returns:
            None where the bodies have no x and y, or a projection to fewer values has lost them.
        """
        if self.side_units:
            return (read_position(tokens_BTSD[..., -POSITION_DIM:].float()) + 1) / 2 * self.side_units
        index = self.readable(("x", "y"))
        if index is None:
            return None
        values_BTSA = tokens_BTSD.float() @ torch.linalg.pinv(self.projection_AD)
        return values_BTSA[..., index]

    def readable(self, names: Sequence[str]) -> list[int] | None:
        """Rows of ``projection_AD`` of attributes that tokens hold as they are; None where they cannot be read."""
        width, dim = self.projection_AD.shape
        if dim < width or not set(names) <= set(self._names):
            return None
        return [self._names.index(name) for name in names]

    def _waves(self, objects_BTOF: Tensor) -> list[Tensor]:
        """Of x and y, ``(B, T, bodies, 16)``, where they are asked for."""
        if not self.side_units:
            return []
        x_and_y = [self._attributes.index(name) for name in ("x", "y")]
        waves = embed_position(objects_BTOF[..., x_and_y] / self.side_units * 2 - 1)
        if "present" in self._attributes:
            waves = waves * objects_BTOF[..., [self._attributes.index("present")]]
        return [waves]

    @classmethod
    def init_args_from(cls, episodes: Episodes) -> dict[str, Any]:
        """How many bodies there are, and the names of their attributes.

        Raises:
            UserError: the episodes do not say.
        """
        if "objects" not in episodes.columns or "attribute_names" not in episodes.attributes:
            raise UserError(
                f"{episodes.path}: no column 'objects' with its 'attribute_names', which an oracle reads; collect the "
                "episodes again"
            )
        names = from_json(episodes.path, episodes.attributes, "attribute_names")
        return {"num_bodies": episodes.columns["objects"][0][1], "attributes": names}

    def decode(self, slots_BTSD: Tensor) -> None:
        """Nothing to look at."""
        return None
