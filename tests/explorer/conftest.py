"""The page of a model that is the simulator itself, but for an error of 10 units in x."""

import pytest

from cjepa.evaluation.intervention_card import place_of
from cjepa.evaluation.notebook import SceneLab
from cjepa.evaluation.what_if import HeldOutScenes
from cjepa.explorer.table import TableExplorer
from tests.evaluation.simulated import laboratory


@pytest.fixture(scope="session")
def scenes(collide_table_path) -> HeldOutScenes:
    lab = laboratory(collide_table_path, error_units=10.0)
    return HeldOutScenes(lab, place_of(lab), horizon_blocks=8)


@pytest.fixture(scope="session")
def explorer(scenes) -> TableExplorer:
    return TableExplorer(scenes, "simulated", ["remove", "empty"])  # nothing in it has a gradient


@pytest.fixture(scope="session")
def collide_run_explorer(collide_model_run, collide_table_path) -> TableExplorer:
    """The page of a tiny model that takes masks."""
    return TableExplorer(SceneLab(collide_model_run, collide_table_path, scenes=2, horizon_blocks=4), "tiny")
