"""A model that is the simulator itself, and what interventions change by it."""

import pytest

from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.counterfactuals import measure_effects
from cjepa.evaluation.interventions.effects import Effects
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.progress import NoProgress
from tests.evaluation.simulated import laboratory


@pytest.fixture(scope="session")
def lab(collide_table_path) -> Laboratory:
    return laboratory(collide_table_path)


@pytest.fixture(scope="session")
def effects(lab) -> dict[str, Effects]:
    found = measure_effects(lab, lab.test, place_of(lab), 0, NoProgress())
    return {one.way: one for one in found}


def by_metric(measured) -> dict[str, float]:
    return {one.metric: one.value for one in measured}
