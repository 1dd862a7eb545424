import numpy as np
import pytest

from cjepa.evaluation.intervals import bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 50, 0.0, 0.0713), (50, 50, 0.9287, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_against_known_values(successes, n, low, high):
    interval = wilson(successes, n)
    assert (interval.value, interval.n) == (successes / n, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_is_symmetric_and_says_nothing_without_trials():
    ours, theirs = wilson(3, 17), wilson(14, 17)
    assert (ours.low, ours.high) == (pytest.approx(1 - theirs.high), pytest.approx(1 - theirs.low))
    assert wilson(0, 0)[1:] == (0.0, 1.0, 0) and np.isnan(wilson(0, 0).value)


def test_bootstrap_of_a_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    few, many = bootstrap(values[:40]), bootstrap(values)
    for interval in (few, many):
        assert interval.low < interval.value < interval.high
    assert (few.n, many.n) == (40, 4000)
    assert many.value == pytest.approx(values.mean())
    # 2 x 1.96 standard errors
    assert many.high - many.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4000), rel=0.1)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.3)


def test_bootstrap_of_a_ratio_of_means():
    numerators, denominators = np.array([1.0, 2.0, 6.0]), np.array([2.0, 4.0, 12.0])
    interval = bootstrap(numerators, denominators)
    assert interval[:3] == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))
    assert bootstrap(np.array([1.0, 3.0]), np.array([1.0, 1.0])).value == 2.0


def test_bootstrap_is_seeded():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
