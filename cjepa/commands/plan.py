"""`cjepa plan`: closed-loop planning with a world model."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.checkpoints import find_checkpoint
from cjepa.command_result import CommandResult
from cjepa.commands.options import chosen_device, new_results_folder
from cjepa.envs.collide.policy import CollideBehaviour  # noqa: F401  (what is imported can be given by its bare name)
from cjepa.errors import UserError
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import PlanJob, plan_model
from cjepa.reporting.tables import results_table


def plan_command(
    run: str,
    episodes: str,
    planner: Planner,
    objective: Objective,
    env_id: str = "cjepa/PushT-v0",
    env_kwargs: dict[str, Any] | None = None,
    pairs: PositiveInt = 50,
    goal_env_steps: PositiveInt = 25,
    budget_env_steps: PositiveInt = 50,
    horizon_blocks: PositiveInt = 5,
    frame_stride: PositiveInt = 5,
    seed: NonNegativeInt = 0,
    num_videos: NonNegativeInt = 5,
    model_name: str | None = None,
    out: str | None = None,
    device: str = "auto",
) -> CommandResult:
    """Closed-loop planning on held-out start/goal pairs.

    Args:
        run: folder of a world-model run, or a checkpoint.
        episodes: episode file; pairs are drawn from held-out episodes.
        planner: searches action blocks, by class_path.
        objective: compares predicted futures with the goal, by class_path.
        env_id: Gymnasium id of the environment.
        env_kwargs: arguments of the environment.
        pairs: number of start/goal pairs.
        goal_env_steps: env steps from start to goal in their episode.
        budget_env_steps: most env steps per trial.
        horizon_blocks: blocks per plan.
        frame_stride: env steps per block.
        seed: seed of pairs and planner.
        num_videos: number of trials with a video, from the first.
        model_name: name in the results; default: the run's folder.
        out: folder for results and videos; default: RUN/plan.
        device: PyTorch device of world model and tokenizer, such as cpu or cuda; auto uses cuda if there is a GPU.
    """
    used = chosen_device(device)
    protocol = (pairs, goal_env_steps, budget_env_steps, horizon_blocks, frame_stride, seed)
    job = PlanJob(episodes, env_id, env_kwargs or {}, *protocol, num_videos)
    checkpoint = find_checkpoint(run)
    name = model_name or (checkpoint.parent.parent.name if checkpoint.suffix == ".ckpt" else checkpoint.parent.name)
    if out is None and not Path(run).is_dir():
        raise UserError(f"{run} is not a run folder; give --out")
    folder = new_results_folder(Path(out or f"{run}/plan"))
    with ProgressBar("plan", budget_env_steps, "env steps") as bar:
        rows = plan_model(job, checkpoint, name, planner, objective, folder, bar, used)
    return CommandResult([f"{folder}/results.json"], results_table(rows), f"cjepa report {folder}")
