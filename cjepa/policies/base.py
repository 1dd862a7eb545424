"""The contract of a policy: what is seen and what should be seen in, the next block of actions out."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from cjepa.types import Clip
from cjepa.world_models.normalise import Normaliser


class Situation(NamedTuple):
    """What a policy looks at: in the units of tokenizer and environment for :meth:`GoalPolicy.act`, else normalised."""

    tokens_BSD: Tensor
    proprio_BP: Tensor
    goal_BSD: Tensor

    def detached(self) -> "Situation":
        """The same, without gradients to what led there."""
        return Situation(*map(Tensor.detach, self))


class GoalPolicy(nn.Module, ABC):
    """Chooses the next block of actions from the objects as they are and as they should be.

    Slot s of the goal is the object that slot s is now. Subclasses implement :meth:`forward` on normalised values;
    :meth:`act` takes and gives the units of tokenizer and environment.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for a policy that does not look at proprioception.
        action_dim: A, the action values of one block.
    """

    def __init__(self, token_dim: int, proprio_dim: int, action_dim: int):
        super().__init__()
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.token_scale = Normaliser(token_dim)
        self.proprio_scale = Normaliser(proprio_dim)
        self.action_scale = Normaliser(action_dim)

    @abstractmethod
    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """Actions ``(B, A)``; all values are normalised."""

    def fit_scales(self, clips: Clip) -> None:
        """Fit the scales on clips of training episodes, once: a fitted policy keeps its own."""
        if bool(self.token_scale.fitted):
            return
        self.token_scale.fit(clips.tokens_BTSD)
        self.action_scale.fit(clips.actions_BTA)
        if self.proprio_dim:
            self.proprio_scale.fit(clips.proprio_BTP)

    def act(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """Actions ``(B, A)`` in the environment's units, which may be out of its bounds.

        Args:
            tokens_BSD: what is seen, in the tokenizer's units.
            proprio_BP: in the environment's units; not read by a policy whose ``proprio_dim`` is 0.
            goal_BSD: what should be seen.
        """
        proprio_BP = self.proprio_scale(proprio_BP if self.proprio_dim else proprio_BP[:, :0])
        actions_BA = self(self.token_scale(tokens_BSD), proprio_BP, self.token_scale(goal_BSD))
        return self.action_scale.inverse(actions_BA.float())
