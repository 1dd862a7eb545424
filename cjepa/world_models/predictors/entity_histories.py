"""What predictors share whose entities each hold a whole history: one vector per object, and one of proprioception.

File letters: W width of an entity; E entities, the objects and then proprioception; V values of all blocks' actions.
"""

from abc import abstractmethod

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.world_models.masks import anchored, split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, start_at_zero


class EntityHistories(Predictor):
    """Predicts the change of each entity from all of them; subclasses say how entities act on each other.

    An entity is its values in up to ``history_blocks`` blocks, 0 where something is hidden or before the first frame,
    and whether each block was visible. Subclasses call :meth:`add_heads` at the end of their ``__init__``.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: W.
    """

    def __init__(self, token_dim: int, proprio_dim: int, action_dim: int, history_blocks: int, dim: int):
        super().__init__()
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.embed_object = nn.Linear(history_blocks * (token_dim + 1), dim)
        self.embed_proprio = nn.Linear(history_blocks * (proprio_dim + 1), dim) if proprio_dim else None

    def add_heads(self, dim: int) -> None:
        """Add what reads the change of every block from an entity; untrained, nothing changes."""
        self.token_head = nn.Linear(dim, self.history_blocks * self.token_dim)
        self.proprio_head = nn.Linear(dim, self.proprio_dim) if self.proprio_dim else None
        start_at_zero(self.token_head, self.proprio_head)

    @abstractmethod
    def moved(self, entities_BEW: Tensor, action_BV: Tensor) -> Tensor:
        """The entities after they have acted on each other.

        Args:
            entities_BEW: embedded histories.
            action_BV: of all ``history_blocks``, 0 before the first frame.
        """

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        known_BTSD, known_BTP = anchored(tokens_BTSD, proprio_BTP, mask_BTE)
        entities_BEW = self.embed_object(self._history(known_BTSD, mask_BTS[..., None]))
        if self.embed_proprio is not None:
            proprio_B1V = self._history(known_BTP[:, :, None], hidden_BT1[..., None])
            entities_BEW = torch.cat([entities_BEW, self.embed_proprio(proprio_B1V)], dim=1)
        moved_BEW = self.moved(entities_BEW, pad(actions_BTA, (0, 0, self.history_blocks - blocks, 0)).flatten(1))
        change_BTSD = rearrange(self.token_head(moved_BEW[:, :slots]), "b s (t d) -> b t s d", d=self.token_dim)
        anchor_B1SD, past_BTSD = tokens_BTSD[:, :1], change_BTSD[:, self.history_blocks - blocks : -1]
        history_BTSD = torch.cat([anchor_B1SD, anchor_B1SD + past_BTSD], dim=1)
        proprio_B1P = known_BTP[:, -1:]
        if self.proprio_head is not None:
            proprio_B1P = proprio_B1P + self.proprio_head(moved_BEW[:, slots:])
        return Prediction(history_BTSD, known_BTSD[:, -1:] + change_BTSD[:, -1:], proprio_B1P)

    def _history(self, values_BTED: Tensor, hidden_BTE1: Tensor) -> Tensor:
        """All blocks of each entity as one vector."""
        seen = torch.cat([values_BTED.masked_fill(hidden_BTE1, 0), (~hidden_BTE1).to(values_BTED.dtype)], dim=-1)
        before = self.history_blocks - values_BTED.shape[1]
        return rearrange(pad(seen, (0, 0, 0, 0, before, 0)), "b t e d -> b e (t d)")
