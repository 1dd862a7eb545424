"""Floors for predictors: an MLP, or a linear map, on all values of a history."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.world_models.masks import anchored, split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes, start_at_zero


class FlatMLP(Predictor):
    """Predicts the change of all entities at once, without any notion of objects.

    What a predictor with objects or relations has to be better than. Its input is one vector: the values of a whole
    history, 0 where something is hidden or before the first frame, and for every cell whether it was visible.

    Args:
        token_dim: D.
        num_tokens: S; other numbers cannot be predicted.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: width of the hidden layers.
        depth: hidden layers; 0 for a linear map.

    Raises:
        ValueError: a size is too small.
    """

    def __init__(
        self,
        token_dim: int,
        num_tokens: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 512,
        depth: int = 4,
    ):
        super().__init__()
        check_sizes(
            {"token_dim": token_dim, "num_tokens": num_tokens, "history_blocks": history_blocks, "dim": dim},
            {"proprio_dim": proprio_dim, "action_dim": action_dim, "depth": depth},
        )
        self.token_dim = token_dim
        self.num_tokens = num_tokens
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        state_dim = num_tokens * token_dim + proprio_dim
        block_dim = state_dim + num_tokens + 1 + action_dim
        widths = [history_blocks * block_dim] + depth * [dim]
        hidden = (layer for width in widths[:-1] for layer in (nn.Linear(width, dim), nn.GELU(), nn.LayerNorm(dim)))
        head = nn.Linear(widths[-1], history_blocks * num_tokens * token_dim + proprio_dim)
        start_at_zero(head)
        self.layers = nn.Sequential(*hidden, head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`.

        Raises:
            UserError: another number of tokens than ``num_tokens``.
        """
        slots = tokens_BTSD.shape[2]
        self.check_tokens(slots)
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        known_BTSD, known_BTP = anchored(tokens_BTSD, proprio_BTP, mask_BTE)
        seen_BTSD = known_BTSD.masked_fill(mask_BTS[..., None], 0)
        values_BTV = torch.cat(
            [
                seen_BTSD.flatten(2),
                (~mask_BTS).to(seen_BTSD.dtype),
                known_BTP.masked_fill(hidden_BT1, 0),
                (~hidden_BT1).to(seen_BTSD.dtype),
                actions_BTA,
            ],
            dim=2,
        )
        before = self.history_blocks - tokens_BTSD.shape[1]
        changes = self.layers(pad(values_BTV, (0, 0, before, 0)).flatten(1))
        change_BTSD, change_BP = self._split(changes, tokens_BTSD.shape[1])
        anchor_B1SD, last_B1SD, last_B1P = tokens_BTSD[:, :1], known_BTSD[:, -1:], known_BTP[:, -1:]
        history_BTSD = torch.cat([anchor_B1SD, anchor_B1SD + change_BTSD[:, :-1]], dim=1)
        return Prediction(history_BTSD, last_B1SD + change_BTSD[:, -1:], last_B1P + change_BP[:, None])

    def _split(self, changes: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
        """Changes of blocks 1..T, the last of which is the future, and of proprioception."""
        tokens, change_BP = changes.tensor_split([changes.shape[1] - self.proprio_dim], dim=1)
        change_BTSD = tokens.unflatten(1, (self.history_blocks, self.num_tokens, self.token_dim))
        return change_BTSD[:, -blocks:], change_BP
