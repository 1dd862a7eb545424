"""C-JEPA's predictor with attention to the past alone, so that a rollout computes each block once.

File letters: N blocks of the transformer; H attention heads of width K; M entities that are attended to; E entities of
a block; L new ones; V = T - 1.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cjepa.types import Predicted
from cjepa.world_models.predictors.base import Prediction
from cjepa.world_models.predictors.entity_transformer import EntityTransformer, times
from cjepa.world_models.transformer import KeysValues, rotary_angles


class Cache(NamedTuple):
    """A history up to its present block, normalised."""

    keys_BNHMK: Tensor
    """Of the entities of the blocks before, as many as the present block may attend to."""
    values_BNHMK: Tensor
    anchor_BSD: Tensor
    """Object tokens of the first block."""
    tokens_BSD: Tensor
    """Of the present block, as is proprioception."""
    proprio_BP: Tensor


class CausalTransformer(EntityTransformer):
    """:class:`EntityTransformer` whose entities attend to their own block and to earlier ones.

    What an entity becomes then does not depend on what follows, so its keys and values are kept. A step computes the
    entities of the present block and the queries of the next one, where the bidirectional transformer computes the
    whole history again. Every block sees ``history_blocks`` blocks, itself included, and queries of the next block see
    as many before them; a rollout of any length is therefore within what training has shown. Time is rotary, since the
    distance between two blocks stays the same when the history moves on.

    Args:
        token_dim: see :class:`EntityTransformer`, as all others; ``time`` is not among them.
    """

    def __init__(self, token_dim: int, **options: Any):
        super().__init__(token_dim, time="rotary", **options)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        return self.begin(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)[0]

    def begin(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Prediction, Cache]:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        return self._after(self._nothing(tokens_BTSD, proprio_BTP), tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> Cache:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        cache = self._nothing(tokens_BTSD, proprio_BTP)
        if actions_BVA.shape[1]:
            before = tokens_BTSD[:, :-1]
            visible_BVS = torch.zeros(before.shape[:3], dtype=torch.bool, device=before.device)
            cache = self.begin(before, proprio_BTP[:, :-1], actions_BVA, visible_BVS)[1]
        return cache._replace(tokens_BSD=tokens_BTSD[:, -1], proprio_BP=proprio_BTP[:, -1])

    def step(self, state: Cache, actions_BA: Tensor) -> Cache:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        tokens_B1SD, proprio_B1P = state.tokens_BSD[:, None], state.proprio_BP[:, None]
        visible_B1S = torch.zeros(tokens_B1SD.shape[:3], dtype=torch.bool, device=actions_BA.device)
        return self._after(state, tokens_B1SD, proprio_B1P, actions_BA[:, None], visible_B1S)[1]

    def predicted(self, state: Cache) -> Predicted:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        return Predicted(state.tokens_BSD, state.proprio_BP)

    def _nothing(self, tokens_BTSD: Tensor, proprio_BTP: Tensor) -> Cache:
        """The cache before a history, of which the first block is the present one."""
        sizes = len(tokens_BTSD), len(self.blocks), self.blocks[0].num_heads, 0, self.head_width
        empty = tokens_BTSD.new_zeros(sizes)
        return Cache(empty, empty, tokens_BTSD[:, 0], tokens_BTSD[:, 0], proprio_BTP[:, 0])

    def _after(
        self, cache: Cache, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Prediction, Cache]:
        """Blocks that follow those of a cache, the present one first, and the cache at the block after them."""
        anchor_B1SD = cache.anchor_BSD[:, None]
        history, queries = self.entities(anchor_B1SD, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        blocks, each = history.shape[1:3]
        past = cache.keys_BNHMK.shape[3]
        time_L = times(history, queries)
        time_M = torch.cat([torch.arange(-past, 0, device=time_L.device).div(each, rounding_mode="floor"), time_L])
        visible_LM = self._visible(time_L, time_M, blocks)
        angles_MR = rotary_angles(time_M, self.head_width)
        entities = torch.cat([history.flatten(1, 2), queries], dim=1)
        keys, values = [], []
        for number, block in enumerate(self.blocks):
            before = KeysValues(cache.keys_BNHMK[:, number], cache.values_BNHMK[:, number])
            entities, seen = block.after(before, entities, visible_LM, angles_MR=angles_MR)
            keys.append(seen.keys_BHMK)
            values.append(seen.values_BHMK)
        prediction = self.prediction(entities, anchor_B1SD, tokens_BTSD, proprio_BTP, mask_BTE)
        end = past + blocks * each  # queries are not kept
        kept = slice(max(0, end - (self.history_blocks - 1) * each), end)
        keys_BNHMK, values_BNHMK = (torch.stack(parts, dim=1)[:, :, :, kept] for parts in (keys, values))
        tokens_BSD, proprio_BP = prediction.future_BFSD[:, 0], prediction.proprio_BFP[:, 0]
        return prediction, Cache(keys_BNHMK, values_BNHMK, cache.anchor_BSD, tokens_BSD, proprio_BP)

    def _visible(self, time_L: Tensor, time_M: Tensor, blocks: int) -> Tensor:
        """Which entities attend to which: bool ``(L, M)``."""
        age_LM = time_L[:, None] - time_M
        reach_L1 = self.history_blocks + (time_L == blocks).int()[:, None]  # the next block is no part of the history
        return (age_LM >= 0) & (age_LM < reach_L1)
