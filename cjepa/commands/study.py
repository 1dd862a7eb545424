"""`cjepa study`: the stages of a study YAML, one by one or side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from jsonargparse.typing import PositiveInt

from cjepa.command_result import CommandResult
from cjepa.errors import UserError
from cjepa.studies.executors import Executor, LocalProcesses
from cjepa.studies.ray_cluster import RayCluster
from cjepa.studies.selection import Selection
from cjepa.studies.study import DEFAULT_ROOT, preview_study, run_study


def study_command(
    study: str,
    root: str = DEFAULT_ROOT,
    jobs: PositiveInt | None = None,
    only: list[str] | None = None,
    force: list[str] | None = None,
    dry_run: bool = False,
    executor: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    *,
    say: Callable[[str], None],
) -> CommandResult:
    """Run a study YAML: every stage that is not done yet, then the results table and the report.

    Args:
        study: study YAML.
        root: folder of all studies.
        jobs: most stages to run at the same time, each with its share of the cores; plan, plan-baselines and
            bench measure times and run alone, with all cores, unless their resources declare cpus. Default: one for
            each machine, or as many as fit where stages declare cpus.
        only: names of stages, or patterns such as 'plan-*': run only these stages and the stages that they need.
        force: names or patterns of stages to run again, with all stages that read them; old results are renamed.
        dry_run: only show which stages are done, why the others would run, and what time and memory they would take on
            this machine, with as many jobs.
        executor: local runs stages as processes of this machine; ray on the machines of a Ray cluster that see this
            folder under the same path.
        ray_address: of a running cluster; default: a local one, for this study alone.
        say: shows a line of progress.
    """
    if ray_address is not None and executor != "ray":
        raise UserError("--ray_address: add --executor ray")
    selection = Selection(only or (), force or ())
    if dry_run:
        return preview_study(Path(study), Path(root), LocalProcesses(), selection, jobs)
    chosen: Executor = RayCluster(ray_address) if executor == "ray" else LocalProcesses()
    return run_study(Path(study), Path(root), chosen, say, jobs, selection)
