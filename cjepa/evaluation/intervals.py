"""95 % intervals: a number without one is not a result."""

from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054


class Interval(NamedTuple):
    """A value with its 95 % interval and the number of trials behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Interval:
    """Wilson score interval of a rate (Wilson, 1927)."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0)
    rate = successes / n
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    return Interval(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)), n)


def bootstrap(numerators: np.ndarray, denominators: np.ndarray | None = None, seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean, or of a ratio of means, over independent rows (2,000 resamples).

    Args:
        numerators: one value a row.
        denominators: one value a row; None for a plain mean.
        seed: of the resampling.
    """
    numerators = np.asarray(numerators, np.float64)
    denominators = np.ones_like(numerators) if denominators is None else np.asarray(denominators, np.float64)
    picks = np.random.default_rng(seed).integers(0, len(numerators), (2000, len(numerators)))
    draws = numerators[picks].mean(axis=1) / denominators[picks].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(numerators.mean() / denominators.mean()), float(low), float(high), len(numerators))
