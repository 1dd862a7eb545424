"""What an agent has seen of its environments, as tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.tokenizers.base import Memory, Tokenizer
from cjepa.tokenizers.encode import step_clips
from cjepa.types import VideoBatch


class Observation(NamedTuple):
    """What can be seen of a batch of environments at one moment, or of the goals that they should reach."""

    pixels_BYXC: np.ndarray
    objects_BOF: np.ndarray
    """The simulator's own account of the bodies; only oracle tokenizers may look."""
    proprio_BP: np.ndarray
    state_BF: np.ndarray
    """Simulator states; only the simulator's own planner may look."""
    sentences_B: tuple[str, ...] | None = None
    """Of goals: what should be true, of which the rest shows one case of many. None: the goal is what is shown."""

    @property
    def shown(self) -> tuple[np.ndarray, ...]:
        """All but the sentences, as arrays of one row an environment."""
        return self[:4]

    def first(self, rows: int) -> "Observation":
        """Of the first so many environments."""
        return self.at(range(rows))

    def at(self, rows: Sequence[int]) -> "Observation":
        """Of some environments."""
        sentences = None if self.sentences_B is None else tuple(self.sentences_B[row] for row in rows)
        return Observation(*(values[list(rows)] for values in self.shown), sentences)


class Perception:
    """Tokens of the frames that were seen, and of the goal by the same slots.

    Args:
        tokenizer: in eval mode.
        history_blocks: frames to give to the model, one per block. With 1 every frame is tokenized on its own, with
            more the tokenizer sees all frames since the last reset: a slot then remembers an object that is hidden now.
    """

    def __init__(self, tokenizer: Tokenizer, history_blocks: int):
        self.tokenizer = tokenizer
        self.history_blocks = history_blocks
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._now: Observation | None = None
        self._memory: Memory = None
        self._past: list[Tensor] = []

    def see(self, now: Observation) -> None:
        """One more frame, a block after the last one."""
        if self._now is not None and self.history_blocks > 1:
            tokens_B1SD, self._memory = step_clips(self.tokenizer, clip_of(self._now), self._memory)
            self._past = [*self._past, tokens_B1SD][1 - self.history_blocks :]
        self._now = now

    def tokens(self, goal: Observation) -> tuple[Tensor, Tensor]:
        """Tokens of the last T <= ``history_blocks`` frames ``(B, T, S, D)``, and of the goal ``(B, S, D)``."""
        # the goal is the frame after this one: its slot s is then the object that slot s is now
        tokens_B2SD, _ = step_clips(self.tokenizer, clip_of(self._now, goal), self._memory)
        tokens_BTSD = torch.cat([*self._past, tokens_B2SD[:, :1]], dim=1)
        return tokens_BTSD, tokens_B2SD[:, 1].clone()  # tensors of inference mode take no part in gradients


def clip_of(*seen: Observation) -> VideoBatch:
    """Moments in order as clips for a tokenizer, ``(B, T, ...)``."""
    pixels, objects = (
        torch.from_numpy(np.stack([getattr(observation, name) for observation in seen], axis=1))
        for name in ("pixels_BYXC", "objects_BOF")
    )
    return VideoBatch(pixels, objects_BTOF=objects)
