"""Places of objects that tokens hold as sines and cosines: relative places, and motions of any size.

File letters: K phases of a place, G their sines and cosines.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.world_models.normalise import Normaliser

_FAINT = 0.04  # squared height of a wave of which nothing can be read


class Geometry(nn.Module):
    """Places of objects that tokens hold as sines and cosines of K = 2 x wavelengths phases.

    Args:
        token_dim: D.
        first: index of the first sine in a token.
        wavelengths: of x and y; each is half of the one before.

    Raises:
        ValueError: the phases are not within a token.
    """

    def __init__(self, token_dim: int, first: int, wavelengths: int):
        super().__init__()
        self.values = slice(first, first + 4 * wavelengths)
        if first < 0 or wavelengths < 1 or self.values.stop > token_dim:
            raise ValueError(
                f"place: expected the first of 4 values per wavelength within {token_dim}, not {(first, wavelengths)}"
            )
        self.wavelengths = wavelengths
        self.register_buffer("mean", torch.zeros(4 * wavelengths))
        self.register_buffer("std", torch.ones(4 * wavelengths))

    def fit(self, scale: Normaliser) -> None:
        """Learn how tokens are normalised: sines and cosines are read in their own units."""
        self.mean.copy_(scale.mean[self.values])
        self.std.copy_(scale.std[self.values])

    def forward(self, tokens_BSD: Tensor, moved_BS2: Tensor) -> Tensor:
        """Sines and cosines of every object's place seen from every other's, ``(B, S, S, 2 K)``.

        Args:
            tokens_BSD: normalised.
            moved_BS2: how far objects have moved since, in rad of the longest wave.
        """
        waves = self._moved(tokens_BSD, moved_BS2)
        return _seen_from(waves, waves)

    def between(self, tokens_BSD: Tensor, others_BSD: Tensor) -> Tensor:
        """Sines and cosines of the places of other tokens seen from every object's, ``(B, S, S, 2 K)``; normalised."""
        return _seen_from(self._waves(tokens_BSD), self._waves(others_BSD))

    def surprise(self, tokens_BSD: Tensor, expected_BSG: Tensor) -> Tensor:
        """Sines and cosines of where objects are, seen from where the waves say that they are, ``(B, S, 2 K)``."""
        sine, cosine = expected_BSG.chunk(2, dim=-1)
        return torch.cat(_turned(*self._waves(tokens_BSD), -sine, cosine), dim=-1)

    def place(self, tokens_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """x and y in rad of the longest wave, ``(B, S, 2)``, and how much of its waves an object has, ``(B, S, 1)``.

        That is 0 for an empty slot, which is in the middle, and 1 for an object in full view.
        """
        sine, cosine = (waves_BSK[..., :2] for waves_BSK in self._waves(tokens_BSD))
        height_BS2 = sine.square() + cosine.square()
        there_BS2 = height_BS2 > _FAINT  # an angle of nothing has no gradient
        place_BS2 = torch.atan2(torch.where(there_BS2, sine, 0), torch.where(there_BS2, cosine, 1))
        return place_BS2, height_BS2.mean(dim=-1, keepdim=True).clamp(max=1)

    def waves(self, tokens_BSD: Tensor, moved_BS2: Tensor) -> Tensor:
        """Sines and cosines of where objects are now, ``(B, S, 2 K)``."""
        return torch.cat(self._moved(tokens_BSD, moved_BS2), dim=-1)

    def put(self, tokens_BSD: Tensor, waves_BSG: Tensor) -> Tensor:
        """The same tokens in another place, normalised."""
        before, after = tokens_BSD[..., : self.values.start], tokens_BSD[..., self.values.stop :]
        return torch.cat([before, (waves_BSG - self.mean) / self.std, after], dim=-1)

    def change(self, tokens_BSD: Tensor, moved_BS2: Tensor) -> Tensor:
        """What such a motion changes in tokens, normalised."""
        change_BSG = torch.cat(self._moved(tokens_BSD, moved_BS2), dim=-1) - torch.cat(self._waves(tokens_BSD), dim=-1)
        return pad(change_BSG / self.std, (self.values.start, tokens_BSD.shape[-1] - self.values.stop))

    def _moved(self, tokens_BSD: Tensor, moved_BS2: Tensor) -> tuple[Tensor, Tensor]:
        angle_BSK = torch.cat([moved_BS2 * 2**level for level in range(self.wavelengths)], dim=-1)
        return _turned(*self._waves(tokens_BSD), angle_BSK.sin(), angle_BSK.cos())

    def _waves(self, tokens_BSD: Tensor) -> tuple[Tensor, Tensor]:
        return (tokens_BSD[..., self.values].float() * self.std + self.mean).chunk(2, dim=-1)


def _seen_from(here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]) -> Tensor:
    """Sines and cosines ``(B, S, S, 2 K)`` of the angles from each of one kind to each of another."""
    (sine, cosine), (by_sine, by_cosine) = there, here
    turned = _turned(sine[:, None], cosine[:, None], -by_sine[:, :, None], by_cosine[:, :, None])
    return torch.cat(turned, dim=-1)


def _turned(sine: Tensor, cosine: Tensor, by_sine: Tensor, by_cosine: Tensor) -> tuple[Tensor, Tensor]:
    """Sine and cosine of the sum of two angles."""
    return sine * by_cosine + cosine * by_sine, cosine * by_cosine - sine * by_sine
