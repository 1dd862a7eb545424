"""Small planning evaluations, and what they have written."""

import csv

from cjepa.checkpoints import find_checkpoint
from cjepa.evaluation.planning.action_stack import ActionStack
from cjepa.evaluation.planning.models import evaluate_model
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.reporting.plan import write_model_result
from tests.conftest import ignore_progress

PAIRS = 3
CEM_4 = CEM(num_samples=4, iterations=2, num_elites=2)


def planned(
    protocol, run, folder, num_videos=0, progress=ignore_progress, history_blocks=1, objective=None, fallback=None
) -> list[dict]:
    checkpoint = find_checkpoint(str(run))
    stack = ActionStack(CEM_4, objective or LastStepMSE(), history_blocks=history_blocks, fallback=fallback)
    result = evaluate_model(protocol, checkpoint, stack, num_videos, "cpu", progress)
    return write_model_result(result, folder, name="toy", checkpoint=checkpoint, stack=stack, seconds=1.0)


def by_metric(rows: list[dict]) -> dict[str, dict]:
    return {row["metric"]: row for row in rows}


def table_of(folder) -> list[dict]:
    return list(csv.DictReader((folder / "trials.csv").open()))
