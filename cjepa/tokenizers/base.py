"""The contract of a tokenizer: frames in, object tokens with masks out."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from cjepa.types import Tokens


class Tokenizer(nn.Module, ABC):
    """Turns single frames into a fixed number of tokens.

    Subclasses set ``num_slots`` (S) and ``slot_dim`` (D) in ``__init__``, before any weights are loaded.
    """

    num_slots: int
    slot_dim: int

    @abstractmethod
    def encode(self, pixels_B3YX: Tensor) -> Tokens:
        """Frames, float in [0, 1] -> tokens; deterministic in eval mode."""

    @abstractmethod
    def decode(self, slots_BSD: Tensor) -> tuple[Tensor, Tensor] | None:
        """Tokens -> (frames ``(B, 3, Y, X)``, masks ``(B, S, Y, X)``), or None where there is no decoder."""
