import numpy as np
import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.evaluation.planning import futures
from cjepa.evaluation.planning.pairs import Pair
from cjepa.tokenizers.oracle import OracleTokenizer
from tests.conftest import RecordedProgress
from tests.planning.worlds import HIGH, LOW, STRIDE, PointWorld, blocks, observation

PAIRS = [Pair(0, 0, np.array([0.0, 0.0]), np.array([0.1, 0.0])), Pair(1, 4, np.array([1.0, 1.0]), np.array([1.0, 0.7]))]


def test_recorded_actions_are_those_from_start_to_goal(tmp_path):
    action = np.arange(16, dtype=np.float32).reshape(8, 2)
    with EpisodeWriter(tmp_path / "a.h5", "cjepa-episodes", {}) as writer:
        writer.append({"action": action})
    pairs = [Pair(0, row, np.zeros(2), np.zeros(2)) for row in (0, 3)]
    recorded_PHA = futures.recorded_actions(EpisodeFile(tmp_path / "a.h5"), pairs, blocks(), horizon_blocks=2)
    assert recorded_PHA.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[6, 7, 8, 9], [10, 11, 12, 13]]]


def test_candidates_grow_away_from_what_was_recorded():
    low_A, high_A = blocks().bounds()
    recorded_PHA = torch.tensor([0.2, -0.3, 0.1, 0.0]).expand(2, 300, 4)
    drawn_PNHA = futures.draw_candidates(recorded_PHA, low_A, high_A, 6, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(drawn_PNHA[:, 0], recorded_PHA)
    assert (drawn_PNHA >= low_A).all() and (drawn_PNHA <= high_A).all()
    half_range = (HIGH - LOW)[0] / 2
    inner = drawn_PNHA[..., 3]  # 0, far from the bounds, as is the middle of -0.05
    spread_N = inner.std(dim=(0, 2)) / half_range
    np.testing.assert_allclose(spread_N, [0, 0.1, 0.2, 0.2, 0.2, 0.2], rtol=0.1)
    np.testing.assert_allclose(inner.mean(dim=(0, 2)), [0, 0, 0, -0.05, -0.05, -0.05], atol=0.01)


def test_the_simulator_decides_where_plans_end():
    actions_PNHA = torch.zeros(2, 2, 1, 2 * STRIDE)
    actions_PNHA[0, 1, 0] = torch.tensor([0.1, 0.0, 0.0, 0.0])  # reaches the first goal
    actions_PNHA[1, 0, 0] = torch.tensor([0.0, -0.1, 0.0, -0.1])  # 0.1 short of the second
    progress = RecordedProgress()
    outcomes = futures.simulate(PointWorld, PAIRS, actions_PNHA, blocks(), progress)
    np.testing.assert_allclose(outcomes.ends.state_BF, [[0, 0], [0.1, 0], [1, 0.8], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(outcomes.error_PN, [[1, 0], [1, 3]], atol=1e-5)
    assert progress.amounts == [1, 1]


@pytest.mark.slow  # starts two processes
def test_results_do_not_depend_on_the_number_of_workers(monkeypatch):
    actions_PNHA = torch.rand(2, 3, 2, 2 * STRIDE) / 10
    alone = futures.simulate(PointWorld, PAIRS, actions_PNHA, blocks(), RecordedProgress())
    monkeypatch.setattr(futures, "_FEWEST_FOR_WORKERS", 1)
    monkeypatch.setattr(futures, "default_workers", lambda: 2)
    both = futures.simulate(PointWorld, PAIRS, actions_PNHA, blocks(), RecordedProgress())
    np.testing.assert_array_equal(alone.ends.state_BF, both.ends.state_BF)
    np.testing.assert_array_equal(alone.error_PN, both.error_PN)


def test_the_worst_term_of_the_error_counts(monkeypatch):
    monkeypatch.setattr(PointWorld, "state_error", lambda self, state, goal: abs(state - goal) * [1.0, 10.0])
    outcomes = futures.simulate(PointWorld, PAIRS, torch.zeros(2, 1, 1, 4), blocks(), RecordedProgress())
    np.testing.assert_allclose(outcomes.error_PN[:, 0], [0.1, 3.0])


class Remembers(OracleTokenizer):
    """Adds what it saw one frame earlier."""

    def step(self, objects_BTOF, memory=None, hints_BSH=None):
        tokens = self.encode(objects_BTOF)
        slots = tokens.slots_BTSD.clone()
        slots[:, 1:] += 100 * tokens.slots_BTSD[:, :-1]
        return tokens._replace(slots_BTSD=slots), None


def test_each_end_is_the_frame_after_its_own_start(monkeypatch):
    monkeypatch.setattr(futures, "_CLIPS_A_BATCH", 3)  # batches that mix pairs
    starts, ends = observation([(1, 0), (2, 0)]), observation([(5, 0), (6, 0), (7, 0), (8, 0)])
    tokens_PNSD = futures.future_tokens(Remembers(1, ("x", "y")).eval(), starts, ends)
    assert tokens_PNSD.shape == (2, 2, 1, 2)
    np.testing.assert_allclose(tokens_PNSD[..., 0, 0], [[105, 106], [207, 208]])
