import numpy as np
import pytest
import torch

from cjepa.evaluation.intervals import bootstrap, bootstrap_metric, wilson
from cjepa.evaluation.metrics import EffectiveRank, SlotMetric


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


class Share(SlotMetric):
    """A ratio of sums, to compare with what :func:`bootstrap` says of one."""

    name = "share"

    def __init__(self):
        super().__init__()
        self.add_state("part", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("whole", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, masks_BTSYX, labels_BTYX) -> None:
        self.part += masks_BTSYX.sum()
        self.whole += int(labels_BTYX.sum())

    def compute(self) -> torch.Tensor:
        return self.part / self.whole


def states_of(metric, rows) -> list[dict]:
    states = []
    for row in rows:
        metric.reset()
        metric.update(*row)
        states.append({name: value.clone() for name, value in metric.metric_state.items()})
    return states


def test_bootstrap_of_a_metric_is_that_of_its_sums():
    rng = np.random.default_rng(0)
    parts, wholes = rng.uniform(size=40), rng.integers(1, 5, 40)
    states = states_of(Share(), zip(torch.tensor(parts), torch.tensor(wholes), strict=True))
    found, expected = bootstrap_metric(Share(), states), bootstrap(parts, wholes)
    assert found.value == pytest.approx(expected.value) and found.n == 40
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=0.01), pytest.approx(expected.high, abs=0.01))
    assert found == bootstrap_metric(Share(), states) != bootstrap_metric(Share(), states, seed=1)


def test_sparse_states_give_what_dense_ones_give():
    tokens = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 0, 1, 0])
    states = states_of(EffectiveRank(), [(row[None, None],) for row in tokens])
    sparse = [{name: value.to_sparse() for name, value in state.items()} for state in states]
    expected = bootstrap_metric(EffectiveRank(), states)
    assert bootstrap_metric(EffectiveRank(), sparse) == expected
    rank = EffectiveRank()
    rank.update(tokens[:, None])
    assert expected.value == pytest.approx(float(rank.compute()))


def test_rows_that_say_nothing_are_not_counted():
    rows = [
        (torch.tensor(0.5), torch.tensor(1)),
        (torch.tensor(0.0), torch.tensor(0)),
        (torch.ones(1), torch.tensor(1)),
    ]
    interval = bootstrap_metric(Share(), states_of(Share(), rows))
    assert (interval.value, interval.n) == (pytest.approx(0.75), 2)
    assert np.isfinite(interval.low) and np.isfinite(interval.high)  # some resamples are of the empty row only
    nothing = bootstrap_metric(Share(), states_of(Share(), rows[1:2]))
    assert np.isnan(nothing.value) and np.isnan(nothing.low) and nothing.n == 0


def test_the_interval_of_a_rank_holds_the_rank():
    """Every resample has a lower one: it has fewer different rows."""
    tokens = torch.randn(12, 3, 8, generator=torch.Generator().manual_seed(0))
    interval = bootstrap_metric(EffectiveRank(), states_of(EffectiveRank(), [(row[None, None],) for row in tokens]))
    assert interval.low < interval.value < interval.high


def test_a_ratio_to_nothing_says_nothing():
    value, low, high, n = bootstrap(np.ones(3), np.zeros(3))
    assert np.isnan([value, low, high]).all() and n == 3
