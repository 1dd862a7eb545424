"""How far a goal is for an agent: not by what it looks like, but by how long the way there takes.

File letters: L any leading dimensions, W values of all tokens of a frame (S x D), V networks.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from cjepa.arguments import check
from cjepa.checkpoints import load_frozen
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import check_sizes

_NETWORKS = 2
_FARTHEST = 0.98
"""Of the discounted cost of a goal that is never reached: what is beyond tells goals apart no more."""


class GoalValue(nn.Module):
    """The least number of blocks from what is seen to what should be seen, from all tokens of either frame.

    Networks learn the discounted number, ``1 + discount + discount ** 2 + ...``, which stays finite where no way is
    known. The larger answer of two counts: what one of them likes by mistake is not believed.

    Args:
        num_tokens: S; slot s is the same object in both frames.
        token_dim: D.
        dim: width of the hidden layers.
        layers: hidden layers.
        discount: of a block, over the one before.

    Raises:
        ValueError: a size is below 1, or ``discount`` is not between 0 and 1.
    """

    def __init__(self, num_tokens: int, token_dim: int, dim: int = 192, layers: int = 3, discount: float = 0.97):
        super().__init__()
        check_sizes({"num_tokens": num_tokens, "token_dim": token_dim, "dim": dim, "layers": layers}, {})
        check(0 < discount < 1, "discount", discount, "a number between 0 and 1")
        self.num_tokens, self.token_dim, self.discount = num_tokens, token_dim, discount
        self.token_scale = Normaliser(token_dim)
        self.networks = nn.ModuleList(_network(3 * num_tokens * token_dim, dim, layers) for _ in range(_NETWORKS))

    def forward(self, tokens_LSD: Tensor, goal_LSD: Tensor) -> Tensor:
        """Discounted numbers of blocks ``(V, ...)``; tokens in the tokenizer's units."""
        now_LW, goal_LW = (self.token_scale(tokens).flatten(-2) for tokens in (tokens_LSD, goal_LSD))
        values_LW = torch.cat([now_LW, goal_LW, goal_LW - now_LW], dim=-1)
        return torch.stack([network(values_LW)[..., 0] for network in self.networks])

    def blocks(self, tokens_LSD: Tensor, goal_LSD: Tensor) -> Tensor:
        """Blocks to the goal ``(...)``, about 0 at the goal; with gradients."""
        share_L = (1 - self.discount) * self(tokens_LSD, goal_LSD).amax(dim=0)
        return (1 - share_L.clamp(max=_FARTHEST)).log() / math.log(self.discount)

    def discounted(self, blocks_L: Tensor) -> Tensor:
        """The discounted number for so many blocks."""
        return (1 - self.discount**blocks_L) / (1 - self.discount)


def load_goal_value(checkpoint: Path, tokenizer_fingerprint: str) -> GoalValue:
    """A value of a tokenizer's tokens, on the CPU, frozen and in eval mode.

    Raises:
        UserError: not a value's checkpoint, or it was trained on other tokens.
    """
    from cjepa.policies.goal_value_training import GoalValueTraining  # brings Lightning, which takes seconds

    return load_frozen(GoalValueTraining, checkpoint, tokenizer_fingerprint).value


def _network(values: int, dim: int, layers: int) -> nn.Module:
    hidden = [
        part
        for width in (values, *[dim] * (layers - 1))
        for part in (nn.Linear(width, dim), nn.LayerNorm(dim), nn.GELU())
    ]
    return nn.Sequential(*hidden, nn.Linear(dim, 1))
