"""The contract of a predictor: from a partly hidden history of entities to its hidden cells and the next block."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Predictor(nn.Module, ABC):
    """Predicts tokens and proprioception at blocks 0..T from a history of T blocks.

    Subclasses set ``token_dim`` (D), ``proprio_dim`` (P), ``action_dim`` (A) and ``history_blocks``, the longest T.
    A width of 0 means that there is no such entity: nobody who acts, or nothing that is known of them.
    """

    token_dim: int
    proprio_dim: int
    action_dim: int
    history_blocks: int

    @abstractmethod
    def forward(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTS: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class.

        Args:
            tokens_BTSD: normalised object tokens of the history; what ``mask_BTS`` hides is never read.
            proprio_BTP: normalised proprioception of the history.
            actions_BTA: normalised actions; row t leads from block t to t + 1.
            mask_BTS: bool, True = hidden. Row 0, the identity anchor, is visible.

        Returns:
            Tokens ``(B, T + 1, S, D)`` and proprioception of the next block ``(B, P)``.
        """
