"""The door between world models and whoever imagines with them: planners, evaluation, reports.

```
clip (what was seen)  --observe-->  state  --step(action)-->  state  ...      one block at a time
                                    state  --rollout(actions)-->  Rollout     H blocks at once
```
What a state is, only its model knows: a window of tokens, a key/value cache, a recurrent state. Whoever imagines may
take rows of a state, each as often as there are candidates for it, see :func:`take_rows`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from cjepa.types import Clip, Predicted, Rollout

Rows = TypeVar("Rows", bound=NamedTuple)
"""A NamedTuple of tensors whose first axis is the batch: a Clip, a Rollout, the state of a model."""


class Dynamics(nn.Module, ABC):
    """Predicts tokens and proprioception from what was seen and the actions to come.

    Clips and actions come in the units of tokenizer and environment. Rollouts are in the model's own, normalised units,
    in which distances count; :meth:`normalise` takes a goal there, :meth:`denormalise` takes a rollout back.

    No method switches gradients off: gradient planners need those of a rollout.

    Subclasses set ``token_dim`` (D), ``proprio_dim`` (P), ``action_dim`` (A) and ``history_blocks``, the longest clip
    that :meth:`observe` makes use of. A width of 0 means that the model has no such entity.
    """

    token_dim: int
    proprio_dim: int
    action_dim: int
    history_blocks: int

    @abstractmethod
    def normalise(self, clip: Clip) -> Clip:
        """Tokenizer's and environment's units -> the model's; an entity that it does not have gets a width of 0."""

    @abstractmethod
    def denormalise(self, rollout: Rollout) -> Rollout:
        """The model's units -> those of tokenizer and environment."""

    @abstractmethod
    def observe(self, clip: Clip) -> NamedTuple:
        """The state after the last frame of a clip.

        Args:
            clip: T blocks, 1 or more; the actions of its last block have not been chosen yet and are not read.

        Returns:
            A NamedTuple of tensors, batch first.
        """

    @abstractmethod
    def step(self, state: NamedTuple, actions_BA: Tensor) -> NamedTuple:
        """The state one block later; actions in the environment's units."""

    @abstractmethod
    def predicted(self, state: NamedTuple) -> Predicted:
        """What is predicted for a state's present block, in the model's units."""

    def sources(self, state: NamedTuple, actions_BA: Tensor) -> Tensor | None:
        """Which entities the block after a state is computed from, see :meth:`Predictor.sources`; None: unknown."""
        return None

    def describe_uncertainty(self) -> list[str]:
        """What its predictions say of their own errors, for ``run.json``."""
        return []

    def rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout:
        """Predict the H blocks that follow a state, in the model's units; actions in the environment's.

        A model that predicts several blocks in one pass overrides this.
        """
        predictions = []
        for actions_BA in actions_BHA.unbind(1):
            state = self.step(state, actions_BA)
            predictions.append(self.predicted(state))
        return in_a_row(predictions)


def in_a_row(predictions: Sequence[Predicted]) -> Rollout:
    """Predictions of H blocks in order, 1 or more, as a rollout."""
    parts = zip(*predictions, strict=True)
    return Rollout(*(None if blocks[0] is None else torch.stack(blocks, dim=1) for blocks in parts))


class ClipParts(NamedTuple):
    """A clip as a model takes it: what it sees, what is done then, and what followed."""

    history: Clip
    """The first ``history_blocks``, in the tokenizer's and the environment's units."""
    actions_BHA: Tensor
    """From the last block of the history on, likewise."""
    followed: Rollout
    """The other blocks, in the model's units."""


def split_clip(dynamics: Dynamics, clip: Clip) -> ClipParts:
    """A clip of more than ``history_blocks`` blocks in its parts."""
    history = dynamics.history_blocks
    followed = dynamics.normalise(clip.blocks(history))
    return ClipParts(
        clip.blocks(0, history),
        clip.actions_BTA[:, history - 1 : -1],
        Rollout(followed.tokens_BTSD, followed.proprio_BTP),
    )


def rollout_clip(dynamics: Dynamics, clip: Clip) -> tuple[Rollout, Rollout]:
    """Roll out all blocks of a clip after its first ``history_blocks``.

    Args:
        dynamics: the model.
        clip: in the tokenizer's and the environment's units, longer than the history.

    Returns:
        What the model predicts and what followed, both in the model's units.
    """
    history, actions_BHA, followed = split_clip(dynamics, clip)
    return dynamics.rollout(dynamics.observe(history), actions_BHA), followed


def copied_clip(dynamics: Dynamics, clip: Clip) -> Rollout:
    """What copying predicts for every block of :func:`rollout_clip`: the frame before, H = 1, in the model's units."""
    history = dynamics.history_blocks
    last = dynamics.normalise(clip.blocks(history - 1, history))
    return Rollout(last.tokens_BTSD, last.proprio_BTP)


def take_rows(rows: Rows, part: slice | Tensor) -> Rows:
    """Some rows, by a slice or by indices, which may repeat; what is None stays so."""
    return type(rows)(*(None if values is None else values[part] for values in rows))
