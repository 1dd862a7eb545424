import numpy as np
import pytest

from cjepa.evaluation.rollouts import RolloutErrors


def test_errors_are_resampled_by_episode():
    """Two episodes: many overlapping clips of one say no more than few of the other."""
    error_NH = np.array([[1.0, 4.0]] * 9 + [[3.0, 8.0]])
    errors = RolloutErrors(error_NH, np.full((10, 2), 2.0), np.array([4] * 9 + [7]), num_slots=2)
    found = errors.intervals()
    assert set(found) == {"rollout_error@1", "rollout_error@2"}
    assert [interval.n for interval in found.values()] == [2, 2]
    assert found["rollout_error@1"].value == pytest.approx((9 * 1 + 3) / (10 * 2))  # every clip counts once
    assert found["rollout_error@1"].low == pytest.approx(1 / 2)  # only the first episode
    assert found["rollout_error@1"].high == pytest.approx(3 / 2)  # only the second
