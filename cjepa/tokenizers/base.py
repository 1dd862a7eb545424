"""The contract of a tokenizer: clips in, object tokens with masks out."""

from abc import ABC, abstractmethod

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from cjepa.errors import UserError
from cjepa.types import Tokens, to_float_pixels


class Tokenizer(nn.Module, ABC):
    """Turns every frame of a clip into a fixed number of tokens; token s of a clip is the same object throughout.

    Subclasses set ``num_slots`` (S) and ``slot_dim`` (D) in ``__init__``, before any weights are loaded.
    """

    num_slots: int
    slot_dim: int
    image_size: int | None = None
    """Side in pixels of the square frames that it is made for; None for any."""
    revision = 1
    """To be counted up when :meth:`encode` makes something else of the same weights: old token files are then not
    taken for new ones."""
    options = ""
    """What it was built with, as JSON, where it comes from a checkpoint: other options make other tokens of the same
    weights."""
    env_id: str | None = None
    """Whose frames it was trained on; None where it was not trained, or nobody knows."""
    index_is_place = False
    """Whether token s is of the same part of every frame, so that its number says where it is: a grid's does."""
    column = "pixels"
    """The data column that :meth:`encode` reads; ``objects`` for those that look at the simulator's state instead."""
    hint_dim = 0
    """Values of a hint at each object of the first frame, which :meth:`encode` (and losses) then take beside the
    frames; 0 for those that take none."""

    @abstractmethod
    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """Frames, float in [0, 1] -> tokens; deterministic in eval mode, and causal: frame t knows frames 0..t."""

    @abstractmethod
    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor] | None:
        """Tokens -> (frames ``(B, T, 3, Y, X)``, masks ``(B, T, S, Y, X)``), or None where there is no decoder."""


class TrainableTokenizer(Tokenizer):
    """A tokenizer with losses of its own, for :class:`~cjepa.tokenizers.training.TokenizerTraining`."""

    def prepare(self, pixels_B3YX: Tensor) -> None:  # noqa: B027 - most need nothing
        """Look at training frames, once, before training: a background, a scale."""

    @abstractmethod
    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """Unweighted scalar losses of a clip by name; the same names every time."""


def check_environment(tokenizer: Tokenizer, env_id: str | None, where: str) -> None:
    """Whether a tokenizer may look at these frames; those of nobody knows which environment are let through.

    Args:
        tokenizer: to use.
        env_id: of the environment that the frames are of.
        where: they come from.

    Raises:
        UserError: it was trained on another environment.
    """
    if None not in (tokenizer.env_id, env_id) and tokenizer.env_id != env_id:
        raise UserError(
            f"{where}: frames of {env_id}, but this {type(tokenizer).__name__} was trained on {tokenizer.env_id}; give "
            "a tokenizer that was trained on such episodes"
        )


def float_frames(tokenizer: Tokenizer, pixels_YXC: Tensor) -> Tensor:
    """uint8 frames ``(..., Y, X, 3)`` -> what the tokenizer takes, float ``(..., 3, Y, X)`` in [0, 1].

    Raises:
        UserError: it is made for frames of another size.
    """
    height, width = pixels_YXC.shape[-3:-1]
    if tokenizer.image_size not in (None, height) or tokenizer.image_size not in (None, width):
        raise UserError(
            f"frames of {width} x {height} pixels, but this {type(tokenizer).__name__} is made for "
            f"{tokenizer.image_size} x {tokenizer.image_size}; collect with --env_kwargs.image_size "
            f"{tokenizer.image_size} (or convert so), or train a tokenizer with an image_size of {height}"
        )
    return to_float_pixels(pixels_YXC)


def centroids(masks_BSYX: Tensor) -> Tensor:
    """Centres (x, y) of masks in image coordinates [-1, 1]: float (..., S, 2); the middle for an empty mask."""
    height, width = masks_BSYX.shape[-2:]
    weights = rearrange(masks_BSYX, "... y x -> ... (y x)")
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    return einsum(weights, cell_centres(height, width).to(weights), "... l, l c -> ... c")


def cell_centres(height: int, width: int | None = None) -> Tensor:
    """(x, y) of the cells of a grid in [-1, 1], row by row: float (height * width, 2); square unless width is given."""
    y, x = (cell_middles(side) for side in (height, width or height))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def cell_middles(count: int, device: torch.device | None = None) -> Tensor:
    """Middles of ``count`` equal cells that fill [-1, 1]: float (count,)."""
    return (torch.arange(count, device=device) + 0.5) / count * 2 - 1
