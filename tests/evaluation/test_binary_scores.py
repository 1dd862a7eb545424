import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from cjepa.errors import UserError
from cjepa.evaluation import binary_scores as module
from cjepa.evaluation.binary_scores import best_threshold, binary_scores


def sample(n: int, levels: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positive = rng.uniform(size=n) < 0.2
    score = rng.normal(size=n) + positive
    score = score if levels is None else np.round(score * levels) / levels
    return score, positive, rng.integers(0, 20, n)


@pytest.mark.parametrize("levels", [None, 2])
def test_the_areas_are_those_of_torchmetrics(levels):
    score, positive, cluster = sample(500, levels)
    found = binary_scores(score, positive, cluster)
    known = torch.from_numpy((score - score.min()) / np.ptp(score)), torch.from_numpy(positive).long()
    assert found.auroc.value == pytest.approx(float(binary_auroc(*known)), abs=1e-6)
    assert found.average_precision.value == pytest.approx(float(binary_average_precision(*known)), abs=1e-6)
    assert found.auroc.low < found.auroc.value < found.auroc.high and found.auroc.n == 500


def test_many_scores_are_merged_with_little_loss(monkeypatch):
    exact = binary_scores(*sample(1000, None)).auroc.value
    monkeypatch.setattr(module, "_MOST_SCORES", 100)
    assert binary_scores(*sample(1000, None)).auroc.value == pytest.approx(exact, abs=5e-3)


def test_pairs_of_one_cluster_are_worth_less():
    score, positive, _ = sample(400, None)
    wide = binary_scores(score, positive, np.arange(400) // 100).auroc
    narrow = binary_scores(score, positive, np.arange(400)).auroc
    assert wide.value == narrow.value and wide.high - wide.low != narrow.high - narrow.low
    alike = np.tile(score[:40], 10), np.tile(positive[:40], 10)
    repeated = binary_scores(*alike, np.tile(np.arange(40), 10)).auroc
    alone = binary_scores(score[:40], positive[:40], np.arange(40)).auroc
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))


def test_without_positives_there_is_no_area():
    found = binary_scores(np.arange(4.0), np.zeros(4, bool), np.arange(4))
    assert np.isnan(found.auroc.value) and np.isnan(found.average_precision.value)


def test_without_values_there_is_no_area():
    assert np.isnan(binary_scores(np.zeros(0), np.zeros(0, bool), np.zeros(0, int)).auroc.value)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="not finite"):
        binary_scores(np.array([0.0, np.nan]), np.array([True, False]), np.arange(2))


@pytest.mark.parametrize(
    "score, positive, expected",
    [
        ([4, 3, 2, 1], [1, 1, 0, 0], 3),
        ([4, 3, 2, 1], [0, 1, 1, 1], 1),
        ([4, 3, 3, 1], [1, 1, 0, 0], 4),  # half of the tie would be wrong
        ([4, 3, 2, 1], [0, 0, 1, 0], np.inf),
        ([4, 3], [1, 1], 3),
    ],
)
def test_the_threshold_at_which_fewest_are_wrong(score, positive, expected):
    assert best_threshold(np.array(score, float), np.array(positive, bool)) == expected


def test_a_single_cluster_has_no_interval():
    found = binary_scores(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]), np.zeros(4)).auroc
    assert found.value == 0.75 and found.bounds == (None, None)
