"""Slots that carry a position and a scale, see the image in their own frame, and follow their object over a clip.

Slot attention in frames of its own finds where the objects are (:mod:`.slot_attention`); a glimpse at each of them
says what it looks like, and where it is exactly, and a sprite is drawn from that alone, as in Attend-Infer-Repeat
(Eslami et al., 2016) and SPACE (Lin et al., 2020). The per-pixel median of the data is the background, and slots
explain only what differs from it. That binds in minutes on a CPU.

File letters: G cells of the grid (g x g), L those that slots look at, K width of features, C values of a glimpse.
"""

from typing import NamedTuple

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor

from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.encoders import ConvEncoder
from cjepa.tokenizers.slots.foreground import FULLY_SALIENT, Foreground
from cjepa.tokenizers.slots.losses import slot_contrast
from cjepa.tokenizers.slots.slot_attention import Frame, InvariantSlotAttention, SlotState
from cjepa.tokenizers.slots.sprites import (
    CORRECTION_DIM,
    POSITION_DIM,
    GlimpseEncoder,
    SpriteDecoder,
    corrected,
    embed_position,
    read_position,
)
from cjepa.tokenizers.slots.starts import Start, fade
from cjepa.types import Tokens

_FOREGROUND_DIFFERENCE = 0.08
_GAIN = 4.0  # differences are small numbers; brings them to about unit size, which shortens the first minute


class SlotMemory(NamedTuple):
    """What slots carry from frame to frame."""

    state: SlotState
    glimpsed_BSC: Tensor
    """What a glimpse told of each object when it was last in view: content and correction."""


class Slots(NamedTuple):
    """What is known of the objects in frames, before it is packed into tokens."""

    content_BTSC: Tensor
    position_BTS2: Tensor
    """Of the object, not of what is seen of it; so is the scale."""
    scale_BTS1: Tensor
    seen_BTS1: Tensor
    """How much of the object is in view, in [0, 1]."""
    alive_BTS1: Tensor
    """1 for a slot that has an object, in view or remembered."""
    attention_BTSL: Tensor
    """Which slot owns a cell, summing to 1 over S."""
    owned_BTSYX: Tensor
    """Share of each cell of the grid that is a slot's, in [0, 1]."""
    frames_BT: Frame
    """What was looked at; every field has T after B."""
    memory: SlotMemory
    """After the last frame."""


class SlotTokenizer(TrainableTokenizer):
    """Frames to S tokens of content, position and scale.

    A token is ``[content, position embedding, log scale, in view]``, and zero for a slot without an object. The
    position enters as sines and cosines at four wavelengths (see :func:`embed_position`), so that it weighs in the
    squared distance between tokens, which planners use as their cost, as much as what the object looks like. The token
    of an object that is out of view is what was last known, moved on.

    Args:
        start: guesses the slots at the first frame and sets S; its ``slot_dim`` must equal ``channels``.
        content_dim: width of the learned part of a token.
        channels: channels of the encoder.
        hidden_dim: width of the MLPs that read glimpses and draw sprites.
        sprite_side: side of glimpses and sprites in cells; they span five standard deviations of an object.
        iterations: rounds of slot attention at the first frame of a clip.
        later_iterations: rounds at the other frames.
        image_size: side of the square frames in pixels, a multiple of 4.
        foreground_weight: extra weight of foreground pixels in the reconstruction loss, because objects cover only a
            few percent of a frame.
        tolerant_background: ignore small differences from the background: its light, edges that are up to a 32nd of the
            frame away from where they were, noise, compression.

    Raises:
        ValueError: the size is another.
    """

    options_without_effect = ("tolerant_background",)

    def __init__(
        self,
        start: Start,
        content_dim: int = 16,
        channels: int = 32,
        hidden_dim: int = 128,
        sprite_side: int = 16,
        iterations: int = 3,
        later_iterations: int = 2,
        image_size: int = 64,
        foreground_weight: float = 8.0,
        tolerant_background: bool = False,
    ):
        slot_dim = content_dim + POSITION_DIM + 2
        super().__init__(TokenizerInfo(start.num_slots, slot_dim, image_size, revision=4))
        if image_size < ConvEncoder.patch or image_size % ConvEncoder.patch:
            raise ValueError(f"image_size: expected a multiple of {ConvEncoder.patch}, not {image_size}")
        self.start = start
        self.content_dim = content_dim
        self.iterations = iterations
        self.later_iterations = later_iterations
        self.foreground_weight = foreground_weight
        self.encoder = ConvEncoder(channels, in_channels=3)
        self.foreground = Foreground(image_size, self.encoder.patch, tolerant_background)
        self.attention = InvariantSlotAttention(channels, channels)
        self.glimpse = GlimpseEncoder(content_dim, hidden_dim, sprite_side)
        self.decoder = SpriteDecoder(content_dim, hidden_dim, sprite_side)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Channels and side of the feature grid."""
        return self.encoder.channels, self.image_size // self.encoder.patch

    def prepare(self, pixels_B3YX: Tensor) -> None:
        """Take the median of training frames as the background."""
        self.foreground.fit(pixels_B3YX)

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """The encoder's feature grid ``(B, channels, Y / 4, X / 4)``."""
        return self.encoder(_GAIN * self.foreground.unexplained(pixels_B3YX))

    def slots(self, pixels_BT3YX: Tensor, memory: SlotMemory | None = None) -> Slots:
        """Follow the objects through frames: from the memory on, or from the beginning of a clip."""
        batch = len(pixels_BT3YX)
        difference = self.foreground.unexplained(pixels_BT3YX.flatten(0, 1))
        features = rearrange(self.encoder(_GAIN * difference), "n k y x -> n (y x) k")
        looked, cells = self.foreground.look(difference, features)
        frames_BT = Frame(*(rearrange(values, "(b t) ... -> b t ...", b=batch) for values in looked))
        states_BT, attention_BTSL = self._followed(frames_BT, memory and memory.state)
        owned_BTSYX = self._on_grid(attention_BTSL * frames_BT.salience_BL[:, :, None], cells)
        glimpsed_BTSC = self._glimpsed(difference, owned_BTSYX, states_BT, memory and memory.glimpsed_BSC)
        content, correction = glimpsed_BTSC.split([self.content_dim, CORRECTION_DIM], dim=-1)
        position, scale = corrected(states_BT.position_BS2, states_BT.scale_BS1, correction)
        alive = (states_BT.memory_BS1 > 0).float()
        after = SlotMemory(SlotState(*(values[:, -1] for values in states_BT)), glimpsed_BTSC[:, -1])
        seen = states_BT.seen_BS1
        return Slots(content, position, scale, seen, alive, attention_BTSL, owned_BTSYX, frames_BT, after)

    def _followed(self, frames_BT: Frame, before: SlotState | None) -> tuple[SlotState, Tensor]:
        """The slots at each frame, every field with T after B, and the attention ``(B, T, S, L)`` that found them."""
        hidden_BTLK = self.attention.hidden(frames_BT.features_BLK)
        states, attention = [], []
        for t in range(hidden_BTLK.shape[1]):
            frame = Frame(*(values[:, t] for values in frames_BT))
            guess = self.start(before and fade(before), frame)
            iterations = self.later_iterations if before else self.iterations
            found, owner_BSL = self.attention(hidden_BTLK[:, t], frame, guess, iterations)
            before = found.moved_from(before, guess) if before else found
            states.append(before)
            attention.append(owner_BSL)
        return SlotState(*(torch.stack(values, dim=1) for values in zip(*states, strict=True))), torch.stack(
            attention, 1
        )

    def _on_grid(self, owned_BTSL: Tensor, cells_NL: Tensor) -> Tensor:
        """Values of the cells that were looked at, in their places (B, T, S, Y, X); 0 elsewhere."""
        batch, blocks, slots, _ = owned_BTSL.shape
        cells_BTSL = repeat(cells_NL, "(b t) l -> b t s l", b=batch, s=slots)
        grid_BTSG = owned_BTSL.new_zeros(batch, blocks, slots, len(self.foreground.grid_G2))
        return rearrange(
            grid_BTSG.scatter(3, cells_BTSL, owned_BTSL), "b t s (y x) -> b t s y x", y=self.feature_shape[1]
        )

    def _glimpsed(
        self, difference: Tensor, owned_BTSYX: Tensor, states_BT: SlotState, before_BSC: Tensor | None
    ) -> Tensor:
        """What a glimpse tells, or told when the object was last in view: content and correction, (B, T, S, C)."""
        owned = owned_BTSYX.flatten(0, 1)
        position, scale = (values.flatten(0, 1) for values in (states_BT.position_BS2, states_BT.scale_BS1))
        glimpsed = self.glimpse(difference, owned, position, scale).float()
        glimpsed_BTSC = rearrange(glimpsed, "(b t) s c -> b t s c", b=len(owned_BTSYX))
        held = []
        for now_BSC, seen_BS1 in zip(glimpsed_BTSC.unbind(1), states_BT.seen_BS1.unbind(1), strict=True):
            before_BSC = now_BSC if before_BSC is None else torch.lerp(before_BSC, now_BSC, seen_BS1)
            held.append(before_BSC)
        return torch.stack(held, dim=1)

    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """Foreground-weighted reconstruction and coverage; grouping of cells; contrast over time (SlotContrast)."""
        slots = self.slots(pixels_BT3YX)
        frames, opacity = (values.flatten(0, 1) for values in self.decode(self.pack(slots)))
        pixels = pixels_BT3YX.flatten(0, 1)
        looked = Frame(*(values.flatten(0, 1) for values in slots.frames_BT))
        return {
            "reconstruction": self.reconstruction_loss(frames, pixels),
            "coverage": self.coverage_loss(opacity, pixels),
            "grouping": self.foreground.grouping_loss(looked, slots.attention_BTSL.flatten(0, 1)),
            "contrast": slot_contrast(slots.content_BTSC, slots.alive_BTS1[..., 0] > 0),
        }

    def reconstruction_loss(self, frames_B3YX: Tensor, pixels_B3YX: Tensor) -> Tensor:
        """Mean squared error in which pixels that differ from the background weigh more."""
        _, weight = self._foreground(pixels_B3YX)
        return (weight * (frames_B3YX - pixels_B3YX).square()).mean() / weight.mean()

    def coverage_loss(self, opacity_BSYX: Tensor, pixels_B3YX: Tensor) -> Tensor:
        """Squared difference of what slots cover and what differs from the background, with the same weights.

        Reconstruction alone cannot tell a half transparent object from a pale one.
        """
        is_foreground, weight = self._foreground(pixels_B3YX)
        covered = opacity_BSYX.sum(dim=1, keepdim=True)
        return (weight * (covered - is_foreground).square()).mean() / weight.mean()

    def _foreground(self, pixels_B3YX: Tensor) -> tuple[Tensor, Tensor]:
        """Float (B, 1, Y, X): 1 for pixels that differ from the background, and the weight of each."""
        difference = self.foreground.difference(pixels_B3YX).abs().amax(dim=1, keepdim=True)
        weight = 1.0 + self.foreground_weight * (difference > _FOREGROUND_DIFFERENCE)
        return (difference > FULLY_SALIENT).float(), weight

    def pack(self, slots: Slots) -> Tensor:
        """Slots -> tokens ``(B, T, S, D)``."""
        position = embed_position(slots.position_BTS2)
        known = torch.cat([slots.content_BTSC, position, slots.scale_BTS1.log()], dim=-1) * slots.alive_BTS1
        return torch.cat([known, slots.seen_BTS1], dim=-1)

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`."""
        return self.step(pixels_BT3YX)[0]

    def step(
        self, pixels_BT3YX: Tensor, memory: SlotMemory | None = None, hints_BSH: None = None
    ) -> tuple[Tokens, SlotMemory]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`."""
        slots = self.slots(pixels_BT3YX, memory)
        return self.tokens(slots), slots.memory

    def tokens(self, slots: Slots) -> Tokens:
        """What others see of the slots; masks are what slots own, upsampled to pixels."""
        patch = self.encoder.patch
        masks = repeat(slots.owned_BTSYX, "b t s y x -> b t s (y p) (x q)", p=patch, q=patch)
        return Tokens(self.pack(slots), masks, slots.position_BTS2, slots.scale_BTS1 * slots.alive_BTS1)

    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; masks are opacities, and what no slot covers is background."""
        batch = len(slots_BTSD)
        parts = slots_BTSD.flatten(0, 1).split([self.content_dim, POSITION_DIM, 1, 1], dim=-1)
        content, embedding, log_scale, seen = parts
        colour_BS3, shade, logits = self.decoder(content, read_position(embedding), log_scale.exp(), self.image_size)
        logits = logits + seen.clamp(min=1e-4).log()[..., None]
        opacity = torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1).float().softmax(dim=1)[:, :-1]
        drawn = einsum(opacity * shade, colour_BS3.float(), "b s y x, b s c -> b c y x")
        frames = self.foreground.background_3YX + drawn
        return tuple(rearrange(values, "(b t) ... -> b t ...", b=batch) for values in (frames, opacity))
