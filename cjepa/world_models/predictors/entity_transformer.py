"""C-JEPA's predictor: a transformer over entities.

File letters: E entities of a block; L all of them, those of the next block last.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.world_models.masks import split_mask
from cjepa.world_models.matching import Matching, reordered
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes, start_at_zero
from cjepa.world_models.transformer import Block, rotary_angles

Conditioning = Literal["entities", "concatenated"]
Time = Literal["learned", "rotary"]


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
        num_positions: 0, or the number of tokens of a block: adds a learned embedding per token index. Patches need it,
            since nothing else says where they are, and so do objects without an anchor.
        anchor: whether queries know the object's first token. Without it a hidden object is predicted from nothing but
            its index, see ``num_positions``, and what it changes from is 0, the mean token.
        conditioning: ``entities`` of their own for proprioception and actions, as in C-JEPA, or ``concatenated`` to
            every object's token, as in OC-DINO-WM. The next block's proprioception is then read from all objects.
        time: ``learned`` embeddings of the blocks of a history, or ``rotary`` ones, which know distances alone.
        matching: ``hungarian`` puts the next block's objects into the order in which they are closest to those of the
            last block, as the published code's rollout does.
        stop_gradient: whether the loss of a block leaves the blocks alone that were predicted before it and fed back.

    Raises:
        ValueError: a size is too small, ``num_heads`` does not divide ``dim``, or time is rotary and a head's width,
            ``dim / num_heads``, is odd.
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
        anchor: bool = True,
        conditioning: Conditioning = "entities",
        time: Time = "learned",
        matching: Matching = "index",
        stop_gradient: bool = False,
    ):
        super().__init__()
        check_sizes(
            {
                "token_dim": token_dim,
                "history_blocks": history_blocks,
                "dim": dim,
                "depth": depth,
                "num_heads": num_heads,
                "mlp_dim": mlp_dim,
            },
            {"proprio_dim": proprio_dim, "action_dim": action_dim, "num_positions": num_positions},
        )
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim = {dim}")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.num_tokens = num_positions or None
        self.head_width = dim // num_heads
        if time == "rotary" and self.head_width % 2:
            raise ValueError(f"time: rotary needs an even dim / num_heads, not {dim} / {num_heads}")
        self.conditioning = conditioning
        self.matching = matching
        self.stop_gradient = stop_gradient
        self.embed_token = nn.Linear(token_dim, dim)
        self.embed_anchor = nn.Linear(token_dim, dim) if anchor else None
        self.embed_proprio = nn.Linear(proprio_dim, dim) if proprio_dim else None
        self.embed_action = nn.Linear(action_dim, dim) if action_dim else None
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.proprio_query = nn.Parameter(torch.randn(dim) * 0.02) if proprio_dim else None
        self.time_embedding = nn.Parameter(torch.randn(history_blocks + 1, dim) * 0.02) if time == "learned" else None
        self.position_embedding = nn.Parameter(torch.randn(num_positions, dim) * 0.02) if num_positions else None
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        start_at_zero(self.token_head, self.proprio_head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        anchor_B1SD = tokens_BTSD[:, :1]
        entities, angles_LR, _ = self._before_blocks(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        for block in self.blocks:
            entities = block(entities, angles_LR=angles_LR)
        return self.prediction(entities, anchor_B1SD, tokens_BTSD, proprio_BTP, mask_BTE)

    def following(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`; the last block computes the queries alone, which see everything before it."""
        entities, angles_LR, queries = self._before_blocks(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        for block in self.blocks[:-1]:
            entities = block(entities, angles_LR=angles_LR)
        future = self.norm(self.blocks[-1](entities, angles_LR=angles_LR, needed=queries))
        return Prediction(tokens_BTSD, *self._future(future, tokens_BTSD[:, -1], proprio_BTP[:, -1:]))

    def _before_blocks(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Tensor, Tensor | None, int]:
        """All entities ``(B, L, dim)``, their angles if time is rotary, and how many queries come last."""
        history, queries = self.entities(tokens_BTSD[:, :1], tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        angles_LR = None
        if self.time_embedding is None:
            angles_LR = rotary_angles(times(history, queries), self.head_width)
        return torch.cat([history.flatten(1, 2), queries], dim=1), angles_LR, queries.shape[1]

    def entities(
        self, anchor_B1SD: Tensor, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What goes into the transformer: entities of the history, ``(B, T, E, dim)``, and queries of the next block.

        The other arguments than the anchors are those of :meth:`forward`.

        Raises:
            UserError: there are more or fewer tokens in a block than ``num_positions``.
        """
        blocks, slots = tokens_BTSD.shape[1:3]
        self.check_tokens(slots)
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        query = self.mask_token if self.embed_anchor is None else self.mask_token + self.embed_anchor(anchor_B1SD)
        seen = self.embed_token(tokens_BTSD)
        next_objects = query.expand_as(seen[:, :1])
        objects = torch.where(mask_BTS[..., None], query, seen)
        if self.position_embedding is not None:
            objects, next_objects = objects + self.position_embedding, next_objects + self.position_embedding
        others, next_others = [], []
        if self.embed_proprio is not None:
            proprio = torch.where(hidden_BT1, self.proprio_query, self.embed_proprio(proprio_BTP))
            others.append(proprio[:, :, None])
            next_others.append(self.proprio_query.expand_as(others[-1][:, :1]))
        if self.embed_action is not None:
            others.append(self.embed_action(actions_BTA)[:, :, None])
        history, queries = self._joined(objects, others), self._joined(next_objects, next_others)[:, 0]
        if self.time_embedding is not None:
            history = history + self.time_embedding[:blocks, None]
            queries = queries + self.time_embedding[blocks]
        return history, queries

    def prediction(
        self, entities_BLD: Tensor, anchor_B1SD: Tensor, tokens_BTSD: Tensor, proprio_BTP: Tensor, mask_BTE: Tensor
    ) -> Prediction:
        """What the transformer's entities say; the other arguments than the anchors are those of :meth:`forward`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        if self.embed_anchor is None:
            anchor_B1SD = torch.zeros_like(anchor_B1SD)
        has_entity = self.proprio_head is not None and self.conditioning == "entities"
        queries = slots + has_entity
        past, future = self.norm(entities_BLD).split([entities_BLD.shape[1] - queries, queries], dim=1)
        past = rearrange(past, "b (t e) d -> b t e d", t=blocks)[:, :, :slots]
        last_BSD = torch.where(mask_BTS[:, -1, :, None], anchor_B1SD[:, 0], tokens_BTSD[:, -1])
        proprio_B1P = torch.where(hidden_BT1[:, -1:], proprio_BTP[:, :1], proprio_BTP[:, -1:])
        return Prediction(anchor_B1SD + self.token_head(past), *self._future(future, last_BSD, proprio_B1P))

    def _future(self, queries_BLD: Tensor, last_BSD: Tensor, proprio_B1P: Tensor) -> tuple[Tensor, Tensor]:
        """Objects and proprioception of the next block, from its normed queries and what they change."""
        slots = last_BSD.shape[1]
        next_BSD = last_BSD + self.token_head(queries_BLD[:, :slots])
        if self.matching == "hungarian":
            next_BSD = reordered(next_BSD, last_BSD)
        if self.proprio_head is not None:
            has_entity = queries_BLD.shape[1] > slots
            source = queries_BLD[:, slots:] if has_entity else queries_BLD.mean(dim=1, keepdim=True)
            proprio_B1P = proprio_B1P + self.proprio_head(source)
        return next_BSD[:, None], proprio_B1P

    def _joined(self, objects_BTSD: Tensor, others: list[Tensor]) -> Tensor:
        """Embedded objects and others as the entities of each block."""
        if self.conditioning == "concatenated":  # embedding a concatenation is adding the embeddings of its parts
            return sum(others, objects_BTSD)
        return torch.cat([objects_BTSD, *others], dim=2)


def times(history_BTEW: Tensor, queries_BEW: Tensor) -> Tensor:
    """The block of every entity of a history and of the next block's queries, ``(L,)``."""
    blocks, entities = history_BTEW.shape[1:3]
    time_T = torch.arange(blocks, device=history_BTEW.device)
    return torch.cat([time_T.repeat_interleave(entities), time_T.new_full(queries_BEW.shape[1:2], blocks)])
