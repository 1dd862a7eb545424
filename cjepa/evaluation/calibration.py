"""Whether an ensemble knows where it is wrong: its errors beside the disagreement of its members."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from cjepa.evaluation.intervals import bootstrap_correlation, bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement
from cjepa.evaluation.rollouts import Imagined, squared_errors

BINS = 10
"""Parts of the predictions, equally many in each, from those of least disagreement to those of most."""


class _Batch(NamedTuple):
    """Predictions of clips, by block ahead and object, in the model's units."""

    disagreement_BHS: np.ndarray
    error_BHS: np.ndarray
    copy_BHS: np.ndarray
    """Squared error of copying the last frame."""
    episode_B: np.ndarray


class Calibration:
    """Squared error and disagreement of every predicted object token; nothing for a model without members.

    Args:
        block: ahead, 1..H, of what is ranked and divided into bins.
    """

    def __init__(self, block: int):
        self.block = block
        self._batches: list[_Batch] = []

    def add(self, batch: Imagined) -> None:
        """One more batch."""
        disagreement_BHS = batch.predicted.disagreement_BHS
        if disagreement_BHS is None:
            return
        slots = disagreement_BHS.shape[2]
        errors = (squared_errors(one, batch.followed)[..., :slots].numpy() for one in (batch.predicted, batch.copied))
        self._batches.append(_Batch(_on_cpu(disagreement_BHS), *errors, batch.episode_B))

    def measurements(self, blocks: list[int]) -> list[Measurement]:
        """``disagreement@k``, and how errors at ``block`` go with it; resampled by episode.

        Args:
            blocks: k, ahead.
        """
        if not self._batches:
            return []
        every = _Batch(*(np.concatenate(values) for values in zip(*self._batches, strict=True)))
        return [*self._by_block(every, blocks), *self._at_block(every)]

    def _by_block(self, every: _Batch, blocks: list[int]) -> list[Measurement]:
        disagreement_BH, copy_BH = every.disagreement_BHS.mean(axis=2), every.copy_BHS.mean(axis=2)
        columns = {block: (disagreement_BH[:, block - 1], copy_BH[:, block - 1]) for block in blocks}
        return [
            Measurement.of(
                f"disagreement@{block}", bootstrap_of_clusters(values_B, every.episode_B, copies_B), "of copying"
            )
            for block, (values_B, copies_B) in columns.items()
        ]

    def _at_block(self, every: _Batch) -> list[Measurement]:
        place = self.block - 1
        disagreement_N, error_N = every.disagreement_BHS[:, place].ravel(), every.error_BHS[:, place].ravel()
        episode_N = np.repeat(every.episode_B, every.error_BHS.shape[2])
        correlation = bootstrap_correlation(rankdata(disagreement_N), rankdata(error_N), episode_N)
        found = [Measurement.of("spearman_disagreement_error", correlation)]
        scale = every.copy_BHS[:, place].mean() or 1.0
        bins = np.array_split(disagreement_N.argsort(kind="stable"), BINS)
        for name, values_N in (("disagreement", disagreement_N / scale), ("error", error_N / scale)):
            for number, bin_M in enumerate(bins, start=1):
                interval = bootstrap_of_clusters(values_N[bin_M], episode_N[bin_M])
                found.append(Measurement.of(f"calibration_{name}@{number}", interval, "of copying"))
        return found


def _on_cpu(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
