import math

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from cjepa.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_correlation,
    bootstrap_median,
    bootstrap_metric,
    bootstrap_of_clusters,
    mean_of_runs,
    paired_difference,
    unpaired_difference,
    wilson,
    wilson_of_clusters,
)
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


def bounds(interval) -> tuple[float, float]:
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("success", "cluster", "low", "high"),
    [
        # independent: the known value of 8 of 10
        ([1] * 8 + [0] * 2, range(10), 0.4902, 0.9433),
        # 2 episodes x 2 alike: shown 2 (1 + 1) / 16 = 1/4, of independent trials 1/12: 4 trials are worth 4/3
        ([1, 1, 0, 0], [7, 7, 3, 3], *(0.5 + s * (1 + 3.8415 * 0.75) ** -0.5 * 1.96 * 0.75**0.5 / 2 for s in (-1, 1))),
        # 2 episodes x 2 that differ within: more alike than chance, worth no more than 4 independent ones: 2 of 4
        ([1, 0, 0, 1], [7, 7, 3, 3], 0.1500, 0.8500),
        # 50 episodes x 2 without a success are worth 50
        ([0] * 100, [*range(50), *range(50)], 0.0, 0.0713),
        # one episode shows no variance: worth one trial
        ([1, 0], [4, 4], *(0.5 + s * 1.96 / 2 * (1 + 3.8415) ** -0.5 for s in (-1, 1))),
    ],
)
def test_wilson_of_clusters_by_hand(success, cluster, low, high):
    interval = wilson_of_clusters(np.array(success, bool), np.array(cluster))
    assert (interval.value, interval.n) == (np.mean(success), len(success))
    assert bounds(interval) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_clusters_that_are_alike_count_once():
    values = np.random.default_rng(2).normal(size=30)
    one, four = bootstrap(values), bootstrap_of_clusters(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    assert (four.value, four.n) == (pytest.approx(one.value), 120)
    assert bounds(four) == (pytest.approx(one.low), pytest.approx(one.high))


def test_the_median_and_the_clusters_that_decide_it():
    values = np.array([3.0, 9.0, 5.0, 40.0, 4.0])
    interval = bootstrap_median(values, np.arange(5))
    assert (interval.value, interval.n) == (5.0, 5)
    assert 3.0 <= interval.low < 5.0 < interval.high <= 40.0
    # of two clusters a resample is the one, the other or both: 1, 9, or the median of 1, 1, 1, 9
    assert bootstrap_median(np.array([1.0, 1.0, 1.0, 9.0]), np.array([0, 0, 0, 1]))[:3] == (1.0, 1.0, 9.0)
    nothing = bootstrap_median(np.array([]), np.array([]))
    assert np.isnan(nothing[:3]).all() and nothing.n == 0


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


def test_rows_of_a_ratio_that_say_nothing_leave_its_interval_alone():
    """Half of eight rows are 0 / 0: among 2,000 resamples some are of these alone, and say nothing."""
    told, nothing = np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4)
    interval = bootstrap(np.concatenate([told, nothing]), np.concatenate([2 * told, nothing]))
    assert interval == (0.5, pytest.approx(0.5), pytest.approx(0.5), 8)
    # the only one that says something is a single row
    assert np.isnan(bounds(bootstrap(np.array([0.0, 2.0, 0.0]), np.array([0.0, 1.0, 0.0])))).all()


@pytest.mark.filterwarnings("error")
def test_a_ratio_that_may_be_to_nothing_has_no_interval():
    """Nor half of one, which result files do not take: no report could be made of them."""
    interval = bootstrap(np.ones(2), np.array([0.0, 1.0]))
    assert interval.value == 2.0 and interval.bounds == (None, None)


def test_a_paired_difference_by_hand():
    """Of ten trials four are won and one is lost: 5 / 10 more won than lost, less half a trial in each cell."""
    success, other = np.zeros(10, bool), np.zeros(10, bool)
    success[:4], other[4], success[5:7], other[5:7] = True, True, True, True
    found = paired_difference(success, other, np.arange(10))
    assert found.value == pytest.approx(0.3) and found.n == 10
    # (4.5 - 1.5) / 12 = 0.25, and sqrt(4.5 + 1.5 - 3^2 / 12) / 12 = 0.1909; the bootstrap reaches higher, not lower
    assert found.low == pytest.approx(0.25 - 1.96 * 0.1909, abs=1e-3) and 0.624 <= found.high < 0.8
    other_way = paired_difference(other, success, np.arange(10))
    assert (other_way.value, other_way.low) == pytest.approx((-found.value, -found.high), abs=0.1)


def test_agents_that_do_the_same_may_still_differ():
    same = np.ones(20, bool)
    found = paired_difference(same, same, np.arange(20))
    assert found.value == 0 and found.low == pytest.approx(-1.96 / 22, abs=1e-3) == -found.high
    few = paired_difference(same, same, np.arange(20) % 4)  # four episodes, however many trials
    assert few.low == pytest.approx(-1.96 / 6, abs=1e-3) == -few.high and few.n == 20


def test_a_paired_difference_is_of_rates():
    won, lost = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)
    assert -1 <= paired_difference(won, lost, np.arange(1)).low < paired_difference(won, lost, np.arange(1)).high == 1
    assert paired_difference(lost, won, np.arange(1)).low == -1


def test_a_paired_difference_within_one_episode_says_less():
    success, other = np.arange(40) % 2 == 0, np.arange(40) % 4 == 0
    wide, narrow = (paired_difference(success, other, clusters) for clusters in (np.arange(40) % 4, np.arange(40)))
    assert wide.value == narrow.value == 0.25 and wide.high - wide.low > narrow.high - narrow.low


def test_correlation_is_scipys_and_its_interval_is_of_clusters():
    generator = np.random.default_rng(0)
    first = generator.random(300)
    second = first + 0.5 * generator.random(300)
    ranks, whole = (rankdata(first), rankdata(second)), spearmanr(first, second).statistic
    alone = bootstrap_correlation(*ranks, np.arange(300))
    assert alone.value == pytest.approx(whole) and alone.low < whole < alone.high and alone.n == 300
    twice = bootstrap_correlation(*(np.tile(one, 2) for one in ranks), np.tile(np.arange(300), 2))
    assert twice.value == pytest.approx(whole) and bounds(twice) == pytest.approx(bounds(alone))  # and not narrower


def test_a_single_row_or_episode_has_no_interval():
    """Its resamples are all alike: an interval of no width would promise certainty."""
    values, one = np.array([1.0, 2.0, 4.0]), np.zeros(3)
    found = [bootstrap(values[:1]), bootstrap_of_clusters(values, one), bootstrap_median(values, one)]
    found += [
        bootstrap_correlation(values, values**2, one),
        bootstrap_metric(Share(), states_of(Share(), [(torch.tensor(0.5), torch.tensor(1))])),
    ]
    for interval, value in zip(found, (1.0, 7 / 3, 2.0, 0.9897, 0.5), strict=True):
        assert interval.value == pytest.approx(value, abs=1e-4)
        assert np.isnan(interval.low) and np.isnan(interval.high)
    assert np.isfinite(bounds(paired_difference(values > 1, values > 9, one))).all()


def test_correlation_by_hand():
    """Two clusters: +1 in the first, -1 in the second; together 0."""
    found = bootstrap_correlation(np.array([1.0, 2, 1, 2]), np.array([5.0, 6, 6, 5]), np.array([0, 0, 1, 1]))
    assert (found.value, found.low, found.high) == pytest.approx((0, -1, 1))
    for nothing in (bootstrap_correlation(np.ones(n), np.arange(float(n)), np.arange(n)) for n in (3, 0)):
        assert np.isnan(nothing.value) and nothing.bounds == (None, None)


def test_an_unpaired_difference_of_two_rates_is_newcombes():
    # Newcombe (1998), method 10: 56 of 70 against 48 of 80
    found = unpaired_difference(wilson(56, 70), wilson(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339, 70), abs=5e-5)


def test_an_unpaired_difference_to_a_value_without_interval_has_none():
    found = unpaired_difference(Interval(3.0, 2.0, 4.0, 9), Interval(1.0, math.nan, math.nan, 5))
    assert found.value == 2.0 and found.bounds == (None, None) and found.n == 5


def test_a_mean_of_runs_has_students_interval():
    # t of 2 degrees of freedom is 4.3027; the standard deviation of 1, 2, 3 is 1
    assert mean_of_runs([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5, 3), abs=1e-4)
    assert mean_of_runs([0.5]).bounds == (None, None) and mean_of_runs([0.5]).value == 0.5
