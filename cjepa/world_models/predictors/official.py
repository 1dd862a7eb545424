"""The predictor of the published C-JEPA code, with its formulas: what its released weights need.

File letters: E entities [objects, proprioception, action], I those that are predicted: objects and proprioception; F
blocks that one pass predicts after a history of T; L = T + F; Q predicted blocks that a rollout has not reached yet;
V = T - 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.types import Predicted
from cjepa.world_models.masks import split_mask
from cjepa.world_models.matching import Matching, assignment, take_slots
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes
from cjepa.world_models.predictors.block_causal import ProprioCode


class EmbeddedWindow(NamedTuple):
    """The last blocks of a history, seen or predicted, as the transformer takes them."""

    entities_BTID: Tensor
    actions_BVED: Tensor
    """Embedded actions of the blocks before the last one; E is 0 or 1."""
    ahead_BQID: Tensor
    """Of the blocks after the last one, as the latest pass predicted them."""


class OfficialTransformer(Predictor):
    """C-JEPA's predictor as published (arXiv 2602.11389; github.com/galilai-group/cjepa, commit 1415830).

    ```
    block:    0        1        ...  T-1      T ... T+F-1
    objects   anchor   token/query   ...      query          query = mask token + W anchor + time embedding
    proprio   token    token         token    query          token = value + time embedding
    action    token    token         token    query
    ```
    It differs from :class:`~cjepa.world_models.predictors.entity_transformer.EntityTransformer`: tokens go into the
    transformer as they are, so its width is theirs; attention has no norm before it; the head predicts values, not
    changes; proprioception is predicted as its embedding; one pass predicts F blocks. A history of fewer blocks than
    ``history_blocks`` takes the *last* time embeddings.

    Rollouts feed the predicted embedding of proprioception back. What others read of it is the proprioception whose
    embedding is nearest (least squares), which is exact for an embedding of proprioception.

    Args:
        token_dim: D, also the width of the transformer.
        proprio_dim: P, 0 for no such entity; at most ``token_dim``.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        predict_blocks: F.
        depth: blocks of the transformer.
        num_heads: attention heads; divides ``token_dim``.
        mlp_dim: hidden width of the MLPs.
        dropout: of attention weights and in the MLPs.
        matching: ``hungarian`` puts the objects of each pass of a rollout into the order in which those of its first
            block are closest to those of the last block before it. Training does not reorder.

    Raises:
        ValueError: a size is too small, ``num_heads`` does not divide ``token_dim``, or ``proprio_dim`` is larger.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        predict_blocks: int = 1,
        depth: int = 6,
        num_heads: int = 16,
        mlp_dim: int = 2048,
        dropout: float = 0.1,
        matching: Matching = "index",
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "history_blocks": history_blocks, "predict_blocks": predict_blocks}
        positive |= {"depth": depth, "num_heads": num_heads, "mlp_dim": mlp_dim}
        check_sizes(positive, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        if token_dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of token_dim = {token_dim}")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.predict_blocks = self.pass_blocks = predict_blocks
        self.matching = matching
        self.embed_proprio = ProprioCode(proprio_dim, token_dim) if proprio_dim else None
        self.embed_action = nn.Linear(action_dim, token_dim) if action_dim else None
        self.mask_token = nn.Parameter(torch.zeros(token_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.time_embedding = nn.Parameter(torch.randn(history_blocks + predict_blocks, token_dim))
        self.embed_anchor = nn.Linear(token_dim, token_dim)
        self.blocks = nn.ModuleList(OfficialBlock(token_dim, num_heads, mlp_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(token_dim)
        self.token_head = nn.Linear(token_dim, token_dim)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return self.begin(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)[0]

    def begin(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Prediction, EmbeddedWindow]:
        """See :class:`Predictor`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        hidden_BTI = self.hidden(mask_BTE, slots)
        entities_BTID, actions_BTED = self.embedded(tokens_BTSD, proprio_BTP), self.embedded_actions(actions_BTA)
        predicted_BLID = self.predict(entities_BTID, actions_BTED, hidden_BTI)
        past_BTID, ahead_BFID = predicted_BLID.tensor_split([blocks], dim=1)
        prediction = Prediction(past_BTID[:, :, :slots], ahead_BFID[:, :, :slots], self._proprio(ahead_BFID))
        seen_BTID = torch.where(hidden_BTI[..., None], past_BTID, entities_BTID)
        return prediction, self._advanced(EmbeddedWindow(seen_BTID, actions_BTED, ahead_BFID))

    def hidden(self, mask_BTE: Tensor, slots: int) -> Tensor:
        """The hidden cells of objects and, if there is such an entity, of proprioception: bool ``(B, T, I)``."""
        hidden_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        return hidden_BTS if self.embed_proprio is None else torch.cat([hidden_BTS, hidden_BT1], dim=2)

    def embedded(self, tokens_BTSD: Tensor, proprio_BTP: Tensor) -> Tensor:
        """Objects and proprioception as entities of one width, ``(B, T, I, D)``."""
        if self.embed_proprio is None:
            return tokens_BTSD
        return torch.cat([tokens_BTSD, self.embed_proprio(proprio_BTP)[:, :, None].to(tokens_BTSD.dtype)], dim=2)

    def predict(self, entities_BTID: Tensor, actions_BTED: Tensor, hidden_BTI: Tensor) -> Tensor:
        """One pass: the entities of the history and of the F blocks after it, ``(B, L, I, D)``.

        Args:
            entities_BTID: what ``hidden_BTI`` hides is not read.
            actions_BTED: embedded actions, E is 0 or 1; they are never hidden, and not predicted.
            hidden_BTI: bool, False in the first block.
        """
        blocks, predicted = entities_BTID.shape[1:3]
        known_BTED = torch.cat([entities_BTID, actions_BTED], dim=2)
        hidden_BTE = pad(hidden_BTI, (0, actions_BTED.shape[2]))
        time_L1D = self.time_embedding[-(blocks + self.predict_blocks) :, None]
        query_BLED = self.mask_token + time_L1D + self.embed_anchor(known_BTED[:, :1])
        seen_BTED = torch.where(hidden_BTE[..., None], query_BLED[:, :blocks], known_BTED + time_L1D[:blocks])
        grid_BLED = torch.cat([seen_BTED, query_BLED[:, blocks:]], dim=1)
        cells = grid_BLED.flatten(1, 2)
        for block in self.blocks:
            cells = block(cells)
        return self.token_head(self.norm(cells)).unflatten(1, grid_BLED.shape[1:3])[:, :, :predicted]

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> EmbeddedWindow:
        """See :class:`Predictor`."""
        entities_BTID = self.embedded(tokens_BTSD, proprio_BTP)
        return EmbeddedWindow(entities_BTID, self.embedded_actions(actions_BVA), entities_BTID[:, :0])

    def step(self, state: EmbeddedWindow, actions_BA: Tensor) -> EmbeddedWindow:
        """See :class:`Predictor`; a new pass where the latest one does not reach."""
        actions_BTED = torch.cat([state.actions_BVED, self.embedded_actions(actions_BA[:, None])], dim=1)
        state = state._replace(actions_BVED=actions_BTED)
        if not state.ahead_BQID.shape[1]:
            visible_BTI = torch.zeros(state.entities_BTID.shape[:3], dtype=torch.bool, device=actions_BA.device)
            predicted_BLID = self.predict(state.entities_BTID, actions_BTED, visible_BTI)
            ahead_BFID = predicted_BLID[:, visible_BTI.shape[1] :]
            state = state._replace(ahead_BQID=self._in_order(ahead_BFID, state.entities_BTID[:, -1]))
        return self._advanced(state)

    def predicted(self, state: EmbeddedWindow) -> Predicted:
        """See :class:`Predictor`."""
        last_B1ID = state.entities_BTID[:, -1:]
        return Predicted(last_B1ID[:, 0, : self._slots(last_B1ID)], self._proprio(last_B1ID)[:, 0])

    def _advanced(self, state: EmbeddedWindow) -> EmbeddedWindow:
        """A window with as many actions as blocks, one block later."""
        entities = torch.cat([state.entities_BTID, state.ahead_BQID[:, :1].to(state.entities_BTID.dtype)], dim=1)
        first = max(0, entities.shape[1] - self.history_blocks)
        return EmbeddedWindow(entities[:, first:], state.actions_BVED[:, first:], state.ahead_BQID[:, 1:])

    def _in_order(self, ahead_BFID: Tensor, last_BID: Tensor) -> Tensor:
        """Predicted objects in the order of those of the last block, see ``matching``."""
        if self.matching == "index":
            return ahead_BFID
        slots = self._slots(ahead_BFID)
        objects, others = ahead_BFID.tensor_split([slots], dim=2)
        difference = last_BID[:, :slots, None] - objects[:, 0, None]
        order_BS = assignment(difference.detach().float().square().mean(dim=-1))
        return torch.cat([take_slots(objects, order_BS[:, None].expand(objects.shape[:3])), others], dim=2)

    def _slots(self, entities_BTID: Tensor) -> int:
        return entities_BTID.shape[2] - (self.embed_proprio is not None)

    def embedded_actions(self, actions_BTA: Tensor) -> Tensor:
        """As entities: ``(B, T, 1, D)``, or ``(B, T, 0, D)`` where nobody acts."""
        if self.embed_action is None:
            return actions_BTA.new_zeros(*actions_BTA.shape[:2], 0, self.token_dim)
        return self.embed_action(actions_BTA)[:, :, None]

    def _proprio(self, entities_BTID: Tensor) -> Tensor:
        """The proprioception ``(B, T, P)`` whose embedding is nearest to that among the entities."""
        if self.embed_proprio is None:
            return entities_BTID.new_zeros(*entities_BTID.shape[:2], 0)
        return self.embed_proprio.decode(entities_BTID[:, :, -1])


class OfficialBlock(nn.Module):
    """``x = x + attention(x); x = x + mlp(norm(x))``: no norm before attention.

    Args:
        dim: token width.
        num_heads: of the attention; divides ``dim``.
        mlp_dim: hidden width of the MLP.
        dropout: of attention weights, and after both layers of the MLP.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        layers = nn.Linear(dim, mlp_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim), nn.Dropout(dropout)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), *layers)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """``(B, L, dim)`` to the same shape."""
        tokens_BLD = tokens_BLD + self.attention(tokens_BLD, tokens_BLD, tokens_BLD, need_weights=False)[0]
        return tokens_BLD + self.mlp(tokens_BLD)
