"""How near a policy's actions are to those that led to its goals."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from cjepa.data.token_clips import TokenClips
from cjepa.evaluation.held_out import score_held_out
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.policies.training import PolicyTraining
from cjepa.types import Clip

_UNIT = "of the variance"


def evaluate(
    module: PolicyTraining, data: TokenClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``action_error@k`` for goals k blocks ahead, resampled by episode.

    See :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    score = partial(_errors, module)
    error_NG, episode_N = score_held_out(score, module, data, split, progress, "compare actions")
    size = {"tokens": data.file.columns["tokens"][0][1], "token_dim": module.policy.token_dim}
    return [
        Measurement.of(f"action_error@{ahead}", bootstrap_of_clusters(error_N, episode_N), _UNIT, **size)
        for ahead, error_N in enumerate(error_NG.T, start=1)
    ]


def _errors(module: PolicyTraining, clip: Clip) -> Tensor:
    """Of every clip, for goals 1, 2, ... blocks ahead, ``(B, G)``."""
    ahead_B = torch.ones(len(clip.tokens_BTSD), dtype=torch.long, device=module.device)
    errors = [module.action_error(clip, ahead * ahead_B) for ahead in range(1, module.goal_blocks + 1)]
    return torch.stack(errors, dim=1)
