import numpy as np
import pytest

from cjepa.evaluation.ranking import picked, rank_of, spearman, variation

TRUTH = np.array([[1.0, 2.0, 3.0, 4.0]])


def test_spearman_by_hand():
    # one swap of neighbours among four: 1 - 6 * (1 + 1) / (4 * 15)
    assert spearman(np.array([[0.1, 0.3, 0.2, 9.0]]), TRUTH) == pytest.approx(0.8)
    assert spearman(TRUTH**3, TRUTH) == pytest.approx(1.0)  # ranks, not values
    assert spearman(-TRUTH, TRUTH) == pytest.approx(-1.0)


def test_spearman_of_ties():
    """Ranks 1.5, 1.5, 3.5, 3.5 against 1..4: covariance 4, spreads 4 and 5."""
    assert spearman(np.array([[5.0, 5.0, 6.0, 6.0]]), TRUTH) == pytest.approx(4 / 20**0.5)


def test_a_judge_that_ranks_nothing_scores_zero_and_a_truth_that_ranks_nothing_says_nothing():
    constant = np.full((1, 4), 7.0)
    assert spearman(constant, TRUTH) == 0.0
    assert np.isnan(spearman(TRUTH, constant)) and np.isnan(spearman(constant, constant))


def test_pairs_are_ranked_one_by_one():
    judged = np.array([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0]])
    np.testing.assert_allclose(spearman(judged, np.array([[4.0, 5.0, 6.0]] * 2)), [1.0, -1.0])


def test_what_is_not_finite_is_the_worst():
    broken = np.array([[np.nan, 2.0, 1.0]])
    assert spearman(broken, np.array([[3.0, 2.0, 1.0]])) == pytest.approx(1.0)
    assert rank_of(broken, 0) == 3 and picked(broken, np.array([[9.0, 8.0, 7.0]])) == 7.0


def test_ranks_and_picks_do_not_favour_the_first_of_equals():
    cost, error = np.array([[1.0, 1.0, 1.0, 2.0]]), np.array([[0.0, 3.0, 6.0, 100.0]])
    assert rank_of(cost, 0) == 2.0 and rank_of(cost, 3) == 4.0
    assert picked(cost, error) == pytest.approx(3.0)  # the mean of the three


def test_variation():
    np.testing.assert_allclose(variation(np.array([[1.0, 3.0], [5.0, 5.0], [0.0, 0.0]])), [0.5, 0.0, np.nan])
