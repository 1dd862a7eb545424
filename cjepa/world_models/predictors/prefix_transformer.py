"""Fast-LeWM on object tokens: all futures in one pass, each from the state and the actions up to it.

File letters: W width of latents; P actions of a prefix, 1 or more; E entities of a block; V = T - 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cjepa.types import Predicted, Rollout
from cjepa.world_models.adaln import AdaLNBlock
from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes, start_at_zero
from cjepa.world_models.transformer import Block, causal


class PrefixState(NamedTuple):
    """What was seen, and the actions since then, normalised."""

    latent_BEW: Tensor
    """Of the entities at the last block that was seen."""
    tokens_BTSD: Tensor
    """The last blocks that were seen, or predicted before the prefix began; proprioception and actions likewise."""
    proprio_BTP: Tensor
    actions_BVA: Tensor
    prefix_BPA: Tensor
    """Actions since the last of these blocks; P may be 0."""


class PrefixTransformer(Predictor):
    """Fast-LeWM (arXiv 2606.26217) on object tokens: no future is computed from another one.

    ```
    state ----+------------------+-----------------+
    actions   | a1   ->  prefix 1 | a2 -> prefix 2  | ...   causal transformer [state, a1, a2, ...]
              v                  v                 v
          block T            block T + 1       block T + 2   AdaLN-zero blocks on the state, conditioned by a prefix
    ```
    The published model has one token per frame, so its conditioned blocks are without attention to other tokens. Here
    the entities of a future block attend to each other; with one entity this is the published block. Further
    differences: the state comes from a history of up to ``history_blocks``, whose hidden cells are predicted too; the
    heads predict changes from the last block; positions of actions are learned; there is no consistency penalty.

    Plans that are longer than ``prefix_blocks`` take several passes: a pass starts from the last prediction before it.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history; the published model has 1.
        dim: W.
        depth: conditioned blocks.
        num_heads: of their attention.
        mlp_dim: hidden width of MLPs.
        dropout: in every block.
        head_width: of their attention's heads; None for ``dim / num_heads``.
        prefix_blocks: the longest prefix; training needs a loss over as many blocks.
        prefix_depth: blocks of the causal transformer over actions, and of the one over a history.
        prefix_heads: attention heads of these two.

    Raises:
        ValueError: a size is too small, or ``dim`` is not a multiple of the number of heads.
    """

    pass_key = "prefix_blocks"

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_dim: int = 512,
        dropout: float = 0.1,
        head_width: int | None = None,
        prefix_blocks: int = 5,
        prefix_depth: int = 2,
        prefix_heads: int = 4,
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "depth": depth}
        positive |= {"num_heads": num_heads, "mlp_dim": mlp_dim, "prefix_blocks": prefix_blocks}
        positive |= {"prefix_depth": prefix_depth, "prefix_heads": prefix_heads}
        check_sizes(positive, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        if head_width is None and dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim = {dim}, or set head_width")
        if dim % prefix_heads:
            raise ValueError(f"prefix_heads is {prefix_heads}, expected a divisor of dim = {dim}")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.prefix_blocks = self.pass_blocks = prefix_blocks
        sizes = (dim, prefix_depth, prefix_heads, dropout)
        self.embed_token = nn.Linear(token_dim, dim)
        self.embed_proprio = nn.Linear(proprio_dim, dim) if proprio_dim else None
        self.history = None
        if history_blocks > 1:
            self.history = HistoryEncoder(token_dim, action_dim, history_blocks, *sizes)
        self.prefixes = PrefixEncoder(action_dim, prefix_blocks, *sizes)
        self.join = nn.Sequential(
            nn.LayerNorm(3 * dim), nn.Linear(3 * dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )
        self.blocks = nn.ModuleList(AdaLNBlock(dim, num_heads, mlp_dim, dropout, head_width) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        start_at_zero(self.join[-1], self.token_head, self.proprio_head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return self.unroll(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`; up to ``prefix_blocks`` blocks take one pass."""
        before = tokens_BTSD.shape[1] - 1
        state, history_BTSD = self._seen(tokens_BTSD, proprio_BTP, actions_BUA[:, :before], mask_BTE)
        future = self.rollout(state, actions_BUA[:, before:])
        return Prediction(history_BTSD, future.tokens_BHSD, future.proprio_BHP)

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> PrefixState:
        """See :class:`Predictor`."""
        visible_BTS = torch.zeros_like(tokens_BTSD[..., 0], dtype=torch.bool)
        return self._seen(tokens_BTSD, proprio_BTP, actions_BVA, visible_BTS)[0]

    def step(self, state: PrefixState, actions_BA: Tensor) -> PrefixState:
        """See :class:`Predictor`; nothing is predicted until the prefix is full."""
        state = self._with_room(state)
        return state._replace(prefix_BPA=torch.cat([state.prefix_BPA, actions_BA[:, None]], dim=1))

    def predicted(self, state: PrefixState) -> Predicted:
        """See :class:`Predictor`; of the whole prefix alone."""
        if not state.prefix_BPA.shape[1]:
            return Predicted(state.tokens_BTSD[:, -1], state.proprio_BTP[:, -1])
        prefix_BPW = self.prefixes(state.latent_BEW, state.prefix_BPA)
        tokens_B1SD, proprio_B1P = self._futures(state, prefix_BPW[:, -1:])
        return Predicted(tokens_B1SD[:, 0], proprio_B1P[:, 0])

    def rollout(self, state: PrefixState, actions_BHA: Tensor) -> Rollout:
        """See :class:`Predictor`; every pass predicts as many blocks as there is room for in a prefix."""
        tokens, proprio = [], []
        while actions_BHA.shape[1]:
            state = self._with_room(state)
            begun = state.prefix_BPA.shape[1]
            taken, actions_BHA = actions_BHA.tensor_split([self.prefix_blocks - begun], dim=1)
            state = state._replace(prefix_BPA=torch.cat([state.prefix_BPA, taken], dim=1))
            prefix_BPW = self.prefixes(state.latent_BEW, state.prefix_BPA)
            futures = self._futures(state, prefix_BPW[:, begun:])
            tokens.append(futures[0])
            proprio.append(futures[1])
        return Rollout(torch.cat(tokens, dim=1), torch.cat(proprio, dim=1))

    def _seen(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor, mask_BTE: Tensor
    ) -> tuple[PrefixState, Tensor]:
        """The state after a history, of which cells may be hidden, and its tokens again."""
        slots = tokens_BTSD.shape[2]
        latent_BTEW = self._embedded(tokens_BTSD, proprio_BTP)
        history_BTSD = tokens_BTSD[:, :1]
        if self.history is not None:
            latent_BTEW = self.history(latent_BTEW, tokens_BTSD[:, :1], actions_BVA, mask_BTE)
            history_BTSD = tokens_BTSD[:, :1] + self.token_head(self.norm(latent_BTEW[:, :, :slots]))
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        tokens_BTSD = torch.where(mask_BTS[..., None], history_BTSD.to(tokens_BTSD.dtype), tokens_BTSD)
        proprio_BTP = torch.where(hidden_BT1, proprio_BTP[:, :1], proprio_BTP)  # its history is not predicted
        nothing = actions_BVA[:, :0]
        return PrefixState(latent_BTEW[:, -1], tokens_BTSD, proprio_BTP, actions_BVA, nothing), history_BTSD

    def _embedded(self, tokens_BTSD: Tensor, proprio_BTP: Tensor) -> Tensor:
        objects_BTSW = self.embed_token(tokens_BTSD)
        if self.embed_proprio is None:
            return objects_BTSW
        return torch.cat([objects_BTSW, self.embed_proprio(proprio_BTP)[:, :, None]], dim=2)

    def _futures(self, state: PrefixState, prefix_BPW: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, P, S, D)`` and proprioception after each prefix."""
        batch, prefixes = prefix_BPW.shape[:2]
        slots = state.tokens_BTSD.shape[2]
        latent, condition = torch.broadcast_tensors(state.latent_BEW[:, None], prefix_BPW[:, :, None])
        entities = latent + self.join(torch.cat([latent, condition, latent * condition], dim=-1))
        entities, condition = entities.flatten(0, 1), prefix_BPW.flatten(0, 1)[:, None]
        for block in self.blocks:
            entities = block(entities, condition)
        entities = self.norm(entities).unflatten(0, (batch, prefixes))
        tokens_BPSD = state.tokens_BTSD[:, -1:] + self.token_head(entities[:, :, :slots])
        proprio_BPP = state.proprio_BTP[:, -1:].expand(-1, prefixes, -1)
        if self.proprio_head is not None:
            proprio_BPP = proprio_BPP + self.proprio_head(entities[:, :, -1])
        return tokens_BPSD, proprio_BPP

    def _with_room(self, state: PrefixState) -> PrefixState:
        """The state, or where its prefix is full, the one whose last blocks are those that the prefix leads to."""
        if state.prefix_BPA.shape[1] < self.prefix_blocks:
            return state
        futures = self._futures(state, self.prefixes(state.latent_BEW, state.prefix_BPA))
        keep = self.history_blocks
        tokens_BTSD, proprio_BTP = (
            torch.cat([seen, future.to(seen.dtype)], dim=1)[:, -keep:]
            for seen, future in zip((state.tokens_BTSD, state.proprio_BTP), futures, strict=True)
        )
        actions = torch.cat([state.actions_BVA, state.prefix_BPA], dim=1)
        return self.observe(tokens_BTSD, proprio_BTP, actions[:, actions.shape[1] + 1 - tokens_BTSD.shape[1] :])


class PrefixEncoder(nn.Module):
    """One vector per prefix of a sequence of actions: a causal transformer over the state and the actions.

    Args:
        action_dim: A; 0: a prefix is nothing but its length.
        longest: actions.
        dim: W.
        depth: blocks.
        num_heads: attention heads.
        dropout: in every block.
    """

    def __init__(self, action_dim: int, longest: int, dim: int, depth: int, num_heads: int, dropout: float):
        super().__init__()
        self.embed_state = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.embed_action = None
        if action_dim:
            self.embed_action = nn.Sequential(
                nn.Linear(action_dim, 32), nn.Linear(32, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim)
            )
        self.position_embedding = nn.Parameter(torch.randn(longest + 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, num_heads, 4 * dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, latent_BEW: Tensor, actions_BPA: Tensor) -> Tensor:
        """Of the prefixes of 1..P actions, ``(B, P, W)``; entry p knows actions 0..p and no later ones."""
        length = actions_BPA.shape[1] + 1
        start_B1W = self.embed_state(latent_BEW.mean(dim=1, keepdim=True))
        if self.embed_action is None:
            tokens_BLW = start_B1W.expand(-1, length, -1)
        else:
            tokens_BLW = torch.cat([start_B1W, self.embed_action(actions_BPA)], dim=1)
        tokens_BLW = tokens_BLW + self.position_embedding[:length]
        visible_LL = causal(length, device=tokens_BLW.device)
        for block in self.blocks:
            tokens_BLW = block(tokens_BLW, visible_LL)
        return self.norm(tokens_BLW[:, 1:])


class HistoryEncoder(nn.Module):
    """A transformer over the entities of all blocks of a history; an object's hidden cells are queries with its anchor.

    Args:
        token_dim: D.
        action_dim: A, 0 for no such entity.
        longest: blocks.
        dim: W.
        depth: blocks of the transformer.
        num_heads: attention heads.
        dropout: in every block.
    """

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        longest: int,
        dim: int,
        depth: int,
        num_heads: int,
        dropout: float,
    ):
        super().__init__()
        self.embed_anchor = nn.Linear(token_dim, dim)
        self.embed_action = nn.Linear(action_dim, dim) if action_dim else None
        self.age_embedding = nn.Parameter(torch.randn(longest, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, num_heads, 4 * dim, dropout) for _ in range(depth))

    def forward(self, latent_BTEW: Tensor, anchor_B1SD: Tensor, actions_BVA: Tensor, mask_BTE: Tensor) -> Tensor:
        """The entities after the transformer, ``(B, T, E, W)``; what the mask hides is not read."""
        blocks, slots = latent_BTEW.shape[1], anchor_B1SD.shape[2]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        objects = torch.where(mask_BTS[..., None], self.embed_anchor(anchor_B1SD), latent_BTEW[:, :, :slots])
        others = latent_BTEW[:, :, slots:]
        others = torch.where(hidden_BT1[..., None], others[:, :1], others)
        age_TW = self.age_embedding[-blocks:]
        entities = torch.cat([objects, others], dim=2) + age_TW[:, None]
        sequence = entities.flatten(1, 2)
        if self.embed_action is not None:
            sequence = torch.cat([sequence, self.embed_action(actions_BVA) + age_TW[:-1]], dim=1)
        for block in self.blocks:
            sequence = block(sequence)
        return sequence[:, : blocks * entities.shape[2]].unflatten(1, (blocks, -1))
