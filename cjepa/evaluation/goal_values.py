"""Whether a value of goals knows which frames of an episode are nearer to its end."""

from typing import Literal

from cjepa.data.clip_module import EpisodeClips
from cjepa.evaluation.held_out import score_held_out
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.policies.goal_value_training import GoalValueTraining


def evaluate(
    module: GoalValueTraining, data: EpisodeClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``blocks_correlation`` of found and recorded blocks to the last frame of a clip, resampled by episode.

    See :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    found_N, episode_N = score_held_out(module.blocks_correlation, module, data, split, progress, "compare blocks")
    size = {"tokens": module.value.probe.num_tokens, "token_dim": module.value.probe.token_dim}
    return [Measurement.of("blocks_correlation", bootstrap_of_clusters(found_N, episode_N), **size)]
