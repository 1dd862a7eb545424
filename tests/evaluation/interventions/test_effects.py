"""Scores of effects, by hand."""

import numpy as np
import pytest

from cjepa.evaluation.interventions.effects import Effects, joined, score_effects, score_errors
from tests.evaluation.interventions.conftest import by_metric


def hand_made(true, predicted) -> Effects:
    """Two bodies of one scene, and two of another; the factual futures are all at 0."""
    true, predicted, zeros = np.array(true, float), np.array(predicted, float), np.zeros((4, 2))
    index = np.array([0, 0, 1, 1])
    return Effects("remove", index, index, index, index, zeros, zeros, true, zeros, predicted)


def test_scores_by_hand():
    one = hand_made([[10, 0], [0, 0], [0, 20], [0, 1]], [[5, 0], [0, 2], [0, 25], [0, 0]])
    found = by_metric(score_effects(one, 512.0))
    assert found["effect_size"] == pytest.approx((5 + 25) / (10 + 20)) and found["effect_direction"] == 1
    assert found["effect_on_unaffected"] == pytest.approx((2 + 0) / 2) and found["affected_auroc"] == 1
    expected = np.corrcoef([10, 0, 0, 0, 0, 20, 0, 1], [5, 0, 0, 2, 0, 25, 0, 0])[0, 1]
    assert found["effect_correlation"] == pytest.approx(expected)
    errors = score_errors(one, 512.0)
    assert by_metric(errors["model"]) == {
        "counterfactual_error_affected": pytest.approx((5 + 5) / 2),
        "counterfactual_error_unaffected": pytest.approx((2 + 1) / 2),
    }
    assert by_metric(errors["copying"])["counterfactual_error_affected"] == pytest.approx((10 + 20) / 2)
    assert len(joined([one, one], "all").scene_N) == 8


def test_effects_of_a_single_episode_have_no_intervals():
    alone = hand_made([[10, 0], [0, 0], [0, 20], [0, 1]], [[5, 0], [0, 2], [0, 25], [0, 0]])
    for found in score_effects(alone._replace(episode_N=np.zeros(4, int)), 512.0):
        assert np.isfinite(found.value) and np.isnan([found.low, found.high]).all(), found.metric


def test_an_effect_on_nobody_has_no_direction():
    found = by_metric(score_effects(hand_made(np.zeros((4, 2)), np.ones((4, 2))), 512.0))
    assert "effect_direction" not in found and np.isnan(found["affected_auroc"])
    assert np.isnan(found["effect_correlation"])
