"""95 % intervals: a number without one is not a result."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:  # what has no metrics, such as tables, starts without torch
    from torch import Tensor
    from torchmetrics import Metric

_Z = 1.959963984540054
RESAMPLES = 2000
"""Of every bootstrap."""


class Interval(NamedTuple):
    """A value with its 95 % interval, NaN where a single row shows none, and the number of trials behind it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Low and high as files have them: None where there is no interval."""
        return known(self.low), known(self.high)


def known(bound: float | None) -> float | None:
    """A bound as files have it: None where it is NaN."""
    return None if bound is None or math.isnan(bound) else bound


def wilson(successes: int, n: int) -> Interval:
    """Wilson score interval of a rate (Wilson, 1927)."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0)
    return Interval(successes / n, *_wilson_bounds(successes / n, n), n)


def wilson_of_clusters(success_N: np.ndarray, cluster_N: np.ndarray) -> Interval:
    """Wilson score interval of a rate over trials that are not independent within a cluster, such as an episode.

    N trials are worth N / d independent ones. The design effect d (Kish, 1965), at least 1, is the variance of the
    rate as the clusters show it, over that of independent trials. Where all trials succeed or all fail the clusters
    show none: each then counts once.

    Args:
        success_N: outcomes, at least one.
        cluster_N: label of each trial's cluster.
    """
    successes_C, trials_C = _sums(np.asarray(success_N, np.float64), cluster_N)
    trials, clusters = trials_C.sum(), len(trials_C)
    rate = float(successes_C.sum() / trials)
    worth = float(clusters)
    if clusters > 1 and 0 < rate < 1:
        shown = clusters / (clusters - 1) * np.square(successes_C - rate * trials_C).sum() / trials**2
        worth = trials / max(1.0, shown / (rate * (1 - rate) / (trials - 1)))
    return Interval(rate, *_wilson_bounds(rate, worth), int(trials))


def bootstrap(numerators: np.ndarray, denominators: np.ndarray | None = None, seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean, or of a ratio of means, over independent rows.

    Args:
        numerators: one value a row.
        denominators: one value a row; None for a plain mean. The ratio is NaN where all of them are 0. Rows of 0 / 0
            say nothing: a resample of such rows alone does not count.
        seed: of the resampling.
    """
    numerators = np.asarray(numerators, np.float64)
    denominators = np.ones_like(numerators) if denominators is None else np.asarray(denominators, np.float64)
    if not denominators.any():  # a ratio to nothing, such as to copying where nothing moves, says nothing
        return Interval(float("nan"), float("nan"), float("nan"), len(numerators))
    picks = np.random.default_rng(seed).integers(0, len(numerators), (RESAMPLES, len(numerators)))
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = numerators[picks].mean(axis=1) / denominators[picks].mean(axis=1)
    telling = np.count_nonzero((numerators != 0) | (denominators != 0))
    bounds = bootstrap_bounds(draws[~np.isnan(draws)], telling)
    return Interval(float(numerators.mean() / denominators.mean()), *bounds, len(numerators))


def bootstrap_of_clusters(
    values_N: np.ndarray, cluster_N: np.ndarray, denominators_N: np.ndarray | None = None
) -> Interval:
    """:func:`bootstrap` over values that are not independent within a cluster; n counts the values."""
    sums_C, counts_C = _sums(np.asarray(values_N, np.float64), cluster_N)
    if denominators_N is not None:
        counts_C, _ = _sums(np.asarray(denominators_N, np.float64), cluster_N)
    return bootstrap(sums_C, counts_C)._replace(n=len(values_N))


def paired_difference(success_N: np.ndarray, other_N: np.ndarray, cluster_N: np.ndarray) -> Interval:
    """Rate minus another rate over the same trials, which are not independent within a cluster.

    The interval is the wider of two at either end: the bootstrap over clusters, and the interval for independent trials
    of Agresti and Min (2005), which is not empty where all trials end alike. There each cluster counts once, as in
    :func:`wilson_of_clusters`.

    Args:
        success_N: outcomes, at least one: bool, or the share of successes, 0 to 1, of a trial that was repeated.
        other_N: those of the other agent.
        cluster_N: label of each trial's cluster.
    """
    difference_N = success_N.astype(np.float64) - other_N
    drawn = bootstrap_of_clusters(difference_N, cluster_N)
    # half a trial more in each of the four cells of the table
    share = 1.0 if drawn.low < drawn.high else len(np.unique(cluster_N)) / len(difference_N)
    won, lost = (share * np.clip(sign * difference_N, 0, None).sum() + 0.5 for sign in (1, -1))
    n = share * len(difference_N) + 2
    middle = (won - lost) / n
    half = _Z * float(np.sqrt(won + lost - (won - lost) ** 2 / n)) / n
    low, high = np.fmin(drawn.low, middle - half), np.fmax(drawn.high, middle + half)  # of one cluster: the second
    return drawn._replace(low=max(float(low), -1.0), high=min(float(high), 1.0))  # as rates differ at most


def unpaired_difference(one: Interval, other: Interval) -> Interval:
    """Value minus another value of independent trials, from the intervals of the two.

    The method of variance estimates recovery (Zou and Donner, 2008); of two rates with Wilson intervals it gives the
    interval of Newcombe (1998). NaN bounds where one of the two has no interval; n is the smaller one.
    """
    difference = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(difference, difference - below, difference + above, min(one.n, other.n))


def mean_of_runs(values: Sequence[float]) -> Interval:
    """Mean over a few independent runs, such as seeds, with Student's t interval; n is the number of runs.

    It holds for values that are about normal. Three runs vary little by chance, so that a bootstrap would promise more.
    """
    values_N = np.asarray(values, np.float64)
    runs, mean = len(values_N), float(np.mean(values_N))
    if runs < 2:
        return Interval(mean, math.nan, math.nan, runs)
    half = float(stdtrit(runs - 1, 0.975) * values_N.std(ddof=1) / math.sqrt(runs))
    return Interval(mean, mean - half, mean + half, runs)


def bootstrap_median(values_N: np.ndarray, cluster_N: np.ndarray, seed: int = 0) -> Interval:
    """Median with its percentile bootstrap over clusters; NaN without values.

    Args:
        values_N: that are not independent within a cluster.
        cluster_N: label of each value's cluster.
        seed: of the resampling.
    """
    if not len(values_N):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    found, place_N = np.unique(cluster_N, return_inverse=True)
    times_RC = np.random.default_rng(seed).multinomial(len(found), np.full(len(found), 1 / len(found)), RESAMPLES)
    draws = [np.median(np.repeat(values_N, times_C[place_N])) for times_C in times_RC]
    return Interval(float(np.median(values_N)), *bootstrap_bounds(np.array(draws), len(found)), len(values_N))


def bootstrap_correlation(first_N: np.ndarray, second_N: np.ndarray, cluster_N: np.ndarray, seed: int = 0) -> Interval:
    """Pearson's correlation with its percentile bootstrap over clusters; of ranks it is Spearman's.

    NaN without values, and where one of the two is constant.

    Args:
        first_N: values that are not independent within a cluster.
        second_N: values of the same trials.
        cluster_N: label of each trial's cluster.
        seed: of the resampling.
    """
    if not len(first_N):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    first_N, second_N = (values_N - np.mean(values_N) for values_N in (first_N, second_N))
    moments = (np.ones_like(first_N), first_N, second_N, first_N**2, second_N**2, first_N * second_N)
    sums_CM = np.stack([_sums(values_N, cluster_N)[0] for values_N in moments], axis=1)
    clusters = len(sums_CM)
    times_RC = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES)
    draws = _correlations(times_RC @ sums_CM)
    draws = draws[np.isfinite(draws)]  # in a resample of few clusters, a value may be constant
    value = float(_correlations(sums_CM.sum(axis=0)))
    return Interval(value, *bootstrap_bounds(draws, clusters), len(first_N))


def bootstrap_metric(metric: "Metric", states: list[dict[str, "Tensor"]], seed: int = 0) -> Interval:
    """A metric over all rows, with its percentile bootstrap over them; n counts the rows that say anything.

    A resample has fewer different rows, so what grows with them, such as a rank, is lower in every resample: the
    interval is moved by the mean of that difference, which is 0 for means.

    Args:
        metric: whose states are sums (``dist_reduce_fx="sum"``), so that those of any resample can be added up.
        states: ``metric.metric_state`` of each independent row alone, at least one; sparse tensors save memory.
        seed: of the resampling.
    """
    import torch

    rows = {name: _Rows.of([state[name] for state in states]) for name in states[0]}
    telling = sum((row.values_RM != 0).any(dim=1) for row in rows.values()) > 0

    def value(times_R: np.ndarray) -> float:
        for name, row in rows.items():
            setattr(metric, name, row.total(torch.from_numpy(times_R).double()))
        return float(type(metric).compute(metric))  # not the instance's, which would answer from its cache

    shares = np.full(len(states), 1 / len(states))
    count = RESAMPLES if telling.sum() > 1 else 0  # those of a single row are alike, and take as long as others
    resamples = np.random.default_rng(seed).multinomial(len(states), shares, size=count)
    draws = np.array([value(times_R) for times_R in resamples])
    draws = draws[np.isfinite(draws)]  # a resample may miss the few rows that say anything
    whole = value(np.ones(len(states)))
    metric.reset()
    shift = whole - draws.mean() if len(draws) else 0.0
    return Interval(whole, *bootstrap_bounds(draws + shift, int(telling.sum())), int(telling.sum()))


class _Rows(NamedTuple):
    """One state of a metric for each of R rows, without the entries that are 0 in all of them; M entries stay."""

    values_RM: "Tensor"
    """float64."""
    index_M: "Tensor"
    """Where these entries are in the flattened state."""
    state: "Tensor"
    """Written by :meth:`total`: a new one for each resample would take longer than all else."""

    @classmethod
    def of(cls, states: list["Tensor"]) -> "_Rows":
        import torch

        index_M = sum(state.to_dense().flatten() != 0 for state in states).nonzero()[:, 0]
        entries = [state.to_dense().flatten()[index_M].double() for state in states]
        return cls(torch.stack(entries), index_M, torch.zeros_like(states[0].to_dense()))

    def total(self, weights_R: "Tensor") -> "Tensor":
        """The weighted sum of the rows, with the shape and dtype of the state; the next call overwrites it."""
        self.state.view(-1)[self.index_M] = (weights_R @ self.values_RM).to(self.state.dtype)
        return self.state


def bootstrap_bounds(draws: np.ndarray, rows: int) -> tuple[float, float]:
    """The middle 95 % of resamples; NaN without any, or of a single row, whose resamples promise certainty.

    NaN both where a bound is infinite, a ratio to nothing: an interval has two ends, in result files too.

    Args:
        draws: value of each resample, not NaN, ``(R,)``.
        rows: episodes, clusters or trials that were resampled.
    """
    if rows < 2 or not len(draws):
        return np.nan, np.nan
    with np.errstate(invalid="ignore"):
        bounds = np.percentile(draws, [2.5, 97.5])
    low, high = bounds if np.isfinite(bounds).all() else (np.nan, np.nan)
    return float(low), float(high)


def _wilson_bounds(rate: float, trials: float) -> tuple[float, float]:
    centre = (rate + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z / (1 + _Z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + _Z**2 / (4 * trials**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _correlations(sums_M: np.ndarray) -> np.ndarray:
    """From the sums of 1, x, y, x x, y y and x y in the last axis."""
    count, x, y, xx, yy, xy = np.moveaxis(sums_M, -1, 0)
    spread_x, spread_y = count * xx - x**2, count * yy - y**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((spread_x > 0) & (spread_y > 0), (count * xy - x * y) / np.sqrt(spread_x * spread_y), np.nan)


def _sums(values_N: np.ndarray, cluster_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each cluster."""
    _, place_N = np.unique(cluster_N, return_inverse=True)
    return np.bincount(place_N, values_N), np.bincount(place_N)
