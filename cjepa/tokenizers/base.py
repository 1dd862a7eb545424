"""The contract of a tokenizer: clips in, object tokens with masks out."""

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.types import Tokens, to_float_pixels

Memory = Any
"""What a tokenizer carries from one frame to the next: its own named tuple of tensors ``(B, ...)``, or None."""
_PEAK = 400  # bytes for a stored byte


class TokenizerInfo(NamedTuple):
    """What others must know of a tokenizer."""

    num_slots: int
    """S."""
    slot_dim: int
    """D."""
    image_size: int | None = None
    """Side of the square frames in pixels; None for any."""
    column: Literal["pixels", "objects"] = "pixels"
    """The data column that it reads: frames, or the simulator's account of the bodies."""
    hint_dim: int = 0
    """Values of a hint at each object of the first frame, which :meth:`Tokenizer.encode`, :meth:`Tokenizer.step` and
    losses then take as a further argument; 0 for tokenizers without hints."""
    index_is_place: bool = False
    """Whether token s covers the same part of every frame, so that its number says where it is, as in a grid."""
    revision: int = 1
    """Increment when ``encode`` changes its output for the same weights: old token files then no longer match."""
    env_id: str | None = None
    """The environment whose frames it was trained on; None where it was not trained or the environment is unknown."""
    options: str = ""
    """The arguments it was built with, as JSON, where it comes from a checkpoint: other options make other tokens of
    the same weights."""


class Tokenizer(nn.Module, ABC):
    """Turns every frame of a clip into a fixed number of tokens; token s of a clip is the same object throughout.

    Args:
        info: see :class:`TokenizerInfo`; known before any weights are loaded.
    """

    tells_flow: bool = False
    """Whether :meth:`flow` gives the optical flow of clips, which is then measured."""

    def __init__(self, info: TokenizerInfo):
        super().__init__()
        self.info = info

    @property
    def num_slots(self) -> int:
        """S."""
        return self.info.num_slots

    @property
    def slot_dim(self) -> int:
        """D."""
        return self.info.slot_dim

    @property
    def image_size(self) -> int | None:
        """Side of the square frames in pixels; None for any."""
        return self.info.image_size

    @abstractmethod
    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """Frames, float in [0, 1] -> tokens; deterministic in eval mode, and causal: frame t knows frames 0..t."""

    def step(
        self, pixels_BT3YX: Tensor, memory: Memory = None, hints_BSH: Tensor | None = None
    ) -> tuple[Tokens, Memory]:
        """Encode the next frames of clips, most often one, with what was remembered of the frames before.

        Stepping through a clip, in parts of any length, gives the tokens that :meth:`encode` gives of the whole clip.
        B environments are stepped at once, as the rows of one batch; ``memory`` belongs to those rows in that order.
        A memory is never changed in place: it may be stepped from twice, for instance with the next frame and with a
        goal image, whose slots then hold the same objects.

        Override it in tokenizers whose frames depend on earlier ones; the default encodes each frame by itself.

        Args:
            pixels_BT3YX: the next frames, or rows of what else its column holds.
            memory: from the step before; None where clips begin.
            hints_BSH: at the objects of the first frame, for tokenizers that take hints; read only where clips begin.

        Returns:
            Tokens of these frames, and the memory for the next step.
        """
        return self.encode(pixels_BT3YX), None

    @abstractmethod
    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor] | None:
        """Tokens -> (frames ``(B, T, 3, Y, X)``, masks ``(B, T, S, Y, X)``), or None where there is no decoder."""

    def peak_bytes(self, stored_bytes: int) -> int:
        """Memory that a frame takes at the peak of :meth:`encode`, at most: on a GPU it decides the size of batches.

        By default 400 times what is stored: our slots take 30 times, VideoSAUR 130 on convolutions, SAVi 60 to 220.
        Override it in tokenizers whose memory does not follow the size of stored frames.

        Args:
            stored_bytes: of what a frame is encoded from.
        """
        return _PEAK * stored_bytes

    def flow(self, pixels_BT3YX: Tensor) -> Tensor | None:
        """How the pixels of every frame but the last move to the next one, in pixels: ``(B, T - 1, 2, Y, X)``, x first.

        None where the tokenizer does not tell, as by default.
        """
        return None

    @classmethod
    def init_args_from(cls, episodes: Episodes) -> dict[str, Any]:
        """Constructor arguments that the episodes decide, as plain values; none by default.

        Raises:
            UserError: these episodes lack what this tokenizer needs.
        """
        return {}


class TrainableTokenizer(Tokenizer):
    """A tokenizer with losses of its own, for :class:`~cjepa.tokenizers.training.TokenizerTraining`."""

    options_without_effect: tuple[str, ...] = ()
    """Constructor arguments that change no token of frames like those of training; its fingerprint leaves them out."""
    against_collapse: str = "targets are the frames, or features of a frozen encoder"
    """What keeps its tokens from becoming all the same, for ``run.json``."""
    learns_from_labels: bool = False
    """Whether ``loss_terms`` also takes the simulator's label images of the clip, ``(B, T, Y, X)``, or None without."""

    def prepare(self, pixels_B3YX: Tensor) -> None:  # noqa: B027 - most need nothing
        """Look at training frames, once, before training: a background, a scale."""

    def after_step(self, progress: float) -> None:  # noqa: B027 - most need nothing
        """Called after every step of the optimiser.

        Args:
            progress: share of the training's steps that are done, above 0 and up to 1.
        """

    @abstractmethod
    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """Unweighted scalar losses of a clip by name; the same names every time."""


def check_environment(tokenizer: Tokenizer, env_id: str | None, where: str) -> None:
    """Check that a tokenizer fits these frames; frames of unknown origin are accepted.

    Args:
        tokenizer: to use.
        env_id: of the environment that the frames show.
        where: they come from.

    Raises:
        UserError: it was trained on another environment.
    """
    trained_on = tokenizer.info.env_id
    if None not in (trained_on, env_id) and trained_on != env_id:
        raise UserError(
            f"{where}: frames of {env_id}, but this {type(tokenizer).__name__} was trained on {trained_on}; give "
            "a tokenizer trained on this environment"
        )


def float_frames(tokenizer: Tokenizer, pixels_YXC: Tensor) -> Tensor:
    """uint8 frames ``(..., Y, X, 3)`` -> what the tokenizer takes, float ``(..., 3, Y, X)`` in [0, 1].

    Raises:
        UserError: it is made for frames of another size.
    """
    height, width = pixels_YXC.shape[-3:-1]
    side = tokenizer.image_size
    if side not in (None, height) or side not in (None, width):
        raise UserError(
            f"frames of {width} x {height} pixels, but this {type(tokenizer).__name__} needs {side} x {side}; "
            f"collect with --env_kwargs.image_size {side} (or convert with --image_size), or train a tokenizer with "
            f"image_size {height}"
        )
    return to_float_pixels(pixels_YXC)
