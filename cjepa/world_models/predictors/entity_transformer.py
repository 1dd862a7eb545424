"""C-JEPA's predictor: a transformer over entities."""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.transformer import Block


class EntityTransformer(Predictor):
    """C-JEPA's predictor: a bidirectional transformer over objects, proprioception and actions as entities.

    ```
    block:    0        1        ...  T-1      T (next)
    objects   anchor   token/query   ...      query      query = mask token + W anchor + time embedding
    proprio   token    token         token    query
    action    token    token         token    -
    ```
    Objects carry no slot embedding, so the predictor is equivariant to their order (C-JEPA, section 3). Unlike the
    paper's, the head predicts a change: of hidden history from the anchor, of the next block from the last token of the
    same object (the anchor where that is hidden). Training then starts from persistence instead of from zero.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: width of the transformer.
        depth: blocks.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        dropout: in every block.
        num_positions: 0, or the number of patch tokens: adds a learned embedding per token index, which patches need
            since nothing else says where they are.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_dim: int = 512,
        dropout: float = 0.1,
        num_positions: int = 0,
    ):
        super().__init__()
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.embed_token = nn.Linear(token_dim, dim)
        self.embed_anchor = nn.Linear(token_dim, dim)
        self.embed_proprio = nn.Linear(proprio_dim, dim) if proprio_dim else None
        self.embed_action = nn.Linear(action_dim, dim) if action_dim else None
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.proprio_query = nn.Parameter(torch.randn(dim) * 0.02) if proprio_dim else None
        self.time_embedding = nn.Parameter(torch.randn(history_blocks + 1, dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(num_positions, dim) * 0.02) if num_positions else None
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        for head in filter(None, (self.token_head, self.proprio_head)):  # untrained, the model says: nothing changes
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        parts = [rearrange(self._objects(tokens_BTSD, mask_BTS), "b t s d -> b (t s) d")]
        if self.embed_proprio is not None:
            parts.append(self._proprio(proprio_BTP, hidden_BT1))
        if self.embed_action is not None:
            parts.append(self.embed_action(actions_BTA) + self.time_embedding[:blocks])
        entities = torch.cat(parts, dim=1)
        for block in self.blocks:
            entities = block(entities)
        entities = self.norm(entities)
        cells = (blocks + 1) * slots
        changes = rearrange(self.token_head(entities[:, :cells]), "b (t s) d -> b t s d", s=slots)
        tokens = self._last_visible(tokens_BTSD, mask_BTS) + changes
        proprio_B1P = torch.where(hidden_BT1[:, -1:], proprio_BTP[:, :1], proprio_BTP[:, -1:])
        if self.proprio_head is not None:
            proprio_B1P = proprio_B1P + self.proprio_head(entities[:, cells + blocks :][:, :1])
        return Prediction(tokens[:, :-1], tokens[:, -1:], proprio_B1P)

    def _objects(self, tokens_BTSD: Tensor, mask_BTS: Tensor) -> Tensor:
        """Embedded objects at blocks 0..T: tokens where visible, queries where hidden and at the next block."""
        blocks = tokens_BTSD.shape[1]
        query_B1SD = self.mask_token + self.embed_anchor(tokens_BTSD[:, :1])
        seen = torch.where(mask_BTS[..., None], query_B1SD, self.embed_token(tokens_BTSD))
        objects = torch.cat([seen, query_B1SD], dim=1) + self.time_embedding[: blocks + 1, None]
        return objects if self.position_embedding is None else objects + self.position_embedding

    def _proprio(self, proprio_BTP: Tensor, hidden_BT1: Tensor) -> Tensor:
        """Embedded proprioception at blocks 0..T: a query where hidden and at the next block."""
        query = repeat(self.proprio_query, "d -> b 1 d", b=len(proprio_BTP))
        seen = torch.where(hidden_BT1, query, self.embed_proprio(proprio_BTP))
        return torch.cat([seen, query.to(seen.dtype)], dim=1) + self.time_embedding[: proprio_BTP.shape[1] + 1]

    @staticmethod
    def _last_visible(tokens_BTSD: Tensor, mask_BTS: Tensor) -> Tensor:
        """For every cell of blocks 0..T the token that its prediction starts from; hidden cells are never read."""
        anchor_B1SD = tokens_BTSD[:, :1]
        history = torch.where(mask_BTS[..., None], anchor_B1SD, tokens_BTSD)
        return torch.cat([anchor_B1SD.expand_as(tokens_BTSD), history[:, -1:]], dim=1)
