"""Two values of an object, such as its place or its velocity, read from its token and changed there.

File letter: K values of a token that hold a place as waves.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.sprites import POSITION_DIM
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer

_FADED = 0.5


class Quantity(ABC):
    """An x and a y in the environment's units, from tokens in the tokenizer's units ``(..., D)``."""

    @abstractmethod
    def read(self, tokens: Tensor) -> Tensor:
        """x and y, ``(..., 2)``."""

    @abstractmethod
    def moved(self, tokens: Tensor, by: Tensor) -> Tensor:
        """The same tokens with x and y changed by ``by`` ``(..., 2)``; all else stays as far as it can."""

    def put(self, tokens: Tensor, to: Tensor) -> Tensor:
        """The same tokens with x and y equal to ``to`` ``(..., 2)``."""
        return self.moved(tokens, to - self.read(tokens))

    def track(self, tokens_BTSD: Tensor) -> Tensor:
        """x and y along time, ``(B, T, S, 2)``."""
        return self.read(tokens_BTSD)


class LinearQuantity(Quantity):
    """x and y that an affine function of the token gives, such as a linear probe.

    Args:
        weight_D2: of the function.
        bias_2: of the function.
        change_2D: how a token changes with x and with y; None for the smallest change that moves x and y as asked.
    """

    def __init__(self, weight_D2: Tensor, bias_2: Tensor, change_2D: Tensor | None = None):
        self.weight_D2, self.bias_2 = weight_D2.float(), bias_2.float()
        self.change_2D = torch.linalg.pinv(self.weight_D2) if change_2D is None else change_2D.float()

    @classmethod
    def fitted(cls, probe: Callable[[Tensor], Tensor], scale_D: Tensor) -> "LinearQuantity":
        """From a fitted affine probe of tokens ``(N, D)`` -> ``(N, 2)``.

        Args:
            probe: that was fitted.
            scale_D: a usual change of each token value, such as its standard deviation: what counts as a small change.
        """
        scale_D = scale_D.double()
        bias_12 = probe(torch.zeros_like(scale_D)[None])
        weight_D2 = probe(torch.eye(len(scale_D), dtype=scale_D.dtype)) - bias_12
        return cls(weight_D2, bias_12[0], torch.linalg.pinv(scale_D[:, None] * weight_D2) * scale_D)

    def read(self, tokens: Tensor) -> Tensor:
        """See :class:`Quantity`."""
        return tokens.float() @ self.weight_D2.to(tokens.device) + self.bias_2.to(tokens.device)

    def moved(self, tokens: Tensor, by: Tensor) -> Tensor:
        """See :class:`Quantity`."""
        return tokens + by.to(tokens) @ self.change_2D.to(tokens)


class WavePlace(Quantity):
    """A place that tokens hold as sines and cosines, as those of slots do; it is changed exactly.

    The values are the sines of x and y at every wavelength, then their cosines. The longest wave is two frames long,
    and each of the others is half of the one before.

    Args:
        first: index of the first sine in a token.
        wavelengths: their number.
        side_units: side of the frame in the environment's units; the origin is its upper left corner.
    """

    def __init__(self, first: int, wavelengths: int, side_units: float):
        self.values = slice(first, first + 4 * wavelengths)
        self.wavelengths = wavelengths
        self.side_units = side_units

    def read(self, tokens: Tensor) -> Tensor:
        """See :class:`Quantity`; by the longest wave."""
        sine, cosine = tokens[..., self.values].float().chunk(2, dim=-1)
        position = torch.atan2(sine[..., :2], cosine[..., :2]) * 2 / torch.pi
        return (position + 1) / 2 * self.side_units

    def track(self, tokens_BTSD: Tensor) -> Tensor:
        """See :class:`Quantity`; of places two sides apart, which look alike, those nearest to the block before.

        The waves of an object fade as it leaves. When they are less than half as high, it stays where it was last.
        """
        sine, cosine = tokens_BTSD[..., self.values].float().chunk(2, dim=-1)
        height_BTS1 = (sine[..., :2].square() + cosine[..., :2].square()).mean(dim=-1, keepdim=True).sqrt()
        read_BTS2, again = self.read(tokens_BTSD), 2 * self.side_units
        track = [read_BTS2[:, 0]]
        for read_BS2, height_BS1 in zip(read_BTS2[:, 1:].unbind(1), height_BTS1[:, 1:].unbind(1), strict=True):
            step_BS2 = read_BS2 - track[-1]
            step_BS2 = step_BS2 - again * (step_BS2 / again).round()
            track.append(torch.where(height_BS1 < _FADED, track[-1], track[-1] + step_BS2))
        return torch.stack(track, dim=1)

    def moved(self, tokens: Tensor, by: Tensor) -> Tensor:
        """See :class:`Quantity`; every wave is turned by what such a motion turns it."""
        turn = by.to(tokens) * (torch.pi / self.side_units)
        angle = torch.cat([turn * 2**level for level in range(self.wavelengths)], dim=-1)
        sine, cosine = tokens[..., self.values].chunk(2, dim=-1)
        turned = torch.cat(
            [sine * angle.cos() + cosine * angle.sin(), cosine * angle.cos() - sine * angle.sin()], dim=-1
        )
        shape = torch.broadcast_shapes(tokens.shape[:-1], turned.shape[:-1])
        before, after = tokens[..., : self.values.start], tokens[..., self.values.stop :]
        return torch.cat([part.expand(*shape, -1) for part in (before, turned, after)], dim=-1)


def exact_place(tokenizer: Tokenizer, side_units: float) -> Quantity | None:
    """The place of objects where tokens hold it exactly; None for tokens that only a probe can read.

    Args:
        tokenizer: of the tokens.
        side_units: side of the frame in the environment's units.
    """
    if isinstance(tokenizer, SlotTokenizer):
        return WavePlace(tokenizer.content_dim, POSITION_DIM // 4, side_units)
    if isinstance(tokenizer, OracleTokenizer) and tokenizer.side_units:
        return WavePlace(tokenizer.slot_dim - POSITION_DIM, POSITION_DIM // 4, tokenizer.side_units)
    return _attributes(tokenizer, ("x", "y"))


def exact_velocity(tokenizer: Tokenizer) -> Quantity | None:
    """The velocity of objects, units per second, where a single token holds it exactly, else None."""
    return _attributes(tokenizer, ("vx", "vy"))


def _attributes(tokenizer: Tokenizer, names: tuple[str, str]) -> Quantity | None:
    if not isinstance(tokenizer, OracleTokenizer) or (index := tokenizer.readable(names)) is None:
        return None
    weight_D2 = torch.linalg.pinv(tokenizer.projection_AD)[:, index]
    return LinearQuantity(weight_D2, torch.zeros(2), tokenizer.projection_AD[index])


def empty_token(tokenizer: Tokenizer) -> Tensor | None:
    """What a slot without an object holds ``(D,)``; None for tokenizers of which this is unknown."""
    if isinstance(tokenizer, SlotTokenizer):
        return torch.zeros(tokenizer.slot_dim)
    if isinstance(tokenizer, OracleTokenizer):
        device = tokenizer.is_angle_F.device
        return tokenizer.encode(torch.zeros(1, 1, 1, len(tokenizer.is_angle_F), device=device)).slots_BTSD[0, 0, 0]
    return None
