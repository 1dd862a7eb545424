"""Pages of small models, made once a session."""

from pathlib import Path

import pytest

from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.what_if import HeldOutScenes
from cjepa.evaluation.notebook import SceneLab
from cjepa.evaluation.planning import models as planning
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.explorer import plans as module
from cjepa.explorer.plans import PlansExplorer
from cjepa.explorer.table import TableExplorer
from cjepa.planning.objectives import LastStepMSE, Objective
from cjepa.planning.planners.cem import CEM
from cjepa.world_models.loading import LoadedWorldModel
from tests.evaluation.simulated import laboratory
from tests.explorer.drifting import Drifting


@pytest.fixture(scope="session")
def scenes(collide_table_path) -> HeldOutScenes:
    lab = laboratory(collide_table_path, error_units=10.0)
    return HeldOutScenes(lab, place_of(lab), horizon_blocks=8)


@pytest.fixture(scope="session")
def explorer(scenes) -> TableExplorer:
    """The page of a model that is the simulator itself, but for an error of 10 units in x."""
    return TableExplorer(scenes, "simulated", ["remove", "empty"])  # nothing in it has a gradient


@pytest.fixture(scope="session")
def collide_run_explorer(collide_model_run, collide_table_path) -> TableExplorer:
    """The page of a tiny model that takes masks."""
    return TableExplorer(SceneLab(collide_model_run, collide_table_path, scenes=2, horizon_blocks=4), "tiny")


@pytest.fixture(scope="session")
def plans(episodes_path) -> PlansExplorer:
    """The page of a small search."""
    return plans_page(episodes_path, LastStepMSE())


def plans_page(episodes_path: Path, objective: Objective) -> PlansExplorer:
    """The page of a small search in a model that knows nothing of the block."""
    model = Drifting()
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = PlanningProtocol(str(episodes_path), pairs=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "load_world_model", lambda _: loaded)
        patch.setattr(module, "data_options", lambda _: {})
        search = CEM(num_samples=8, iterations=3, num_elites=2), objective
        return PlansExplorer(protocol, Path("drifting.ckpt"), "drifting", *search, horizon_blocks=3)
