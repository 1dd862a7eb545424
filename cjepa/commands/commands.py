"""The verbs that are not Lightning's, as plain functions: typed arguments in, what was made out.

Their signatures are the command line (through jsonargparse), so arguments and docstrings are what ``--help`` shows.
They draw progress bars and return a :class:`CommandResult`; printing is the command line's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.artifacts.export import export_run
from cjepa.checkpoints import find_checkpoint
from cjepa.command_result import CommandResult, experiments_of
from cjepa.data.splits import excluded_episodes
from cjepa.data.store.shards import open_episodes
from cjepa.data.workers import default_workers
from cjepa.errors import UserError
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import PlanJob, plan_baselines, plan_model
from cjepa.reporting.records import versions
from cjepa.reporting.report import build_report
from cjepa.reporting.tables import results_table
from cjepa.tokenizers.token_files import tokenize, tokenizer_spec


def tokenize_command(
    run: str,
    episodes: str,
    out: str,
    patch_grid: NonNegativeInt = 0,
    resume: bool = True,
    exclude_episodes: Sequence[int] = (),
    exclude_corrupted: bool = False,
    device: str = "auto",
) -> CommandResult:
    """Encode every frame of an episode file into a token file.

    Args:
        run: folder of a tokenizer run, a checkpoint, or ``zoo:NAME``; ``oracle`` for the simulator's own account of the
            objects, ``oracle:D`` for a random projection of it to D values; ``dino:SOURCE`` for patches of a pretrained
            DINOv2, a folder in the layout of ``transformers`` or a name on the hub.
        episodes: episode file, or folder or glob of several.
        out: token file to make.
        patch_grid: 0 for the tokenizer's own tokens; g for a g x g grid of its encoder's features instead, which a
            DINOv2 needs: 14 for all of its patches.
        resume: use the episodes that an interrupted run of this command finished; an existing file is never replaced.
        exclude_episodes: indices of episodes to leave out; the others keep their indices, and so their split.
        exclude_corrupted: check all episodes first and leave out those that are damaged; which they are is logged.
        device: cpu, cuda or another of PyTorch's; auto is cuda where there is a GPU, else cpu.
    """
    used = _device(device)
    source = open_episodes(episodes)
    excluded = excluded_episodes(source, exclude_episodes, exclude_corrupted)
    spec = tokenizer_spec(run, source, patch_grid)
    with ProgressBar("tokenize", source.env_steps, "frames") as bar:
        file = tokenize(spec, source, Path(out), bar.advance, resume, excluded, used)
    slots, width = file.columns["tokens"][0][1:]
    return CommandResult(
        [f"{out}: {file.env_steps} frames as {slots} tokens x {width} ({bar.rate})"],
        next_command=f"cjepa fit -c {experiments_of(source.attributes)}/cjepa.yaml --data.init_args.path {out}",
    )


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
        episodes: episode file that the tokens come from; pairs are drawn from its test episodes.
        planner: searches action blocks, by class_path.
        objective: compares predicted futures with the goal, by class_path.
        env_id: Gymnasium id of the environment.
        env_kwargs: of the environment.
        pairs: start/goal pairs.
        goal_env_steps: between start and goal in their episode.
        budget_env_steps: env steps a trial may take.
        horizon_blocks: blocks a plan.
        frame_stride: env steps a block.
        seed: of pairs and planner.
        num_videos: the first so many trials are filmed.
        model_name: name in the results; default the run's folder.
        out: folder for results and videos; default RUN/plan.
        device: of world model and tokenizer: cpu, cuda or another of PyTorch's; auto is cuda where there is a GPU, else
            cpu.
    """
    used = _device(device)
    protocol = (pairs, goal_env_steps, budget_env_steps, horizon_blocks, frame_stride, seed)
    job = PlanJob(episodes, env_id, env_kwargs or {}, *protocol, num_videos)
    checkpoint = find_checkpoint(run)
    name = model_name or (checkpoint.parent.parent.name if checkpoint.suffix == ".ckpt" else checkpoint.parent.name)
    if out is None and not Path(run).is_dir():
        raise UserError(f"{run} is no run folder to put the results into; say where with --out")
    folder = _new_results(Path(out or f"{run}/plan"))
    with ProgressBar("plan", budget_env_steps, "env steps") as bar:
        rows = plan_model(job, checkpoint, name, planner, objective, folder, bar.advance, used)
    return CommandResult([f"{folder}/results.json"], results_table(rows), f"cjepa report {folder}")


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
    """The rows that stand beside every model: random actions, and the planner on the simulator itself.

    Args:
        episodes: episode file; pairs are drawn from its test episodes.
        planner: searches action blocks on the simulator, by class_path.
        out: folder for the results.
        env_id: Gymnasium id of the environment.
        env_kwargs: of the environment.
        pairs: start/goal pairs.
        goal_env_steps: between start and goal in their episode.
        budget_env_steps: env steps a trial may take.
        horizon_blocks: blocks a plan.
        frame_stride: env steps a block.
        seed: of pairs, random actions and planner.
        workers: processes, 0 for all cores.
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
    folder = _new_results(Path(out))
    with ProgressBar("plan baselines", pairs, "trials") as bar:
        rows = plan_baselines(job, planner, folder, workers or default_workers(), bar.advance)
    return CommandResult([f"{out}/results.json"], results_table(rows), f"cjepa report {out}")


def report_command(folder: str) -> CommandResult:
    """(Re)build the HTML report of a run or a study.

    Args:
        folder: of the run or study.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such run or study folder")
    return CommandResult([str(build_report(Path(folder)))])


def export_command(run: str, out: str) -> CommandResult:
    """Weights as safetensors, config and a model card, into a folder that is accepted wherever a run is.

    Args:
        run: run folder or checkpoint.
        out: folder to make.
    """
    return CommandResult([str(export_run(run, Path(out)))], next_command=f"cjepa inspect {out}")


def info_command() -> CommandResult:
    """Versions and devices: what a bug report needs."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    lines = [
        f"device {device}, {default_workers()} cores, {torch.get_num_threads()} torch threads",
    ]
    return CommandResult(lines + [f"{name} {version}" for name, version in versions().items()])


def _device(name: str) -> torch.device:
    """What is meant, and there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        one = torch.ones(1, device=name)
        one.item()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f"--device {name}: there is no such device here; expected auto, cpu or cuda") from None
    return one.device


def _new_results(folder: Path) -> Path:
    if (folder / "results.json").exists():
        raise UserError(f"{folder} holds results already; choose another --out or delete it first")
    return folder
