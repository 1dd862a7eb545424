import numpy as np
import pytest
import torch

from cjepa.evaluation.calibration import BINS, Calibration
from cjepa.evaluation.rollouts import Imagined
from cjepa.types import Rollout


def batch(error_BHS, disagreement_BHS, episodes) -> Imagined:
    """What followed is 0, so that the squares of what is predicted are the errors; D = 1, no proprioception."""
    error_BHS, disagreement_BHS = (np.asarray(values, float) for values in (error_BHS, disagreement_BHS))
    root, nothing = torch.from_numpy(error_BHS).sqrt()[..., None], torch.zeros(*error_BHS.shape[:2], 0)
    predicted = Rollout(root, nothing, torch.from_numpy(disagreement_BHS))
    copied = Rollout(torch.full_like(root[:, :1], 2.0), nothing[:, :1])
    return Imagined(
        predicted, Rollout(0 * root, nothing), copied, np.zeros(error_BHS.shape[:2], int), np.array(episodes)
    )


def measured(calibration: Calibration, blocks: list[int]) -> dict:
    return {one.metric: one for one in calibration.measurements(blocks)}


def test_by_hand():
    """Two blocks, two objects; each of two episodes has ten clips, and errors are twice the disagreement."""
    disagreement = np.arange(80.0).reshape(20, 2, 2)
    calibration = Calibration(2)
    for half, episode in ((slice(0, 10), 3), (slice(10, 20), 7)):
        calibration.add(batch(2 * disagreement[half], disagreement[half], [episode] * 10))
    found = measured(calibration, [1, 2])
    assert found["disagreement@1"].value == pytest.approx(disagreement[:, 0].mean() / 4)
    assert found["disagreement@2"].value == pytest.approx(disagreement[:, 1].mean() / 4)
    assert found["disagreement@1"].low == pytest.approx(disagreement[:10, 0].mean() / 4)  # the first episode alone
    assert found["disagreement@1"].unit == "of copying"
    assert found["spearman_disagreement_error"].value == pytest.approx(1.0)
    assert found["spearman_disagreement_error"].n == 40
    lowest, highest = np.sort(disagreement[:, 1].ravel())[:4], np.sort(disagreement[:, 1].ravel())[-4:]
    assert found["calibration_disagreement@1"].value == pytest.approx(lowest.mean() / 4)
    assert found["calibration_error@1"].value == pytest.approx(2 * lowest.mean() / 4)
    assert found[f"calibration_error@{BINS}"].value == pytest.approx(2 * highest.mean() / 4)
    assert found[f"calibration_error@{BINS}"].n == 4


def test_bins_are_of_disagreement_and_not_of_errors():
    generator = np.random.default_rng(0)
    disagreement, error = generator.random((400, 1, 1)), generator.random((400, 1, 1))
    calibration = Calibration(1)
    calibration.add(batch(error, disagreement, np.arange(400)))
    found = measured(calibration, [1])
    spearman = found["spearman_disagreement_error"]
    assert abs(spearman.value) < 0.15 and spearman.low < 0 < spearman.high  # one says nothing of the other
    order = disagreement.ravel().argsort()
    assert found["calibration_error@1"].value == pytest.approx(error.ravel()[order[:40]].mean() / 4)


def test_members_that_never_disagree_rank_nothing():
    calibration = Calibration(1)
    calibration.add(batch(np.random.default_rng(0).random((20, 1, 1)), np.zeros((20, 1, 1)), np.arange(20)))
    found = measured(calibration, [1])
    assert np.isnan(found["spearman_disagreement_error"].value) and found["disagreement@1"].value == 0


def test_a_model_without_members_is_not_measured():
    calibration, one = Calibration(1), batch(np.ones((2, 1, 1)), np.ones((2, 1, 1)), [0, 1])
    calibration.add(one._replace(predicted=one.predicted._replace(disagreement_BHS=None)))
    assert calibration.measurements([1]) == []
