"""What a model believes of bodies that it is not shown, with values by hand."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from cjepa.evaluation.interventions import permanence
from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.permanence import HiddenErrors, measure_hidden, score_hidden, while_hidden
from cjepa.evaluation.interventions.tracks import extrapolated_tracks
from cjepa.progress import NoProgress
from cjepa.types import Clip, Predicted
from cjepa.world_models.dynamics import Dynamics
from tests.conftest import RecordedProgress
from tests.evaluation.simulated import laboratory


class Seen(NamedTuple):
    tokens_BTSD: Tensor


class Drift(Dynamics):
    """Every object goes on as in the last two blocks, and object 0 is drawn by a tenth to where object 1 is."""

    token_dim, proprio_dim, action_dim, history_blocks = 1, 0, 0, 2

    def normalise(self, clip):
        return clip._replace(tokens_BTSD=clip.tokens_BTSD / 10)

    def denormalise(self, rollout):
        return rollout._replace(tokens_BHSD=rollout.tokens_BHSD * 10)

    def observe(self, clip):
        return Seen(self.normalise(clip).tokens_BTSD)

    def step(self, state, actions_BA):
        before, last = state.tokens_BTSD[:, -2], state.tokens_BTSD[:, -1]
        pull = torch.stack([0.1 * (last[:, 1] - last[:, 0]), 0 * last[:, 1]], dim=1)
        return Seen(torch.stack([last, 2 * last - before + pull], dim=1))

    def predicted(self, state):
        return Predicted(state.tokens_BTSD[:, -1], None)


def test_the_hidden_object_is_imagined_and_the_others_are_seen():
    """Object 1 jumps after the history: object 0 is drawn to where it really is."""
    tokens = torch.tensor([[0.0, 5], [1, 5], [90, 11], [91, 21]])[None, :, :, None]
    clip = Clip(tokens, torch.zeros(1, 4, 0), torch.zeros(1, 4, 0))
    first = 2 + 0.1 * (5 - 1)
    second = 2 * first - 1 + 0.1 * (11 - first)
    found = while_hidden(Drift(), clip, torch.tensor([0]))[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([first, second]))
    assert clip.tokens_BTSD[0, 2, 0, 0] == 90  # the caller's clip stays


@pytest.fixture(scope="module")
def lab(collide_table_path) -> Laboratory:
    return laboratory(collide_table_path)


def test_a_model_that_is_the_simulator_knows_where_hidden_bodies_are(lab, monkeypatch):
    monkeypatch.setattr(permanence, "_ROWS_A_BATCH", 16)
    progress = RecordedProgress()
    found = measure_hidden(lab, lab.test, place_of(lab), (5, 10, 99), progress)
    assert sum(progress.amounts) == len(lab.test.episode_B) and len(progress.amounts) > 1
    assert found.frames_K == [6, 10]  # whole blocks of two frames, no longer than the scenes
    for name in ("model", "copying", "constant velocity"):
        assert found.error_NK[name].shape == found.on_table_NK.shape == (len(found.episode_N), 2)
    assert found.error_NK["model"][found.on_table_NK].max() < 1
    still = ~found.touched_NK & found.on_table_NK
    assert found.error_NK["copying"][still].max() > 10 > found.error_NK["constant velocity"][still].mean()
    assert (found.touched_NK[:, 0] <= found.touched_NK[:, 1]).all() and found.touched_NK.any()


def test_scenes_that_are_shorter_than_any_duration_have_no_scores(lab):
    found = measure_hidden(lab, lab.test, place_of(lab), (99,), NoProgress())
    assert found.frames_K == [] and score_hidden(found) == {}


def test_tracks_at_constant_velocity(lab):
    tracks = extrapolated_tracks(lab, lab.test, 2)
    at = lab.test.objects_BTOF[:, lab.history - 2 : lab.history, :, 1:3].astype(np.float64)
    np.testing.assert_allclose(tracks[:, 0], at[:, 1])
    np.testing.assert_allclose(tracks[:, 2], 3 * at[:, 1] - 2 * at[:, 0])


def test_scores_by_hand():
    error = np.array([[2.0, 8], [4, 100], [6, 10]])
    on_table = np.array([[True, True], [True, False], [True, True]])
    touched = np.array([[False, True], [False, True], [False, False]])
    found = score_hidden(HiddenErrors([6, 10], {"model": error}, on_table, touched, np.array([1, 2, 3])))
    values = {one.metric: (one.value, one.n) for one in found["model"]}
    assert values == {"hidden_error@6": (4, 3), "hidden_error@10": (9, 2), "hidden_error_touched@10": (8, 1)}
