import numpy as np
import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.evaluation.planning.card import Judged, candidate_measurements, plan_measurements, planning_measurements
from cjepa.evaluation.planning.pairs import Pair
from cjepa.evaluation.planning.testbed import Testbed
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.object_filter import ObjectFilter
from tests.contracts import stirred
from tests.evaluation.conftest import no_progress
from tests.planning.worlds import STRIDE, PointDynamics, PointState, PointWorld, blocks

HORIZON_BLOCKS = 2


class Stuck(PointDynamics):
    """Believes that nothing ever moves."""

    def step(self, state, actions_BA):
        return state


class Backwards(PointDynamics):
    """Believes that actions move the point the other way; starts are at 0 and goals too far to come by this."""

    def step(self, state, actions_BA):
        return PointState(super().step(state, -actions_BA).place_B2)


@pytest.fixture
def file(tmp_path) -> EpisodeFile:
    """Three episodes that move by (0.1, 0) every env step."""
    env_steps = STRIDE * HORIZON_BLOCKS + 1
    action = np.tile(np.array([0.1, 0.0], np.float32), (env_steps, 1))
    with EpisodeWriter(tmp_path / "points.h5", "cjepa-episodes", {}) as writer:
        for _ in range(3):
            writer.append({"action": action})
    return EpisodeFile(tmp_path / "points.h5")


def card(dynamics: PointDynamics, file: EpisodeFile, candidates: int = 8) -> dict:
    env_steps = STRIDE * HORIZON_BLOCKS
    pairs = [
        Pair(index, int(offset), np.zeros(2), np.array([0.1 * env_steps, 0.0]))
        for index, offset in enumerate(file.offsets)
    ]
    tokenizer = OracleTokenizer(1, ("x", "y")).eval()
    bed = Testbed(PointWorld, PointWorld(), tokenizer, blocks(), HORIZON_BLOCKS, pairs)
    measured = planning_measurements(dynamics.eval(), bed, file, candidates, no_progress)
    return {one.metric: one for one in measured}


def test_a_perfect_model_ranks_perfectly(file):
    found = card(PointDynamics(), file)
    for name in ("spearman_true_error", "spearman_predicted_true", "spearman_predicted_error"):
        assert found[name].value == pytest.approx(1.0, abs=0.05), name  # the goal's proprio counts x alone
        assert found[name].n == 3
    assert found["spearman_predicted_true"].value == pytest.approx(1.0)
    assert found["recorded_rank"].value == 1 and found["recorded_rank"].unit == "of 8"
    assert found["pick_error"].value == found["pick_error_true"].value == pytest.approx(0, abs=1e-5)
    assert found["pick_error_random"].value > 0.5
    assert found["recorded_cost"].value == pytest.approx(found["recorded_cost_true"].value, abs=1e-6)
    assert found["cost_variation"].value == pytest.approx(found["cost_variation_true"].value)
    assert found["plan_cost_ratio"].value == pytest.approx(1.0, abs=1e-3)  # nothing to exploit
    assert found["plan_cost"].value < 0.01 and found["plan_error"].value < 1 and found["plan_success"].value == 1


def test_a_model_to_which_all_plans_are_equal_ranks_nothing(file):
    found = card(Stuck(), file)
    assert found["spearman_predicted_true"].value == found["spearman_predicted_error"].value == 0
    assert found["spearman_true_error"].value > 0.95  # the truth is not the model's
    assert found["recorded_rank"].value == 4.5  # the middle of 8
    assert found["pick_error"].value == pytest.approx(found["pick_error_random"].value)
    assert found["cost_variation"].value == 0 and found["cost_variation_true"].value > 0.1


def test_a_model_that_has_it_backwards(file):
    found = card(Backwards(), file, candidates=32)
    assert found["spearman_predicted_true"].value < -0.5 and found["recorded_rank"].value > 16
    assert found["pick_error"].value > found["pick_error_random"].value
    assert found["plan_cost_ratio"].value > 10 and found["plan_success"].value == 0  # the plan runs away from the goal


def test_all_models_judge_the_same_candidates(file):
    one, other = card(PointDynamics(), file), card(Stuck(), file)
    for name in ("spearman_true_error", "pick_error_true", "pick_error_random", "recorded_cost_true"):
        assert one[name] == other[name]


def test_candidates_by_hand():
    predicted = np.array([[2.0, 1.0, 3.0], [1.0, 2.0, 3.0]])
    true = np.array([[0.0, 5.0, 10.0], [4.0, 5.0, 6.0]])
    error = np.array([[0.2, 2.0, 8.0], [0.4, 3.0, 9.0]])
    found = {one.metric: one for one in candidate_measurements(Judged(predicted, true, error), np.array([3, 5]))}
    assert found["spearman_true_error"].value == 1
    assert found["spearman_predicted_true"].value == pytest.approx((0.5 + 1.0) / 2)
    assert found["recorded_rank"].value == 1.5 and (found["recorded_rank"].low, found["recorded_rank"].high) == (1, 2)
    assert found["pick_error"].value == pytest.approx((2.0 + 0.4) / 2)
    assert found["pick_error_true"].value == pytest.approx((0.2 + 0.4) / 2)
    assert found["recorded_cost"].value == 1.5 and found["recorded_cost_true"].value == 2
    assert {one.n for one in found.values()} == {2}


def test_plans_by_hand():
    own = Judged(np.array([[1.0], [3.0]]), np.array([[2.0], [6.0]]), np.array([[0.5], [1.0]]))
    found = {one.metric: one for one in plan_measurements(own, np.array([3, 5]))}
    assert found["plan_cost"].value == 2 and found["plan_cost_true"].value == 4
    assert found["plan_cost_ratio"].value == 2
    assert found["plan_error"].value == 0.75 and found["plan_success"].value == 0.5  # 1.0 is just not a success


def test_disagreement_by_hand():
    predicted, true, error = np.array([[2.0, 1.0, 3.0]]), np.array([[2.5, 3.0, 4.0]]), np.zeros((1, 3))
    judged = Judged(predicted, true, error, np.array([[0.1, 0.3, 0.2]]))  # off by 0.5, 2, 1
    found = {one.metric: one for one in candidate_measurements(judged, np.array([3]))}
    assert found["spearman_disagreement_cost"].value == 1 and found["recorded_disagreement"].value == 0.1
    own = Judged(np.ones((2, 1)), np.ones((2, 1)), np.ones((2, 1)), np.array([[0.2], [0.6]]))
    assert {m.metric: m.value for m in plan_measurements(own, np.array([3, 5]))}["plan_disagreement"] == 0.4


class Divided(PointDynamics):
    """Two members that are right about the place, and disagree by as much as the point is to the right."""

    def predicted(self, state):
        return super().predicted(state)._replace(disagreement_BS=state.place_B2[:, :1].abs().float())


def test_a_model_with_members_says_what_they_disagree_about(file):
    found = card(Divided(), file)
    assert found["recorded_disagreement"].value == pytest.approx(0.1 * STRIDE * HORIZON_BLOCKS)  # the last block
    assert found["plan_disagreement"].value == pytest.approx(0.4, abs=0.1) and found["plan_disagreement"].n == 3
    assert not {"recorded_disagreement", "plan_disagreement"} & set(card(PointDynamics(), file))


def test_an_ensemble_has_such_members(file):
    """Its states are of the lower precision of rollouts."""
    torch.manual_seed(0)
    sizes = {"token_dim": 2, "proprio_dim": 2, "action_dim": 2 * STRIDE, "dim": 8}
    dynamics = PredictorDynamics(stirred(Ensemble(lambda: ObjectFilter(**sizes), members=2)))
    assert card(dynamics, file)["recorded_disagreement"].value > 0


def test_pairs_that_say_nothing_are_not_counted():
    flat = np.full((1, 3), 0.7)
    found = {m.metric: m for m in candidate_measurements(Judged(flat, flat, flat), np.array([3]))}
    assert found["spearman_predicted_true"].n == 0 and np.isnan(found["spearman_predicted_true"].value)
    assert torch.isfinite(torch.tensor(found["pick_error"].value))


def test_pairs_of_one_episode_are_resampled_together():
    own = Judged(np.array([[1.0], [1.0], [1.0]]), np.array([[2.0], [4.0], [6.0]]), np.zeros((3, 1)))
    found = {one.metric: one for one in plan_measurements(own, np.array([3, 3, 5]))}
    for name in ("plan_cost_true", "plan_cost_ratio"):
        assert (found[name].value, found[name].low, found[name].high, found[name].n) == (4, 3, 6, 3)
