"""Whether a value of goals knows which frames of an episode are nearer to its end."""

from typing import Literal

import numpy as np
import torch

from cjepa.data.clip_module import EpisodeClips
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.policies.goal_value_training import GoalValueTraining


@torch.no_grad()
def evaluate(
    module: GoalValueTraining, data: EpisodeClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``blocks_correlation`` of found and recorded blocks to the last frame of a clip, resampled by episode.

    See :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    loader = data.held_out_dataloader(split)
    parts = []
    with progress("compare blocks", len(loader.dataset), "clips") as bar:
        for batch in loader:
            parts.append(module.blocks_correlation(batch.on(module.device)).double().cpu().numpy())
            bar.advance(len(parts[-1]))
    episode_N = data.file.episode_of(loader.dataset.starts.numpy())
    size = {"tokens": module.value.probe.num_tokens, "token_dim": module.value.probe.token_dim}
    interval = bootstrap_of_clusters(np.concatenate(parts), episode_N)
    return [Measurement.of("blocks_correlation", interval, **size)]
