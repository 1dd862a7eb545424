"""`cjepa plan-baselines`: chance and the ceiling on the same pairs."""

import time
from pathlib import Path

from jsonargparse.typing import NonNegativeInt

from cjepa.command_result import CommandResult
from cjepa.commands.evaluations import kept_plans, new_results_folder
from cjepa.commands.parts import Evaluated, command_result, evaluate_all, title
from cjepa.data.splits import SPLIT_SEED
from cjepa.data.workers import default_workers
from cjepa.evaluation.planning.baselines import evaluate_baselines
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.planning.planners.base import Planner
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import baseline_agents, write_baseline_results


def plan_baselines_command(
    protocol: PlanningProtocol,
    planner: Planner,
    out: str,
    split_seed: NonNegativeInt | None = SPLIT_SEED,
    workers: NonNegativeInt = 0,
    simulator: bool = True,
    resume: bool = True,
) -> CommandResult:
    """Baselines on the same pairs: random actions, and the planner on the simulator; repeat the command to resume.

    Args:
        protocol: trials and control loop.
        planner: searches action blocks on the simulator, by class_path.
        out: folder for the results.
        split_seed: of the split by episode that the pairs are drawn from; that of the models to compare with. null:
            pairs of all episodes, as models get that were trained on none of them.
        workers: number of processes; 0 uses all cores.
        simulator: false leaves out the search, for random actions alone.
        resume: reuse the plans of an interrupted run of this command; the results are those of a run in one go.
    """
    asked = dict(locals())
    folder, searched = Path(out), planner if simulator else None

    def evaluate(protocol: PlanningProtocol, part: Path) -> Evaluated:
        started = time.time()
        kept = kept_plans(folder, asked | {"protocol": protocol}, [])
        with ProgressBar(title("plan baselines", part, folder), protocol.pairs, "trials") as bar:
            results = evaluate_baselines(protocol, searched, split_seed, workers or default_workers(), bar, kept)
        rows = write_baseline_results(results, part, planner=searched, seconds=time.time() - started)
        return Evaluated(rows, results.contest, baseline_agents(results, searched))

    with new_results_folder(folder, "plan-baselines", resume, tuple(protocol.parts())):
        evaluated = evaluate_all(protocol, folder, evaluate)
    return command_result(evaluated, protocol, folder)
