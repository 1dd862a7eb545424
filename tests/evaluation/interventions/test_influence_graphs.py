"""Influence graphs: a model that is the simulator gets them right, others do not."""

import numpy as np
import pytest

from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.influence_graphs import Pairs, best_estimate, possible, score_graphs, score_pairs
from cjepa.progress import NoProgress
from tests.evaluation.interventions.conftest import by_metric


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
    assert graphs["remove_moved"]["influence_average_precision_hops1"] > 0.9
    assert 0.3 < graphs["random"]["influence_auroc"] < 0.7
    positives = np.bincount(test.scene_N, test.hops_N > 0)[np.unique(test.scene_N)]
    assert graphs["empty graph"]["influence_shd"] == pytest.approx(positives.mean())
    by_hops = [graphs["empty graph"][f"influence_shd_hops{hops}"] for hops in ("1", "2", "3+")]
    assert sum(by_hops) == pytest.approx(positives.mean()) and min(by_hops) < max(by_hops)
    # whose tracks are the true ones; bodies of different size touch at different distances
    assert graphs["predicted tracks"]["influence_auroc"] > 0.7
    assert best_estimate(val) in test.scores


def test_estimates_that_the_model_does_not_allow_are_left_out(lab, caplog):
    assert possible(lab, ["mask", "remove", "attention"]) == ["remove"]
    assert "takes no masks" in caplog.text and "not an EntityTransformer" in caplog.text


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
