"""Dynamics over long blocks, driven by learned macro-actions: the high level of planning (HWM, arXiv 2604.03208).

Their training is in :mod:`.macro_training`. File letter: M values of a macro-action, the predictor's ``action_dim``.
"""

import torch
from torch import Tensor

from cjepa.world_models.model import PredictorDynamics

_LARGEST_CODE = 2.0  # of values that are about standard normal


class MacroDynamics(PredictorDynamics):
    """Dynamics whose actions are macro-actions: what can be done in a long block, as about standard normal values."""

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest macro-actions that a search should try, ``(M,)`` each."""
        high_M = torch.full((self.action_dim,), _LARGEST_CODE, device=self.token_scale.mean.device)
        return -high_M, high_M
