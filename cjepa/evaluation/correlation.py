"""Pearson's correlation with its interval over clusters."""

import numpy as np

from cjepa.evaluation.intervals import Interval

_RESAMPLES = 2000


def correlation(first_N: np.ndarray, second_N: np.ndarray, cluster_N: np.ndarray, seed: int = 0) -> Interval:
    """Pearson's correlation of values that are not independent within a cluster; NaN where one of them never differs.

    Args:
        first_N: values.
        second_N: values.
        cluster_N: label of each pair's cluster, which are resampled.
        seed: of the resampling.
    """
    _, place_N, counts_C = np.unique(cluster_N, return_inverse=True, return_counts=True)
    clusters = len(counts_C)
    if not clusters:
        return Interval(np.nan, np.nan, np.nan, 0)
    first_N, second_N = first_N - first_N.mean(), second_N - second_N.mean()  # so that the sums below lose no digits
    products = (np.ones_like(first_N), first_N, second_N, first_N**2, second_N**2, first_N * second_N)
    sums_C6 = np.stack([np.bincount(place_N, values, clusters) for values in products], axis=1)
    times_RC = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), _RESAMPLES)
    count, x, y, xx, yy, xy = (np.concatenate([np.ones((1, clusters)), times_RC]) @ sums_C6).T
    spread = (count * xx - x**2) * (count * yy - y**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        found_R = np.where(spread > 0, (count * xy - x * y) / np.sqrt(np.maximum(spread, 0)), np.nan)
    draws = found_R[1:][np.isfinite(found_R[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return Interval(float(found_R[0]), float(low), float(high), len(first_N))
