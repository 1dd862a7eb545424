"""Counterfactuals of a model that is the simulator are the simulator's."""

import pytest

from cjepa.evaluation.interventions.counterfactuals import EMPTY
from cjepa.evaluation.interventions.effects import score_effects, score_errors
from tests.evaluation.interventions.conftest import by_metric


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
