"""How near a policy's actions are to those that led to its goals."""

from typing import Literal

import numpy as np
import torch

from cjepa.data.clip_module import EpisodeClips
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.policies.training import PolicyTraining
from cjepa.types import Clip

_UNIT = "of the variance"


@torch.no_grad()
def evaluate(
    module: PolicyTraining, data: EpisodeClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``action_error@k`` for goals k blocks ahead, resampled by episode.

    See :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    loader = data.held_out_dataloader(split)
    was_training = module.training
    module.eval()
    parts = []
    with progress("compare actions", len(loader.dataset), "clips") as bar:
        for batch in loader:
            parts.append(_errors(module, batch.on(module.device)))
            bar.advance(len(parts[-1]))
    module.train(was_training)
    error_NG = np.concatenate(parts)
    episode_N = data.file.episode_of(loader.dataset.starts.numpy())
    size = {"tokens": batch.tokens_BTSD.shape[2], "token_dim": module.policy.token_dim}
    return [
        Measurement.of(f"action_error@{ahead}", bootstrap_of_clusters(error_N, episode_N), _UNIT, **size)
        for ahead, error_N in enumerate(error_NG.T, start=1)
    ]


def _errors(module: PolicyTraining, clip: Clip) -> np.ndarray:
    """Of every clip, for goals 1, 2, ... blocks ahead."""
    ahead_B = torch.ones(len(clip.tokens_BTSD), dtype=torch.long, device=module.device)
    errors = [module.action_error(clip, ahead * ahead_B) for ahead in range(1, module.goal_blocks + 1)]
    return torch.stack(errors, dim=1).double().cpu().numpy()
