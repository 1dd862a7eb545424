"""What recurrent predictors share that move a state from block to block and correct it by what is seen.

File letter: V actions before the last block of a history.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.types import Predicted
from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor


class Filter(Predictor):
    """Predicts every block from the state before, then corrects the state where the block is seen, as a filter does."""

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return self.unroll(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        blocks = tokens_BTSD.shape[1]
        state = self._first(tokens_BTSD[:, 0], proprio_BTP[:, 0])
        tokens, proprio = [tokens_BTSD[:, 0]], [proprio_BTP[:, 0]]
        for block, actions_BA in enumerate(actions_BUA.unbind(1), start=1):
            state = self.step(state, actions_BA)
            predicted = self.predicted(state)
            tokens.append(predicted.tokens_BSD)
            proprio.append(predicted.proprio_BP)
            if block < blocks:
                seen = tokens_BTSD[:, block], proprio_BTP[:, block]
                state = self._see(state, predicted, *seen, mask_BTE[:, block])
        tokens_BTSD, proprio_BTP = torch.stack(tokens, dim=1), torch.stack(proprio, dim=1)
        return Prediction(tokens_BTSD[:, :blocks], tokens_BTSD[:, blocks:], proprio_BTP[:, blocks:])

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> NamedTuple:
        """See :class:`Predictor`."""
        state = self._first(tokens_BTSD[:, 0], proprio_BTP[:, 0])
        visible_BS = torch.zeros_like(tokens_BTSD[:, 0, :, 0], dtype=torch.bool)
        for block, actions_BA in enumerate(actions_BVA.unbind(1), start=1):
            state = self.step(state, actions_BA)
            seen = tokens_BTSD[:, block], proprio_BTP[:, block]
            state = self._see(state, self.predicted(state), *seen, visible_BS)
        return state

    def _see(
        self, state: NamedTuple, expected: Predicted, tokens_BSD: Tensor, proprio_BP: Tensor, hidden_BE: Tensor
    ) -> NamedTuple:
        """The state after a block of which some entities may be hidden, ``(B, S)`` or ``(B, S + 1)``."""
        hidden_BS, hidden_B1 = split_mask(hidden_BE, tokens_BSD.shape[1])
        tokens_BSD = torch.where(hidden_BS[..., None], state.tokens_BSD, tokens_BSD)
        proprio_BP = torch.where(hidden_B1, state.proprio_BP, proprio_BP)
        hidden_BE = torch.cat([hidden_BS, hidden_B1], dim=1) if self.proprio_dim else hidden_BS
        return self._corrected(state, expected, tokens_BSD, proprio_BP, hidden_BE[..., None])

    @abstractmethod
    def _first(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> NamedTuple:
        """The state at the first block, where everything is seen.

        It has ``tokens_BSD`` and ``proprio_BP``, of when each entity was last seen.
        """

    @abstractmethod
    def _corrected(
        self, state: NamedTuple, expected: Predicted, tokens_BSD: Tensor, proprio_BP: Tensor, hidden_BE1: Tensor
    ) -> NamedTuple:
        """The state after the entities that are not hidden have been seen.

        Args:
            state: of the block.
            expected: as :meth:`predicted` read it from the state.
            tokens_BSD: of the block, or of when a hidden object was last seen.
            proprio_BP: likewise.
            hidden_BE1: bool, True for entities that are not seen.
        """
