"""Latent interventions: what a world model is told of the past of some objects is changed, and it imagines again.

```python
shifted = imagine(dynamics, history, actions_BHA, Shift(2, torch.tensor([40.0, 0.0]), place))
shifted.changed.tokens_BHSD - shifted.factual.tokens_BHSD  # what the model says that this changes
```
Histories and actions come in the units of tokenizer and environment, rollouts go in the model's own, see
:class:`~cjepa.world_models.dynamics.Dynamics`.

File letter: K objects of a sample that are changed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.errors import UserError
from cjepa.interventions.quantities import Quantity
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.model import PredictorDynamics

_TINY = 1e-12

Slots = int | Sequence[int] | Tensor
"""Which objects: one or several, the same in every sample; a tensor has one per sample ``(B,)`` or K ``(B, K)``."""


class Imagined(NamedTuple):
    """Two futures of the same history."""

    factual: Rollout
    """Without the intervention."""
    changed: Rollout
    """With it; tokens of removed objects are NaN."""


class LatentIntervention(ABC):
    """A change of the history of some objects.

    Args:
        slots: which objects.
    """

    def __init__(self, slots: Slots):
        self.slots = slots

    @abstractmethod
    def edit(self, tokens_BTSD: Tensor) -> Tensor:
        """The history as the model is to see it; a changed copy."""

    def rollout(self, dynamics: Dynamics, history: Clip, actions_BHA: Tensor) -> Rollout:
        """The future that follows, H blocks.

        Args:
            dynamics: that imagines.
            history: T blocks; the actions of the last one are not read.
            actions_BHA: of the last block of the history, and of the H - 1 blocks after it.

        Raises:
            UserError: this intervention is not possible in this model.
        """
        return dynamics.rollout(dynamics.observe(self._edited(history)), actions_BHA)

    def _edited(self, history: Clip) -> Clip:
        return history._replace(tokens_BTSD=self.edit(history.tokens_BTSD))

    def _slots(self, tokens_BTSD: Tensor) -> Tensor:
        """Indices, checked.

        Raises:
            UserError: there is no such object, or the tensor is of another batch.
        """
        batch, _, count, _ = tokens_BTSD.shape
        slots = torch.as_tensor(self.slots, dtype=torch.long, device=tokens_BTSD.device)
        per_sample = isinstance(self.slots, Tensor) and slots.ndim > 0
        slots_BK = slots.reshape(len(slots), -1) if per_sample else slots.reshape(1, -1).expand(batch, -1)
        if len(slots_BK) != batch or slots_BK.numel() and not 0 <= int(slots_BK.min()) <= int(slots_BK.max()) < count:
            raise UserError(
                f"{type(self).__name__}: slots {slots.tolist()}, expected 0..{count - 1}, one object or one row for "
                f"each of {batch} samples"
            )
        return slots_BK


def imagine(dynamics: Dynamics, history: Clip, actions_BHA: Tensor, intervention: LatentIntervention) -> Imagined:
    """What a model predicts without and with an intervention; see :meth:`LatentIntervention.rollout`."""
    factual = dynamics.rollout(dynamics.observe(history), actions_BHA)
    return Imagined(factual, intervention.rollout(dynamics, history, actions_BHA))


class Mask(LatentIntervention):
    """Hides the whole history of objects but their first block, the identity anchor: the intervention of training."""

    def edit(self, tokens_BTSD: Tensor) -> Tensor:
        """Nothing changes: what is hidden is never read."""
        return tokens_BTSD

    def rollout(self, dynamics: Dynamics, history: Clip, actions_BHA: Tensor) -> Rollout:
        """See :class:`LatentIntervention`.

        Raises:
            UserError: the model has no masks, or sees a single block, of which nothing can be hidden.
        """
        if not isinstance(dynamics, PredictorDynamics):
            raise UserError(f"Mask: {type(dynamics).__name__} takes no masks; remove the object instead")
        seen = history.blocks(-dynamics.history_blocks)
        blocks = seen.tokens_BTSD.shape[1]
        if blocks < 2:
            raise UserError("Mask: the history has one block, the identity anchor; remove the object instead")
        actions_BTA = torch.cat([seen.actions_BTA[:, :-1], actions_BHA, actions_BHA[:, -1:]], dim=1)
        prediction = dynamics(dynamics.normalise(seen._replace(actions_BTA=actions_BTA)), self.hidden(seen.tokens_BTSD))
        return Rollout(prediction.future_BFSD, prediction.proprio_BFP)

    def hidden(self, tokens_BTSD: Tensor) -> Tensor:
        """Bool ``(B, T, S)``, True = hidden."""
        hidden_BTS = torch.zeros_like(tokens_BTSD[..., 0], dtype=torch.bool)
        slots_BK = self._slots(tokens_BTSD)
        hidden_BTS[:, 1:] = torch.zeros_like(hidden_BTS[:, 0]).scatter(1, slots_BK, True)[:, None]
        return hidden_BTS


class Remove(LatentIntervention):
    """Gives the model no token of the objects at all."""

    def edit(self, tokens_BTSD: Tensor) -> Tensor:
        """``(B, T, S - K, D)``."""
        return _taken(tokens_BTSD, self._kept(tokens_BTSD))

    def rollout(self, dynamics: Dynamics, history: Clip, actions_BHA: Tensor) -> Rollout:
        """See :class:`LatentIntervention`; the other objects keep their index."""
        try:
            rest = super().rollout(dynamics, history, actions_BHA)
        except ValueError as error:  # of a model of a fixed number of objects, also of a user's own
            raise UserError(f"Remove: {error}; replace the object by an empty slot instead") from error
        kept_BK, shape = self._kept(history.tokens_BTSD), (*rest.tokens_BHSD.shape[:2], *history.tokens_BTSD.shape[2:])
        tokens_BHSD = _put(rest.tokens_BHSD.new_full(shape, torch.nan), kept_BK, rest.tokens_BHSD)
        disagreement_BHS = rest.disagreement_BHS
        if disagreement_BHS is not None:
            unknown_BHS1 = disagreement_BHS.new_full((*shape[:3], 1), torch.nan)
            disagreement_BHS = _put(unknown_BHS1, kept_BK, disagreement_BHS[..., None])[..., 0]
        return Rollout(tokens_BHSD, rest.proprio_BHP, disagreement_BHS)

    def _kept(self, tokens_BTSD: Tensor) -> Tensor:
        slots_BK = self._slots(tokens_BTSD)
        kept_BS = torch.ones_like(tokens_BTSD[:, 0, :, 0], dtype=torch.bool).scatter(1, slots_BK, False)
        counts = kept_BS.sum(dim=1)
        if not len(counts) or not 0 < int(counts.min()) == int(counts.max()):
            raise UserError("Remove: expected as many objects of every sample, and at least one that stays")
        return kept_BS.nonzero()[:, 1].reshape(len(kept_BS), -1)


class ObjectEdit(LatentIntervention):
    """Changes the tokens of the objects and of no others."""

    @abstractmethod
    def change(self, tokens_BTKD: Tensor) -> Tensor:
        """The tokens of the changed objects."""

    def edit(self, tokens_BTSD: Tensor) -> Tensor:
        """See :class:`LatentIntervention`."""
        slots_BK = self._slots(tokens_BTSD)
        return _put(tokens_BTSD, slots_BK, self.change(_taken(tokens_BTSD, slots_BK)))


class Replace(ObjectEdit):
    """Puts other tokens in place: those of another scene or time, or that of an empty slot.

    Args:
        slots: which objects.
        tokens: that broadcast to ``(B, T, K, D)``.
    """

    def __init__(self, slots: Slots, tokens: Tensor):
        super().__init__(slots)
        self.tokens = tokens

    def change(self, tokens_BTKD: Tensor) -> Tensor:
        """See :class:`ObjectEdit`."""
        return self.tokens.to(tokens_BTKD).expand_as(tokens_BTKD)


class Shift(ObjectEdit):
    """Moves the whole history of objects sideways.

    Args:
        slots: which objects.
        by: x and y in the environment's units, that broadcast to ``(B, T, K, 2)``.
        place: where tokens hold it.
    """

    def __init__(self, slots: Slots, by: Tensor, place: Quantity):
        super().__init__(slots)
        self.by, self.place = by, place

    def change(self, tokens_BTKD: Tensor) -> Tensor:
        """See :class:`ObjectEdit`."""
        return self.place.moved(tokens_BTKD, self.by)


class SetVelocity(ObjectEdit):
    """Lets objects have come to where they are in a straight line at another velocity.

    Args:
        slots: which objects.
        velocity: x and y in the environment's units per second, that broadcast to ``(B, T, K, 2)``.
        block_seconds: duration of a block.
        place: where tokens hold it; None if only ``held`` is to change.
        held: where a token itself holds a velocity; None where only the change from block to block tells it.
    """

    def __init__(
        self, slots: Slots, velocity: Tensor, block_seconds: float, place: Quantity | None, held: Quantity | None = None
    ):
        super().__init__(slots)
        self.velocity, self.block_seconds, self.place, self.held = velocity, block_seconds, place, held

    def change(self, tokens_BTKD: Tensor) -> Tensor:
        """See :class:`ObjectEdit`."""
        blocks, velocity = tokens_BTKD.shape[1], self.velocity.to(tokens_BTKD)
        if self.place is not None:
            seconds_T11 = self.block_seconds * torch.arange(1 - blocks, 1, device=tokens_BTKD.device)[:, None, None]
            last_B1K2 = self.place.read(tokens_BTKD[:, -1:])
            tokens_BTKD = self.place.put(tokens_BTKD, last_B1K2 + seconds_T11 * velocity)
        if self.held is not None:
            tokens_BTKD = self.held.put(tokens_BTKD, velocity.expand(*tokens_BTKD.shape[:-1], 2))
        return tokens_BTKD


class Freeze(ObjectEdit):
    """Holds one object where it is, in the history and through the whole rollout.

    A held object looks like one at rest, so no token tells them apart, and a model that has never seen a held one lets
    others push it. But how two bodies part after they touch depends on how they moved relative to each other, whichever
    of them can move. So the model imagines the object at rest, and what others then push it by is taken off their own
    places: they are seen from the object. Each other object has a share of the push as large as its share of all that
    changes, in the model's units, if the object is not there. What they do to further objects afterwards stays as
    imagined.

    Args:
        slots: one object of each sample.
        place: where tokens hold it.
        without: asks the model what happens if the object is not there.
        held: where a token itself holds a velocity, which becomes 0; None where it holds none.
    """

    def __init__(self, slots: Slots, place: Quantity, without: LatentIntervention, held: Quantity | None = None):
        super().__init__(slots)
        self.place, self.without, self.held = place, without, held

    def change(self, tokens_BTKD: Tensor) -> Tensor:
        """See :class:`ObjectEdit`."""
        last_B1KD = tokens_BTKD[:, -1:]
        if self.held is not None:
            last_B1KD = self.held.put(last_B1KD, last_B1KD.new_zeros(*last_B1KD.shape[:-1], 2))
        return last_B1KD.expand_as(tokens_BTKD)

    def rollout(self, dynamics: Dynamics, history: Clip, actions_BHA: Tensor) -> Rollout:
        """See :class:`LatentIntervention`.

        Raises:
            UserError: several objects of a sample, or the model cannot do without the object.
        """
        slot_B1 = self._slots(history.tokens_BTSD)
        if slot_B1.shape[1] != 1:
            raise UserError(f"Freeze: {slot_B1.shape[1]} objects of a sample, expected 1")
        pushed = super().rollout(dynamics, history, actions_BHA)
        alone = self.without.rollout(dynamics, history, actions_BHA)
        change_BHS = (pushed.tokens_BHSD - alone.tokens_BHSD).norm(dim=-1)
        change_BHS = change_BHS.scatter(2, slot_B1[:, None].expand(-1, change_BHS.shape[1], -1), 0.0)
        share_BHS1 = (change_BHS / change_BHS.sum(dim=2, keepdim=True).clamp(min=_TINY))[..., None]
        held_B11D = _taken(self._edited(history).tokens_BTSD[:, -1:], slot_B1)
        tokens_BHSD, proprio_BHP, _ = dynamics.denormalise(pushed)
        track_BT12 = self.place.track(torch.cat([held_B11D, _taken(tokens_BHSD, slot_B1)], dim=1))
        push_BH12 = track_BT12[:, 1:] - track_BT12[:, :1]
        tokens_BHSD = self.place.moved(tokens_BHSD, -share_BHS1 * push_BH12)
        tokens_BHSD = _put(tokens_BHSD, slot_B1, held_B11D.expand(-1, tokens_BHSD.shape[1], -1, -1))
        clip = dynamics.normalise(Clip(tokens_BHSD, proprio_BHP, actions_BHA))
        return Rollout(clip.tokens_BTSD, pushed.proprio_BHP, pushed.disagreement_BHS)


def _taken(tokens_BTSD: Tensor, slots_BK: Tensor) -> Tensor:
    """Tokens of some objects, ``(B, T, K, D)``."""
    return tokens_BTSD.take_along_dim(slots_BK[:, None, :, None], dim=2)


def _put(tokens_BTSD: Tensor, slots_BK: Tensor, tokens_BTKD: Tensor) -> Tensor:
    """A copy in which the tokens of some objects are others."""
    index_BTKD = slots_BK[:, None, :, None].expand_as(tokens_BTKD)
    return tokens_BTSD.scatter(2, index_BTKD, tokens_BTKD.to(tokens_BTSD.dtype))
