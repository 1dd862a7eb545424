"""Objects that a graph calls irrelevant are removed: what that costs a model."""

import numpy as np
import pytest

from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.influence_graphs import score_graphs, score_pairs
from cjepa.evaluation.interventions.influence_stability import influence_stability
from cjepa.evaluation.interventions.removal import removal_test
from cjepa.progress import NoProgress
from tests.evaluation.interventions.conftest import by_metric
from tests.evaluation.simulated import STRIDE, SimulatedDynamics, laboratory


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
