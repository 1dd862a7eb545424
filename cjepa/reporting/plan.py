"""A planning evaluation as files: rows with intervals, a record, and videos of the first trials."""

import multiprocessing
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cjepa.data.splits import SPLIT_SEED, SPLIT_SHARES
from cjepa.data.store.episode_file import split_episodes
from cjepa.data.store.shards import open_episodes
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.control import Pair, Pairs, Trials, draw_pairs, run_trials
from cjepa.evaluation.intervals import bootstrap, wilson
from cjepa.files import write_json
from cjepa.planning.agents import Agent, RandomAgent, SimulatorAgent, Situation, WorldModelAgent
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.progress import NoProgress, Progress
from cjepa.reporting.records import describe, interval_row, result_row, write_run_record
from cjepa.reporting.videos import overlay_masks, side_by_side, write_video
from cjepa.tokenizers.base import check_environment
from cjepa.tokenizers.encode import device_of, encode_clips, read_columns
from cjepa.types import VideoBatch, to_byte_pixels
from cjepa.world_models.loading import load_world_model

_LATENCY_CALLS = 3
_VIDEO_FPS = 8


class PlanJob(NamedTuple):
    """The protocol of one evaluation: what every agent of a table shares."""

    episodes: str
    env_id: str
    env_kwargs: dict[str, Any]
    pairs: int
    goal_env_steps: int
    budget_env_steps: int
    horizon_blocks: int
    frame_stride: int
    seed: int
    num_videos: int

    def make_env(self) -> ObjectEnv:
        """A fresh simulator."""
        return make_env(self.env_id, self.env_kwargs)

    def draw(self) -> Pairs:
        """The trials, from test episodes."""
        file = open_episodes(self.episodes)
        test = split_episodes(len(file), SPLIT_SHARES, SPLIT_SEED)["test"]
        return draw_pairs(file, test, self.make_env(), self.pairs, self.goal_env_steps, self.seed)


def plan_model(
    job: PlanJob,
    checkpoint: Path,
    name: str,
    planner: Planner,
    objective: Objective,
    folder: Path,
    progress: Progress,
    device: torch.device | str = "cpu",
) -> list[dict]:
    """Evaluate a world model; writes ``results.json``, ``run.json`` and ``media/*.mp4`` into ``folder``.

    Raises:
        UserError: the tokenizer is not the one that the world model was trained with, or the blocks differ.
    """
    started = time.time()
    loaded = load_world_model(checkpoint)
    model, tokenizer = loaded.dynamics.to(device), loaded.tokenizer.to(device)
    values = job.frame_stride * job.make_env().action_space.shape[0]
    if values != model.action_dim:
        raise UserError(
            f"frame_stride {job.frame_stride} gives {values} action values per block, but {checkpoint} has "
            f"{model.action_dim}"
        )
    check_environment(tokenizer, job.env_id, f"--env_id {job.env_id}")
    agent = WorldModelAgent(model, tokenizer, planner, objective, job.horizon_blocks, job.frame_stride)
    pairs = job.draw()
    timed = _Timed(agent)
    trials = run_trials(timed, job.make_env, pairs.trials, job.budget_env_steps, job.seed, job.num_videos, progress)
    size = {"tokens": tokenizer.num_slots, "token_dim": tokenizer.slot_dim}
    rows = _success_rows(job, name, trials, pairs, folder, size)
    rows.append(_latency_row(job, name, agent, trials, folder, size))
    rows.append(
        result_row(
            "seconds_per_plan_batched",
            timed.seconds / timed.plans,
            n=timed.plans,
            unit=f"s, of {len(pairs.trials)} at once",
            model=name,
            seed=job.seed,
            run=folder.name,
            **size,
        )
    )
    _write_videos(folder / "media", agent, tokenizer, trials)
    write_json(folder / "results.json", rows)
    identity = {"name": name, "checkpoint": str(checkpoint), "tokenizer_fingerprint": loaded.tokenizer_fingerprint}
    identity["device"] = str(device)
    _write_record(job, folder, started, identity, planner, describe(objective))
    return rows


def plan_baselines(job: PlanJob, planner: Planner, folder: Path, workers: int, progress: Progress) -> list[dict]:
    """The two rows that stand in every table: random actions, and the planner on the simulator itself."""
    started = time.time()
    pairs = job.draw()
    action_dim = job.make_env().action_space.shape[0]
    random_agent = RandomAgent(job.horizon_blocks * job.frame_stride, action_dim)
    trials = run_trials(random_agent, job.make_env, pairs.trials, job.budget_env_steps, job.seed, 0, NoProgress())
    rows = _success_rows(job, "random", trials, pairs, folder, {})
    # one task a trial: results then do not depend on the number of workers
    tasks = [(job, planner, pair, job.seed + index) for index, pair in enumerate(pairs.trials)]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread) as pool:
        outcomes = []
        for outcome in pool.imap(_simulator_trial, tasks):
            outcomes.append(outcome)
            progress.advance(1)
    success = np.array([outcome[0] for outcome in outcomes])
    seconds = np.array([outcome[2] / max(outcome[3], 1) for outcome in outcomes])
    ceiling = Trials(success, np.stack([outcome[1] for outcome in outcomes]), [], [], [], trials.goals)
    rows += _success_rows(job, "simulator-cem", ceiling, pairs, folder, {})
    interval = bootstrap(seconds)
    rows.append(
        result_row(
            "seconds_per_plan",
            interval.value,
            n=interval.n,
            low=interval.low,
            high=interval.high,
            unit="s, one process",
            model="simulator-cem",
            seed=job.seed,
            run=folder.name,
        )
    )
    write_json(folder / "results.json", rows)
    _write_record(job, folder, started, {"name": "random, simulator-cem"}, planner, {"class": "state_error"})
    return rows


class _Timed(Agent):
    """Counts plans and the seconds they take."""

    def __init__(self, agent: Agent):
        self.agent = agent
        self.seconds, self.plans = 0.0, 0

    def act(self, now: Situation, goal: Situation, generator: torch.Generator) -> np.ndarray:
        started = time.perf_counter()
        actions = self.agent.act(now, goal, generator)
        self.seconds += time.perf_counter() - started
        self.plans += len(actions)
        return actions


def _simulator_trial(task: tuple[PlanJob, Planner, Pair, int]) -> tuple[bool, np.ndarray, float, int]:
    job, planner, pair, seed = task
    agent = _Timed(SimulatorAgent(job.make_env(), planner, job.horizon_blocks, job.frame_stride))
    trials = run_trials(agent, job.make_env, [pair], job.budget_env_steps, seed, 0, NoProgress())
    return bool(trials.success[0]), trials.final_error[0], agent.seconds, agent.plans


def _one_thread() -> None:
    torch.set_num_threads(1)


def _success_rows(job: PlanJob, name: str, trials: Trials, pairs: Pairs, folder: Path, size: dict) -> list[dict]:
    common = {"model": name, "seed": job.seed, "run": folder.name, **size}
    rate = wilson(int(trials.success.sum()), len(trials.success))
    rows = [interval_row("success", rate, unit="rate", **common)]
    for term in range(trials.final_error.shape[1]):
        error = bootstrap(trials.final_error[:, term])
        rows.append(interval_row(f"final_error_{term}", error, unit="of tolerance", **common))
    rows.append(result_row("skipped_trivial_pairs", pairs.num_trivial, unit="pairs", **common))
    return rows


def _latency_row(job: PlanJob, name: str, agent: WorldModelAgent, trials: Trials, folder: Path, size: dict) -> dict:
    """Wall time of a plan for one environment on its own, what a robot would wait for."""
    one = [Situation(*(values[:1] for values in part)) for part in (trials.replan_situations[0], trials.goals)]
    agent.plan(*one, torch.Generator().manual_seed(0))  # the first call of a shape also pays for kernel selection
    seconds = []
    for call in range(_LATENCY_CALLS):
        started = time.perf_counter()
        agent.plan(*one, torch.Generator().manual_seed(call))
        seconds.append(time.perf_counter() - started)
    common = {"model": name, "seed": job.seed, "run": folder.name, **size}
    return interval_row("seconds_per_plan", bootstrap(np.array(seconds)), unit="s", **common)


def _write_videos(folder: Path, agent: WorldModelAgent, tokenizer, trials: Trials) -> None:
    """real | imagined | goal; the imagined column holds each block's decoded prediction while the block runs."""
    for trial, (frames, plans) in enumerate(zip(trials.frames, trials.plans, strict=True)):
        real = overlay_masks(frames, _masks(tokenizer, frames))
        goal = trials.goals.pixels_BYXC[trial][None]
        panels, labels = [real], ["real"]
        imagined = _imagined(agent, tokenizer, trials, trial, len(frames), plans)
        if imagined is not None:
            panels.append(imagined)
            labels.append("imagined")
        outcome = "success" if trials.success[trial] else "failure"
        video = side_by_side([*panels, overlay_masks(goal, _masks(tokenizer, goal))], [*labels, f"goal ({outcome})"], 4)
        write_video(folder / f"trial{trial:02d}-{outcome}.mp4", video, fps=_VIDEO_FPS)


def _masks(tokenizer, frames_TYXC: np.ndarray) -> np.ndarray:
    nothing = np.zeros((len(frames_TYXC), 1, *frames_TYXC.shape[1:3]), np.float32)
    if "pixels" not in read_columns(tokenizer):
        return nothing
    decoded = _decode(tokenizer, encode_clips(tokenizer, VideoBatch(torch.from_numpy(frames_TYXC)[None])))
    return nothing if decoded is None else decoded[1][0].numpy()


def _imagined(agent, tokenizer, trials: Trials, trial: int, num_frames: int, plans: list[np.ndarray]):
    blocks = []
    for plan, situation in zip(plans, trials.replan_situations, strict=False):
        now = Situation(*(values[trial : trial + 1] for values in situation))
        steps = agent.horizon_blocks * agent.frame_stride
        padded = np.concatenate([plan, np.zeros((steps - len(plan), plan.shape[1]), np.float32)])
        decoded = _decode(tokenizer, agent.imagine(now, padded[None]))
        if decoded is None:
            return None
        imagined = overlay_masks(to_byte_pixels(decoded[0][0]).numpy(), decoded[1][0].numpy())
        blocks.append(np.repeat(imagined, agent.frame_stride, axis=0))
    first = blocks[0][:1]
    return np.concatenate([first, *blocks])[:num_frames]


def _decode(tokenizer, tokens_BTSD: torch.Tensor) -> list[torch.Tensor] | None:
    """Frames and masks on the CPU, or None where there is no decoder."""
    decoded = tokenizer.decode(tokens_BTSD.to(device_of(tokenizer)))
    return decoded and [values.float().cpu() for values in decoded]


def _write_record(job: PlanJob, folder: Path, started: float, model: dict, planner: Planner, objective: dict) -> None:
    write_run_record(
        folder,
        model=model,
        objective=objective,
        data={"path": job.episodes, "fingerprint": open_episodes(job.episodes).fingerprint, "split_seed": SPLIT_SEED},
        evaluation={**job._asdict(), "held_out": "test episodes, split by episode", "trivial_pairs": "excluded"},
        actions={"planner": describe(planner), "bounds": [-1, 1]},
        uncertainty=["95 % Wilson intervals for rates", "95 % bootstrap otherwise"],
        seconds=time.time() - started,
    )
