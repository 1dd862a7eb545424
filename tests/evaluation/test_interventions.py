"""Influence graphs and counterfactuals: a model that is the simulator gets them right, others do not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation import scenes
from cjepa.evaluation.bodies import match_slots, on_table
from cjepa.evaluation.contact_graphs import contact_hops
from cjepa.evaluation.counterfactuals import EMPTY, measure_effects
from cjepa.evaluation.effects import Effects, joined, score_effects, score_errors
from cjepa.evaluation.influence_graphs import Pairs, best_estimate, possible, score_graphs, score_pairs
from cjepa.evaluation.influence_stability import _rank_correlation, influence_stability
from cjepa.evaluation.intervention_card import place_of
from cjepa.evaluation.laboratory import Laboratory, SceneProtocol, open_laboratory
from cjepa.evaluation.notebook import SceneLab
from cjepa.evaluation.removal import removal_test
from cjepa.evaluation.what_if import HeldOutScenes
from cjepa.progress import NoProgress
from cjepa.world_models.loading import LoadedWorldModel
from tests.evaluation.simulated import STRIDE, SimulatedDynamics, laboratory


@pytest.fixture(scope="module")
def lab(collide_table_path) -> Laboratory:
    return laboratory(collide_table_path)


@pytest.fixture(scope="module")
def effects(lab) -> dict[str, Effects]:
    found = measure_effects(lab, lab.test, place_of(lab), 0, NoProgress())
    return {one.way: one for one in found}


def by_metric(measured) -> dict[str, float]:
    return {one.metric: one.value for one in measured}


def test_scenes_are_cut_out_of_their_episodes(lab, collide_table):
    scenes = lab.test
    assert not set(scenes.episode_B) & set(lab.val.episode_B)
    for scene in (0, -1):
        rows = collide_table.episode(int(scenes.episode_B[scene]))
        frames = scenes.start_B[scene] + STRIDE * np.arange(3 + 8)
        assert np.array_equal(scenes.objects_BTOF[scene], rows["objects"][frames])
        last, end = frames[2], frames[-1]
        assert np.array_equal(scenes.state_BF[scene], rows["state"][last])
        hops = contact_hops(rows["contacts"][None, last + 1 : end + 1])[0]
        assert np.array_equal(scenes.hops_BOO[scene], hops)
        shown = on_table(rows["objects"][last][None], lab.env)[0]
        assert np.array_equal(scenes.slot_BO[scene], np.where(shown, np.arange(6), -1))


def test_episodes_are_encoded_as_many_at_once_as_a_gpu_has_memory_for(lab, collide_table, monkeypatch):
    """To the same tokens as many at once."""
    encoded, together = [], [5, 2, 9]
    monkeypatch.setattr(
        scenes, "_encoded", lambda indices, *args, real=scenes._encoded: encoded.append(indices) or real(indices, *args)
    )
    expected = list(scenes.encode_episodes(collide_table, together, lab.tokenizer, lab.env))
    monkeypatch.setattr(scenes, "frames_at_once", lambda device, peak_bytes: 1)
    found = list(scenes.encode_episodes(collide_table, together, lab.tokenizer, lab.env))
    assert encoded == [[5, 2, 9], [5], [2], [9]]
    for one, same in zip(found, expected, strict=True):
        assert one.index == same.index and np.array_equal(one.slot_TO, same.slot_TO)
        assert torch.equal(one.tokens_TSD, same.tokens_TSD)


def test_slots_are_matched_to_bodies_by_overlap():
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 0], labels[0, 1], labels[0, 2, 0] = 1, 2, 3
    masks = torch.zeros(1, 3, 4, 4)
    masks[0, 0, 1], masks[0, 2, 0, :3], masks[0, 1, 3, 3] = 1, 1, 1
    found = match_slots(masks, labels, np.array([[True, True, True, False]]))
    assert found.tolist() == [[2, 0, -1, -1]]
    assert match_slots(masks, labels, np.array([[False, True, True, False]])).tolist() == [[-1, 0, -1, -1]]


def test_a_model_that_is_the_simulator_has_the_true_graph(lab):
    place = place_of(lab)
    val, test = (
        score_pairs(lab, scenes, ["remove", "empty"], place, 0, NoProgress()) for scenes in (lab.val, lab.test)
    )
    assert (test.hops_N > 0).any() and (test.hops_N == 0).any() and (test.target_N != test.source_N).all()
    graphs = {graph.name: by_metric(graph.measured) for graph in score_graphs(val, test)}
    for name in ("remove_moved", "empty_moved"):
        assert graphs[name]["influence_auroc"] > 0.97
        assert graphs[name]["influence_shd"] < graphs["empty graph"]["influence_shd"]
    assert graphs["remove_moved"]["influence_auroc_hops1"] > 0.97
    assert 0.3 < graphs["random"]["influence_auroc"] < 0.7
    positives = np.bincount(test.scene_N, test.hops_N > 0)[np.unique(test.scene_N)]
    assert graphs["empty graph"]["influence_shd"] == pytest.approx(positives.mean())
    # whose tracks are the true ones; bodies of different size touch at different distances
    assert graphs["predicted tracks"]["influence_auroc"] > 0.7
    assert best_estimate(val) in test.scores


def test_estimates_that_the_model_does_not_allow_are_left_out(lab, caplog):
    assert possible(lab, ["mask", "remove", "attention"]) == ["remove"]
    assert "takes no masks" in caplog.text and "not an EntityTransformer" in caplog.text


def test_removing_what_is_irrelevant_costs_nothing(collide_table_path):
    """A constant error of 10 units is all that this model has, until bodies that matter are removed."""
    lab = laboratory(collide_table_path, error_units=10.0)
    pairs = score_pairs(lab, lab.test, ["empty"], place_of(lab), 0, NoProgress())
    graphs = score_graphs(pairs, pairs)
    found = {
        name: by_metric(measured) for name, measured in removal_test(lab, lab.test, pairs, graphs, NoProgress()).items()
    }
    for way in ("removal_growth", "removal_growth_empty"):
        assert found["contact graph"][way] == pytest.approx(0, abs=1e-3)
        assert found["empty graph"][way] > 0.1
    assert found["contact graph"]["removed_share"] == pytest.approx((pairs.hops_N == 0).mean())
    assert found["empty graph"]["removed_share"] == 1


def test_a_model_that_is_the_simulator_answers_what_if(lab, effects):
    assert set(effects) == {"remove", EMPTY, "set_velocity", "set_position", "freeze"}
    for way in ("remove", EMPTY, "set_velocity", "set_position"):
        found = by_metric(score_effects(effects[way], 512.0))
        assert found["effect_correlation"] > 0.999 and found["affected_auroc"] == 1
        assert found["effect_direction"] > 0.999 and found["effect_size"] == pytest.approx(1, abs=1e-2)
        errors = score_errors(effects[way], 512.0)
        assert by_metric(errors["model"])["counterfactual_error_affected"] < 1
        assert by_metric(errors["factual prediction"])["counterfactual_error_affected"] > 8
        assert by_metric(errors["true factual future"])["counterfactual_error_unaffected"] < 8
    frozen = by_metric(score_effects(effects["freeze"], 512.0))
    assert frozen["effect_correlation"] > 0.5  # what is hit later moves as if the body had been pushed


def test_the_changed_body_itself_does_not_count(effects):
    for one in effects.values():
        assert len(one.body_N) and (one.body_N != one.changed_N).all()


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


def test_an_effect_on_nobody_has_no_direction():
    found = by_metric(score_effects(hand_made(np.zeros((4, 2)), np.ones((4, 2))), 512.0))
    assert "effect_direction" not in found and np.isnan(found["affected_auroc"])
    assert np.isnan(found["effect_correlation"])


def test_thresholds_are_those_of_validation_scenes():
    """On the test scenes another threshold would be better; it is not taken."""
    index = np.arange(4)
    val = Pairs(index, index, index, index, np.array([1, 1, 0, 0]), {"one": np.array([4.0, 3, 2, 1])})
    test = Pairs(index, index, index, index, np.array([1, 0, 0, 0]), {"one": np.array([4.0, 3.5, 2, 1])})
    (graph, empty) = score_graphs(val, test)
    assert graph.threshold == 3 and by_metric(graph.measured)["influence_shd"] == 1 / 4
    assert empty.name == "empty graph" and by_metric(empty.measured)["influence_shd"] == 1 / 4


def test_a_graph_that_is_read_off_has_no_threshold_of_validation_scenes():
    index = np.arange(4)
    val = Pairs(index, index, index, index, np.array([1, 0, 0, 0]), {"path": np.array([1, 0.5, 0.5, 0])})
    test = Pairs(index, index, index, index, np.array([1, 1, 0, 0]), {"path": np.array([1, 0.1, 0.1, 0])})
    assert by_metric(score_graphs(val, test)[0].measured)["influence_shd"] == 1 / 4


def test_episodes_without_a_table_are_refused(episodes_path, monkeypatch):
    monkeypatch.setattr(PushT, "table", None)
    model = SimulatedDynamics(STRIDE)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    with pytest.raises(UserError, match="give episodes of cjepa/Collide-v0"):
        open_laboratory(loaded, {}, SceneProtocol(str(episodes_path)), episodes_path, NoProgress())


class Feels(SimulatedDynamics):
    """Takes proprioception, of which ``unit`` is one standard deviation."""

    proprio_dim, unit = 4, 150.0

    def normalise(self, clip):
        return super().normalise(clip)._replace(proprio_BTP=clip.proprio_BTP / self.unit)


def test_proprioception_in_other_units_is_refused(collide_episodes_path):
    model = Feels(STRIDE)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = SceneProtocol(str(collide_episodes_path), scenes=2, val_scenes=2, horizon_blocks=3)
    assert len(open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress()).test.start_B) == 2
    model.unit /= 512
    with pytest.raises(UserError, match="a.ckpt was trained on proprio values in other units than the environment's"):
        open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress())


def test_another_number_of_proprio_values_is_refused(collide_episodes_path):
    """Also of a model that knows of no actions."""
    model = Feels(STRIDE)
    model.proprio_dim, model.action_dim = 3, 0
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = SceneProtocol(str(collide_episodes_path), scenes=2, val_scenes=2, horizon_blocks=3)
    with pytest.raises(UserError, match="Collide has 4 proprio values, a.ckpt was trained with 3"):
        open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress())


def test_what_if_from_python(collide_model_run, collide_table_path, collide_table):
    scenes = SceneLab(collide_model_run, collide_table_path, scenes=3, horizon_blocks=4)
    assert len(scenes) == 3 and scenes.picture(0).shape == (64, 64, 3)
    body = scenes.bodies(1)[0]
    answer = scenes.what_if(1, "set_velocity", body, (100.0, -50.0))
    assert all(values.shape == (4, 6, 2) for values in answer)
    start = scenes.lab.test.start_B[1] + STRIDE * scenes.lab.history
    rows = collide_table.episode(int(scenes.lab.test.episode_B[1]))
    expected = rows["objects"][start + STRIDE * np.arange(4)][:, :, 1:3]
    np.testing.assert_allclose(answer.true_factual, expected)
    shown = scenes.bodies(1)
    assert np.isfinite(answer.predicted[:, shown]).all() and np.isfinite(answer.factual[:, shown]).all()
    matrix = scenes.influence(1, by="remove")["remove_moved"]
    assert matrix.shape == (6, 6) and np.isfinite(matrix).sum() == len(shown) * (len(shown) - 1)
    assert scenes.contact_hops(1).shape == (6, 6)
    with pytest.raises(UserError, match="expected one of"):
        scenes.what_if(1, "remove", 17)
    with pytest.raises(UserError, match="expected 0..2"):
        scenes.picture(3)


def test_places_are_followed_from_the_end_of_the_history(lab, monkeypatch):
    """Of a token that has faded in the first predicted block, that is the last known place."""
    place = place_of(lab)
    monkeypatch.setattr(place, "track", lambda tokens: place.read(tokens[:, :1].expand_as(tokens)))
    scene = HeldOutScenes(lab, place, 4).scene(0)
    body = scene.bodies[0]
    found = scene.what_if("set_velocity", body, (300.0, -200.0)).predicted[:, body]
    last = place.read(lab.test.clip.tokens_BTSD[0, lab.history - 1, scene.slot_O[body]])
    np.testing.assert_allclose(found, last.expand(len(found), 2), rtol=1e-5)


class Pairwise(SimulatedDynamics):
    """Every body is pushed by every other, by an amount that depends on the sizes of these two alone."""

    def step(self, state, actions_BA):
        tokens_BSD, size_BS = state.tokens_BSD.clone(), state.tokens_BSD[..., 9]
        tokens_BSD[..., 1] += torch.sin(3 * size_BS[..., None] + 5 * size_BS[:, None]).sum(dim=2)
        return state._replace(tokens_BSD=tokens_BSD)


def test_a_graph_of_pairs_is_stable(lab):
    """Validation scenes, since in the few test scenes never more than three bodies are seen."""
    nobody = lab.val._replace(hops_BOO=np.zeros_like(lab.val.hops_BOO))  # so that everybody may be removed
    found = influence_stability(lab._replace(dynamics=Pairwise(STRIDE)), nobody, ["remove"], 0, NoProgress())
    assert found["remove_moved"].value == pytest.approx(1) and found["remove_moved"].n > 0
    everybody = lab.val._replace(hops_BOO=np.ones_like(lab.val.hops_BOO))
    assert influence_stability(lab, everybody, ["remove"], 0, NoProgress()) == {}


class OfAFixedNumber(SimulatedDynamics):
    """A model that cannot do without any of its objects."""

    def observe(self, history):
        if history.tokens_BTSD.shape[2] != 6:
            raise ValueError("6 objects, no fewer")
        return super().observe(history)


def test_models_of_a_fixed_number_of_objects_are_scored_without_removals(collide_table_path, caplog):
    lab = laboratory(collide_table_path)._replace(dynamics=OfAFixedNumber(STRIDE))
    pairs = score_pairs(lab, lab.test, ["empty"], place_of(lab), 0, NoProgress())
    found = removal_test(lab, lab.test, pairs, score_graphs(pairs, pairs), NoProgress())
    assert {one.metric for measured in found.values() for one in measured} == {"removal_growth_empty", "removed_share"}
    assert "removal_growth left out: Remove: 6 objects, no fewer" in caplog.text
    nobody = lab.val._replace(hops_BOO=np.zeros_like(lab.val.hops_BOO))
    assert influence_stability(lab, nobody, ["empty"], 0, NoProgress()) == {}


def test_rank_correlations_by_hand():
    """Slots 3, 0, 2 show bodies; the body of slot 0 is removed, so slots 3 and 2 become 2 and 1."""
    before, after = np.zeros((4, 4)), np.zeros((3, 3))
    slots = np.array([3, 0, -1, 2])
    before[3, 2], before[2, 3] = 5.0, 1.0
    after[2, 1], after[1, 2] = 0.3, 0.1
    assert _rank_correlation(slots, 1, before, after) == pytest.approx(1)
    assert _rank_correlation(slots, 1, before, after.T) == pytest.approx(-1)
    assert _rank_correlation(slots, 1, before, np.zeros((3, 3))) == 0
