"""The contract of a predictor: from a partly hidden history of entities to its hidden cells and the next blocks.

File letter: F predicted blocks after the history, 1 or more.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Prediction(NamedTuple):
    """What a predictor makes of a history, in normalised units."""

    history_BTSD: Tensor
    """Object tokens of the history again; those of hidden cells are the ones that count."""
    future_BFSD: Tensor
    """Object tokens of the blocks after the history."""
    proprio_BFP: Tensor
    """Proprioception of the blocks after the history; P is 0 where the predictor has no such entity."""


class Predictor(nn.Module, ABC):
    """Predicts hidden history and the next blocks from a history of T blocks.

    Subclasses set ``token_dim`` (D), ``proprio_dim`` (P), ``action_dim`` (A) and ``history_blocks``, the longest T.
    A width of 0 means that there is no such entity: no agent, or no proprioception.
    """

    token_dim: int
    proprio_dim: int
    action_dim: int
    history_blocks: int

    @abstractmethod
    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTS: Tensor) -> Prediction:
        """Predict the next block, or blocks, see the class.

        Args:
            tokens_BTSD: normalised object tokens of the history; what ``mask_BTS`` hides is never read.
            proprio_BTP: normalised proprioception of the history.
            actions_BTA: normalised actions; row t leads from block t to t + 1.
            mask_BTS: bool, True = hidden. Row 0, the identity anchor, is visible.
        """
