"""Dynamics over long blocks, driven by learned macro-actions: the high level of planning (HWM, arXiv 2604.03208).

Their training is in :mod:`.macro_training`. File letter: M values of a macro-action, the predictor's ``action_dim``.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.types import Rollout
from cjepa.world_models.dynamics import in_a_row
from cjepa.world_models.model import PredictorDynamics

_LARGEST_CODE = 2.0  # of values that are about standard normal


class MacroDynamics(PredictorDynamics):
    """Dynamics whose actions are macro-actions: what can be done in a long block, as about standard normal values."""

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest macro-actions that a search should try, ``(M,)`` each."""
        high_M = torch.full((self.action_dim,), _LARGEST_CODE, device=self.token_scale.mean.device)
        return -high_M, high_M

    def rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`; what a long block predicts is seen before the next one.

        A recurrent predictor would else go on from a state that training on two frames never shows: the agent of Push-T
        was off by 128 px after the second block, and by 5 px like this.
        """
        predictions = []
        for actions_BA in actions_BHA.unbind(1):
            predicted = self.predicted(self.step(state, actions_BA))
            predictions.append(predicted)
            no_actions = actions_BA[:, None][:, :0]
            state = self.predictor.observe(predicted.tokens_BSD[:, None], predicted.proprio_BP[:, None], no_actions)
        return in_a_row(predictions)
