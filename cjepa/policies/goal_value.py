"""How far a goal is for an agent: not by what it looks like, but by how long the way there takes.

File letters: L any leading dimensions, R answers of a probe, V networks.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from cjepa.arguments import check
from cjepa.checkpoints import load_frozen
from cjepa.policies.pose_features import BlockFrame, PoseFeatures
from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.state_probe import StateProbe

_NETWORKS = 2
_FARTHEST = 0.98
"""Of the discounted cost of a goal that is never reached: what is beyond tells goals apart no more."""


class GoalValue(nn.Module):
    """The least number of blocks from what is seen to what should be seen, from places that a probe reads in either.

    Networks learn the discounted number, ``1 + discount + discount ** 2 + ...``, which stays finite where no way is
    known. The larger answer of two counts: what one of them likes by mistake is not believed.

    Args:
        num_tokens: S; slot s is the same object in all frames.
        token_dim: D.
        features: what networks see of places; their answers for scenes that are equally far are averaged. None for
            :class:`~cjepa.policies.pose_features.BlockFrame`.
        dim: width of the hidden layers.
        layers: hidden layers.
        discount: of a block, over the one before.

    Raises:
        ValueError: a size is below 1, or ``discount`` is not between 0 and 1.
    """

    def __init__(
        self,
        num_tokens: int,
        token_dim: int,
        features: PoseFeatures | None = None,
        dim: int = 192,
        layers: int = 3,
        discount: float = 0.97,
    ):
        super().__init__()
        check_sizes({"dim": dim, "layers": layers}, {})
        check(0 < discount < 1, "discount", discount, "a number between 0 and 1")
        self.discount, self.features = discount, features or BlockFrame()
        self.probe = StateProbe(num_tokens, token_dim, self.features.places, self.features.angles)
        self.networks = nn.ModuleList(_network(self.features.width, dim, layers) for _ in range(_NETWORKS))

    def forward(self, seen_LR: Tensor, goal_LR: Tensor) -> Tensor:
        """Discounted numbers of blocks ``(V, ...)`` between answers of the probe; leading dimensions are broadcast."""
        values = self.features(seen_LR, goal_LR)
        return torch.stack([network(values)[..., 0].mean(dim=0) for network in self.networks])

    def blocks(self, seen_LR: Tensor, goal_LR: Tensor) -> Tensor:
        """Blocks to the goal ``(...)``, about 0 at the goal; with gradients. See :meth:`forward`."""
        share_L = (1 - self.discount) * self(seen_LR, goal_LR).amax(dim=0)
        return (1 - share_L.clamp(0, _FARTHEST)).log() / math.log(self.discount)

    def discounted(self, blocks_L: Tensor) -> Tensor:
        """The discounted number for so many blocks, ``(L,)``, from 0 to 1 / (1 - discount)."""
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
