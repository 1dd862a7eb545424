"""`cjepa intervene`: influence graphs and counterfactuals of a world model against the simulator."""

import time
from collections.abc import Sequence

from jsonargparse.typing import NonNegativeInt

from cjepa.command_result import CommandResult
from cjepa.commands.evaluations import evaluated_run, new_results_folder
from cjepa.devices import chosen_device
from cjepa.evaluation.interventions.card import evaluate_interventions
from cjepa.evaluation.interventions.influence_graphs import Estimate
from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.progress import ProgressBar
from cjepa.reporting.intervene import write_intervention_result
from cjepa.reporting.intervention_tables import headline_table
from cjepa.reporting.pivot import as_text
from cjepa.shell import as_typed


def intervene_command(
    run: str,
    protocol: SceneProtocol,
    estimates: Sequence[Estimate] = ("mask", "remove", "empty", "gradient", "attention", "path"),
    num_videos: NonNegativeInt = 3,
    model_name: str | None = None,
    out: str | None = None,
    device: str = "auto",
) -> CommandResult:
    """Influence graphs and counterfactuals against the simulator, on held-out episodes.

    Args:
        run: folder of a world-model run, or a checkpoint.
        protocol: scenes.
        estimates: of influence, by masking, removing, an empty slot, gradient, attention, or paths along edges that the
            model itself chooses; those that the model does not allow are left out.
        num_videos: number of scenes with a video, each of another episode, those with most influences first; the worst
            scene has one more.
        model_name: name in the results; default: the run's folder.
        out: folder for results and pictures; default: RUN/intervene.
        device: PyTorch device of world model and tokenizer, such as cpu or cuda; auto uses cuda if there is a GPU.
    """
    used = chosen_device(device)
    checkpoint, name, results = evaluated_run(run, model_name, out, "intervene")
    started = time.time()
    with new_results_folder(results, "intervene") as folder:
        result = evaluate_interventions(checkpoint, protocol, estimates, used, ProgressBar)
        seconds = time.time() - started
        said = {"name": name, "checkpoint": checkpoint, "protocol": protocol, "seconds": seconds}
        rows = write_intervention_result(result, folder, num_videos=num_videos, **said)
    lines = [f"scenes from {result.lab.account}", f"{folder}/results.json", f"{folder}/media"]
    table = as_text(headline_table(rows))
    return CommandResult(lines, table, as_typed("cjepa", "report", folder))
