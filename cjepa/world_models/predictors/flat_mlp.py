"""Floors for predictors: an MLP, or a linear map, on the values of the last frame."""

import torch
from torch import Tensor, nn

from cjepa.world_models.predictors.base import Prediction, Predictor


class FlatMLP(Predictor):
    """Predicts the change of all entities at once from the last frame and its action, without any notion of objects.

    What a predictor with objects, relations or memory has to be better than.

    Args:
        token_dim: D.
        num_tokens: S; another number cannot be predicted.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        dim: width of the hidden layers.
        depth: hidden layers; 0 for a linear map.
    """

    history_blocks = 1

    def __init__(
        self,
        token_dim: int,
        num_tokens: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        dim: int = 512,
        depth: int = 4,
    ):
        super().__init__()
        self.token_dim = token_dim
        self.num_tokens = num_tokens
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        state_dim = num_tokens * token_dim + proprio_dim
        widths = [state_dim + action_dim] + depth * [dim]
        hidden = [layer for width in widths[:-1] for layer in (nn.Linear(width, dim), nn.GELU(), nn.LayerNorm(dim))]
        head = nn.Linear(widths[-1], state_dim)
        nn.init.zeros_(head.weight)  # untrained, the model says: nothing changes
        nn.init.zeros_(head.bias)
        self.layers = nn.Sequential(*hidden, head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTS: Tensor) -> Prediction:
        """See :class:`Predictor`; a history of one frame has nothing to hide.

        Raises:
            ValueError: another number of tokens than ``num_tokens``.
        """
        tokens_BSD, proprio_BP = tokens_BTSD[:, -1], proprio_BTP[:, -1]
        if tokens_BSD.shape[1] != self.num_tokens:
            raise ValueError(f"{tokens_BSD.shape[1]} tokens a frame, expected num_tokens = {self.num_tokens}")
        change = self.layers(torch.cat([tokens_BSD.flatten(1), proprio_BP, actions_BTA[:, -1]], dim=1))
        tokens_change, proprio_change = change.split([self.num_tokens * self.token_dim, self.proprio_dim], dim=1)
        future_BSD = tokens_BSD + tokens_change.reshape(tokens_BSD.shape)
        return Prediction(tokens_BTSD, future_BSD[:, None], (proprio_BP + proprio_change)[:, None])
