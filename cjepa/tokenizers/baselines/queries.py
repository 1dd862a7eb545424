"""Learned queries that do not compete: what slot attention would be without its softmax over slots.

File letters: L cells that queries look at, K hidden width.
"""

import torch
from einops import einsum
from torch import Tensor

from cjepa.tokenizers.slots.slot_attention import Frame, InvariantSlotAttention, SlotState, moments, relative_places
from cjepa.tokenizers.slots.starts import Start
from cjepa.tokenizers.slots.tokenizer import Slots, SlotTokenizer
from cjepa.types import Tokens

_NO_SALIENCE = 1e-4  # keeps the mean over a frame without any foreground finite


class QueryAttention(InvariantSlotAttention):
    """:class:`InvariantSlotAttention` with a softmax over cells in place of slots: layers and frames are the same.

    This is plain cross-attention, as in Perceiver (Jaegle et al., 2021) and DETR (Carion et al., 2020): each query
    takes what it wants, whoever else has it. With the competition three more things are gone:

    - that near cells count more: alone it would make what a query sees smaller from round to round;
    - what a slot knew of an object that is out of view: a query always finds something, so it counts as in view at
      every frame, and what it finds replaces its guess altogether;
    - slots that are not in use: every query takes part.
    """

    def forward(
        self,
        hidden_BLK: Tensor,
        frame: Frame,
        guess: SlotState,
        iterations: int,
    ) -> tuple[SlotState, Tensor]:
        """As :class:`InvariantSlotAttention`, but the attention ``(B, S, L)`` has a maximum of 1 over L."""
        content, position, scale = guess.content_BSK, guess.position_BS2, guess.scale_BS1
        log_salience_B1L = (frame.salience_BL + _NO_SALIENCE).log()[:, None]
        for _ in range(iterations):
            relative = relative_places(frame.places_BL2, position, scale)
            hidden_BSLK = torch.relu(hidden_BLK[:, None] + self.relative_to_hidden(relative))
            query = self.to_query(self.norm_slots(content))
            logits = einsum(hidden_BSLK, query, "b s l k, b s k -> b s l").float() * query.shape[-1] ** -0.5
            weights = (logits + log_salience_B1L).softmax(dim=2)
            position, scale = moments(weights, frame.places_BL2)
            pooled = einsum(weights.to(hidden_BSLK.dtype), hidden_BSLK, "b s l, b s l k -> b s k")
            content = self._update(pooled, content).float()
        in_view = torch.ones_like(scale)
        state = SlotState(content, position, scale, guess.motion_BS2, guess.hue_BS3, in_view, in_view)
        return state, (logits - logits.amax(dim=2, keepdim=True)).exp()


class QueryTokenizer(SlotTokenizer):
    """The ablation of :class:`SlotTokenizer` that shows what competition buys: the same but for the attention.

    See :class:`QueryAttention`. Nothing else may bring competition back: there is no grouping loss, which is about who
    owns a cell. What is left of it is the decoder's softmax over sprites. Pixels that several queries attend to are
    shared among them in the masks.

    Args:
        start: see :class:`SlotTokenizer`, as all others; one that gives every slot an object.
    """

    def __init__(self, start: Start, **options):
        super().__init__(start, **options)
        self.info = self.info._replace(revision=self.info.revision + 1)
        self.attention = QueryAttention(self.encoder.channels, self.encoder.channels)

    def tokens(self, slots: Slots) -> Tokens:
        """See :class:`SlotTokenizer`; where queries attend to the same pixel they share it."""
        tokens = super().tokens(slots)
        masks = tokens.masks_BTSYX
        return tokens._replace(masks_BTSYX=masks / masks.sum(dim=2, keepdim=True).clamp(min=1))

    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """Those of :class:`SlotTokenizer` without the grouping of cells."""
        terms = super().loss_terms(pixels_BT3YX)
        return {name: term for name, term in terms.items() if name != "grouping"}
