"""Surprise at a jump and at a change of colour, of a model that is the simulator."""

import numpy as np
import pytest
import torch

from cjepa.envs import make_env
from cjepa.envs.collide.world import MAX_BODIES, Attribute
from cjepa.errors import UserError
from cjepa.evaluation.interventions import violations
from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.laboratory import Laboratory, SceneProtocol, open_laboratory
from cjepa.evaluation.interventions.violations import (
    Surprise,
    Violations,
    measure_violations,
    score_violations,
    surprise,
)
from cjepa.interventions.quantities import LinearQuantity
from cjepa.progress import NoProgress
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Clip
from cjepa.world_models.loading import LoadedWorldModel
from tests.evaluation.interventions.test_permanence import Drift
from tests.evaluation.simulated import NAMES, STRIDE, SimulatedDynamics, laboratory


@pytest.fixture(scope="module")
def lab(collide_table_path) -> Laboratory:
    return laboratory(collide_table_path)


def test_surprise_by_hand():
    """Predicted from the true blocks before. Tokens in the model's units, a tenth of the tokens'; of places, twice the
    token in x, only those of the first slot count.
    """
    tokens = torch.tensor([[0.0, 0], [10, 0], [20, 0], [60, 0]])[None, :, :, None]
    place = LinearQuantity(torch.tensor([[2.0, 0.0]]), torch.zeros(2))
    clip = Clip(tokens, torch.zeros(1, 4, 0), torch.zeros(1, 4, 0))
    found = surprise(_Straight(), clip, place, torch.tensor([[True, False]]))
    np.testing.assert_allclose(found.tokens_NT, [[1 / 2, 0, 3**2 / 2]])
    np.testing.assert_allclose(found.places_NT, [[20**2 / 2, 0, 60**2 / 2]])


class _Straight(Drift):
    """Goes on at constant velocity; after a single block nothing moves."""

    def step(self, state, actions_BA):
        seen = state.tokens_BTSD
        return state._replace(
            tokens_BTSD=torch.stack([seen[:, -1], 2 * seen[:, -1] - seen[:, max(-2, -seen.shape[1])]], 1)
        )


def test_a_simulator_wonders_at_the_event_alone(lab, collide_table_path):
    found = measure_violations(lab, lab.test, place_of(lab), str(collide_table_path), 0, NoProgress())
    unchanged, teleport, colour = (part.tokens_NT for part in found.surprise.values())
    assert unchanged.shape == (len(found.episode_N), lab.history - 1 + 5) and found.event == lab.history - 1
    assert np.abs(unchanged).max() < 1e-3
    assert (teleport[:, found.event] > 1).all() and (teleport[:, found.event] > colour[:, found.event]).all()
    assert (colour[:, found.event] > 0).all() and np.abs(colour[:, found.event + 1 :]).max() < 1e-3
    assert np.abs(teleport[:, found.event + 1 :]).max() < 1e-3  # it has happened, and is believed
    scores = {one.metric: one.value for one in score_violations(found)}
    assert scores["violation_auroc"] == scores["surprise_auroc_teleport"] == scores["surprise_auroc_colour"] == 1
    assert scores["violation_auroc_places"] == scores["surprise_auroc_teleport_places"] == 1
    assert found.surprise["colour"].places_NT.max() < 1e-3 * found.surprise["teleport"].places_NT[:, found.event].min()


def test_the_past_is_encoded_as_that_of_the_scenes(collide_table_path, monkeypatch):
    """From the episode's first frame on: which slots show bodies is known of those tokens, not of any others."""
    model = SimulatedDynamics(STRIDE)
    model.tokenizer = _Counting(MAX_BODIES, NAMES)
    protocol = SceneProtocol(str(collide_table_path), scenes=9, val_scenes=9, horizon_blocks=8)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    lab = open_laboratory(loaded, {"frame_stride": STRIDE}, protocol, collide_table_path, NoProgress())
    filmed = []
    monkeypatch.setattr(violations, "surprise", lambda _, clip, *__: filmed.append(clip))
    measure_violations(lab, lab.test, place_of(lab), str(collide_table_path), 0, NoProgress())
    assert (lab.test.start_B > 0).any() and (lab.test.slot_BO >= 0).any(axis=1).all()
    for clip in filmed:
        torch.testing.assert_close(clip.blocks(0, lab.history), lab.test.clip.blocks(0, lab.history), rtol=0, atol=1e-4)


class _Counting(OracleTokenizer):
    """Adds to its tokens how many frames it has seen of a clip, as one that remembers them may depend on it."""

    def encode(self, objects_BTOF):
        return self.step(objects_BTOF)[0]

    def step(self, objects_BTOF, memory=None, hints_BSH=None):
        tokens, seen = super().encode(objects_BTOF), memory or 0
        count_T11 = seen + torch.arange(objects_BTOF.shape[1])[:, None, None]
        return tokens._replace(slots_BTSD=tokens.slots_BTSD + count_T11), seen + objects_BTOF.shape[1]


def test_scores_by_hand():
    column = {"unchanged": [1.0, 1, 2], "teleport": [4, 8, 1.5], "colour": [2, 1, 1]}
    surprises = {event: surprise_at_1(values) for event, values in column.items()}
    found = {one.metric: one for one in score_violations(Violations(surprises, 1, np.array([5, 6, 7])))}
    assert found["violation_auroc"].value == pytest.approx(8 / 9)  # of nine comparisons 1.5 loses that with 2
    assert found["surprise_auroc_teleport"].value == pytest.approx(8 / 9) and found["violation_auroc"].n == 6
    assert found["surprise_ratio_teleport"].value == pytest.approx(13.5 / 4)
    assert found["surprise_ratio_colour"].value == pytest.approx(4 / 4)
    assert found["violation_auroc_places"].value == pytest.approx(1 / 9)  # places have the opposite surprise


def surprise_at_1(values: list[float]) -> Surprise:
    """Of these values in block 1; places have the inverse."""
    tokens_NT = np.array([[9.0, value, 9.0] for value in values])
    return Surprise(tokens_NT, 1 / tokens_NT)


def test_another_colour_changes_nothing_else():
    env = make_env("cjepa/Collide-v0", {})
    env.reset(seed=0)
    body = int(np.flatnonzero(env.objects()[:, Attribute.PRESENT])[0])
    before = env.objects()
    env.recolour(body, np.random.default_rng(0))
    changed = np.argwhere(env.objects() != before)
    assert changed.tolist() == [[body, Attribute.COLOUR]]
    red = make_env("cjepa/Collide-v0", {"colours": ["red"], "repeat_colours": True})
    red.reset(seed=0)
    with pytest.raises(UserError, match="give more colours"):
        red.recolour(0, np.random.default_rng(0))
