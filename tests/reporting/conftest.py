import pytest

from cjepa.evaluation.planning.protocol import PlanningProtocol
from tests.reporting.plans import PAIRS


@pytest.fixture(scope="session")
def protocol(episodes_path) -> PlanningProtocol:
    return PlanningProtocol(str(episodes_path), pairs=PAIRS)
