"""How well a score tells positives from negatives, with intervals over clusters such as episodes.

The areas are those of torchmetrics; resampling them thousands of times takes sums over clusters instead of sorting.

File letters: C clusters, K different scores in falling order, R resamples.
"""

from typing import NamedTuple

import numpy as np

from cjepa.errors import UserError
from cjepa.evaluation.intervals import RESAMPLES, Interval, bootstrap_bounds

_MOST_SCORES = 2000  # more are merged by rank: memory is R x K


class BinaryScores(NamedTuple):
    """Areas under the curves of a score."""

    auroc: Interval
    average_precision: Interval


def binary_scores(score_N: np.ndarray, positive_N: np.ndarray, cluster_N: np.ndarray, seed: int = 0) -> BinaryScores:
    """Area under the ROC curve, and average precision; NaN without positives or negatives, bounds also of one cluster.

    Args:
        score_N: the higher, the more likely positive.
        positive_N: bool.
        cluster_N: label of each value's cluster, which are resampled.
        seed: of the resampling.

    Raises:
        UserError: a score is not finite.
    """
    if not np.isfinite(score_N).all():
        raise UserError("a score is not finite; the model predicts NaN or infinite values")
    if not len(score_N):
        return BinaryScores(*2 * (Interval(np.nan, np.nan, np.nan, 0),))
    _, place_N, tie_K = np.unique(-score_N, return_inverse=True, return_counts=True)
    if len(tie_K) > _MOST_SCORES:
        place_N = ((np.cumsum(tie_K) - 1) * _MOST_SCORES // len(score_N))[place_N]
    scores = int(place_N.max()) + 1
    clusters, cluster_N = np.unique(cluster_N, return_inverse=True)
    cell_N = cluster_N * scores + place_N
    positive_CK, all_CK = (
        np.bincount(cell_N, weights, len(clusters) * scores).reshape(len(clusters), scores)
        for weights in (positive_N.astype(float), np.ones(len(score_N)))
    )
    times_RC = np.random.default_rng(seed).multinomial(
        len(clusters), np.full(len(clusters), 1 / len(clusters)), RESAMPLES
    )
    times_RC = np.concatenate([np.ones((1, len(clusters))), times_RC])  # the first is the sample itself
    areas = _areas(times_RC @ positive_CK, times_RC @ (all_CK - positive_CK))
    return BinaryScores(*(_interval(area_R, len(clusters), len(score_N)) for area_R in areas))


def best_threshold(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """The lowest score that counts as positive such that the fewest are wrong; infinite if that is for none."""
    order_N = np.argsort(-score_N, kind="stable")
    falling_N, right_N = score_N[order_N], positive_N[order_N].astype(int)
    gain_N = np.cumsum(2 * right_N - 1)  # over calling all negative, for the first 1, 2, ... scores
    last_of_ties_N = np.append(falling_N[1:] != falling_N[:-1], True)
    gain_N = np.where(last_of_ties_N, gain_N, -len(score_N))
    best = int(gain_N.argmax()) if len(gain_N) else 0
    return float(falling_N[best]) if len(gain_N) and gain_N[best] > 0 else float("inf")


def _areas(positive_RK: np.ndarray, negative_RK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    above_RK, beside_RK = np.cumsum(positive_RK, axis=1), np.cumsum(negative_RK, axis=1)
    positives_R, negatives_R = above_RK[:, -1], beside_RK[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        below_RK = negatives_R[:, None] - beside_RK + negative_RK / 2
        auroc_R = (positive_RK * below_RK).sum(axis=1) / (positives_R * negatives_R)
        precision_RK = np.nan_to_num(above_RK / (above_RK + beside_RK))
        average_R = np.where(negatives_R > 0, (positive_RK * precision_RK).sum(axis=1) / positives_R, np.nan)
    return auroc_R, average_R


def _interval(value_R: np.ndarray, clusters: int, n: int) -> Interval:
    draws = value_R[1:][np.isfinite(value_R[1:])]  # a resample may have no positive
    return Interval(float(value_R[0]), *bootstrap_bounds(draws, clusters), n)
