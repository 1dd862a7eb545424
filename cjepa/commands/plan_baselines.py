"""`cjepa plan-baselines`: chance and the ceiling on the same pairs."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.command_result import CommandResult
from cjepa.commands.options import new_results_folder
from cjepa.data.workers import default_workers
from cjepa.envs.collide.policy import CollideBehaviour  # noqa: F401  (what is imported can be given by its bare name)
from cjepa.planning.planners.base import Planner
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import PlanJob, plan_baselines
from cjepa.reporting.tables import results_table


def plan_baselines_command(
    episodes: str,
    planner: Planner,
    out: str,
    env_id: str = "cjepa/PushT-v0",
    env_kwargs: dict[str, Any] | None = None,
    pairs: PositiveInt = 50,
    goal_env_steps: PositiveInt = 25,
    budget_env_steps: PositiveInt = 50,
    horizon_blocks: PositiveInt = 5,
    frame_stride: PositiveInt = 5,
    seed: NonNegativeInt = 0,
    workers: NonNegativeInt = 0,
) -> CommandResult:
    """Baselines on the same pairs: random actions, and the planner on the simulator.

    Args:
        episodes: episode file; pairs are drawn from its test episodes.
        planner: searches action blocks on the simulator, by class_path.
        out: folder for the results.
        env_id: Gymnasium id of the environment.
        env_kwargs: arguments of the environment.
        pairs: number of start/goal pairs.
        goal_env_steps: env steps from start to goal in their episode.
        budget_env_steps: most env steps per trial.
        horizon_blocks: blocks per plan.
        frame_stride: env steps per block.
        seed: seed of pairs, random actions and planner.
        workers: number of processes; 0 uses all cores.
    """
    job = PlanJob(
        episodes,
        env_id,
        env_kwargs or {},
        pairs,
        goal_env_steps,
        budget_env_steps,
        horizon_blocks,
        frame_stride,
        seed,
        0,
    )
    folder = new_results_folder(Path(out))
    with ProgressBar("plan baselines", pairs, "trials") as bar:
        rows = plan_baselines(job, planner, folder, workers or default_workers(), bar)
    return CommandResult([f"{out}/results.json"], results_table(rows), f"cjepa report {out}")
