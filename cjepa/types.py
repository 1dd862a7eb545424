"""Shape legend and the small immutable containers that every folder shares.

| letter | meaning |
|---|---|
| B | batch (environments or clips) |
| T | time in blocks; one block is ``frame_stride`` env steps |
| S | object slots (or patches: whatever stands for "objects") |
| O | bodies of the simulator |
| F | attributes of a body, or values of a whole simulator state |
| E | entities: the S objects, then proprio, then action |
| D | token dimension |
| N | action candidates of a planner, K of them elites |
| H | planning horizon in blocks |
| A | action values of one block: action_dim x frame_stride |
| C, Y, X | channels, height, width of pixels |
| P | proprio values |

Pixels are uint8 ``(..., Y, X, 3)`` on disk and in environments, float ``(..., 3, Y, X)`` in [0, 1]
inside models. A file that needs another letter adds it at its top.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """What a tokenizer makes of a clip: the only thing that world models and planners see."""

    slots_BTSD: Tensor
    """Object tokens, float."""
    masks_BTSYX: Tensor
    """Soft assignment of pixels to tokens in [0, 1]; sums to at most 1 over S (the rest is background)."""
    positions_BTS2: Tensor
    """Centres (x, y) in image coordinates, [-1, 1] within the frame; what has left it may be just outside."""
    scales_BTS1: Tensor
    """Standard deviation of what a token covers, in image coordinates; 0 for a token that covers nothing."""


class VideoBatch(NamedTuple):
    """Clips of pixels for tokenizers; frame t, and the actions that lead from frame t to frame t + 1."""

    pixels_BTYXC: Tensor | None = None
    """uint8; None where nobody looks at them."""
    labels_BTYX: Tensor | None = None
    """uint8 label image of the simulator, 0 = background, for scores and hints; None where there are none."""
    objects_BTOF: Tensor | None = None
    """float32, the simulator's account of the bodies; None where there is none."""
    proprio_BTP: Tensor | None = None
    actions_BTA: Tensor | None = None
    """As in :class:`Clip`."""

    def blocks(self, first: int, end: int | None = None) -> "VideoBatch":
        """See :meth:`Clip.blocks`."""
        return VideoBatch(*(None if values is None else values[:, first:end] for values in self))

    def on(self, device: torch.device | str) -> "VideoBatch":
        """See :meth:`Clip.on`."""
        return VideoBatch(*(None if values is None else values.to(device) for values in self))


class Clip(NamedTuple):
    """A window of blocks: frame t, and the actions that lead from frame t to frame t + 1."""

    tokens_BTSD: Tensor
    proprio_BTP: Tensor
    actions_BTA: Tensor
    """Row t holds the ``frame_stride`` actions taken from frame t on, in time order."""

    def blocks(self, first: int, end: int | None = None) -> "Clip":
        """The blocks from ``first`` on and before ``end``; both may count from the end, as in a slice."""
        return Clip(*(values[:, first:end] for values in self))

    def on(self, device: torch.device | str) -> "Clip":
        """On a device; it is not called ``to``, or Lightning would take a batch for a tensor."""
        return Clip(*(values.to(device) for values in self))


class Predicted(NamedTuple):
    """One predicted block; a :class:`Rollout` is H of them."""

    tokens_BSD: Tensor
    proprio_BP: Tensor
    disagreement_BS: Tensor | None = None


class Rollout(NamedTuple):
    """Predicted futures for blocks 1..H after the context."""

    tokens_BHSD: Tensor
    proprio_BHP: Tensor
    disagreement_BHS: Tensor | None = None
    """Variance over the members of an ensemble, mean over D, in the model's units; None for a model without members."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "Rollout":
        """A rollout of what ``change`` makes of every tensor."""
        return Rollout(*(None if values is None else change(values) for values in self))


class Plan(NamedTuple):
    """The outcome of one planning call."""

    actions_BHA: Tensor
    cost_B: Tensor
    elites_BKHA: Tensor | None = None
    """Other good sequences, best first, for the next search to begin at and for videos; None: none are kept."""

    def cpu(self) -> "Plan":
        """On the CPU."""
        return Plan(*(None if values is None else values.cpu() for values in self))


def to_float_pixels(pixels_YXC: Tensor) -> Tensor:
    """uint8 ``(..., Y, X, 3)`` in [0, 255] -> float32 ``(..., 3, Y, X)`` in [0, 1]."""
    return pixels_YXC.movedim(-1, -3).to(torch.float32).div(255.0)


def to_byte_pixels(pixels_3YX: Tensor) -> Tensor:
    """float ``(..., 3, Y, X)``, clipped to [0, 1] -> uint8 ``(..., Y, X, 3)``."""
    return (pixels_3YX.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1)
