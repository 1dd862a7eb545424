"""A planning evaluation as files: rows with intervals, a record, a table of trials, and videos."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cjepa.counts import number_of
from cjepa.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_median,
    bootstrap_of_clusters,
    paired_difference,
    wilson_of_clusters,
)
from cjepa.evaluation.planning.action_stack import ActionStack
from cjepa.evaluation.planning.baselines import BaselineResults
from cjepa.evaluation.planning.contest import Contest
from cjepa.evaluation.planning.control import ControlResult
from cjepa.evaluation.planning.models import ModelResult
from cjepa.evaluation.planning.protocol import SHIFT_SPLIT
from cjepa.evaluation.planning.published import PUBLISHED_SPLIT
from cjepa.files import write_json
from cjepa.planning.hierarchy import Hierarchy
from cjepa.planning.planners.base import Planner
from cjepa.reporting.plan_tables import write_tables
from cjepa.reporting.plan_videos import write_videos
from cjepa.reporting.records import describe, evaluated_model, interval_row, result_row, write_run_record

Agents = dict[str, ControlResult]
"""What came of each agent's trials, by the agent's name in rows."""
_UNCERTAINTY = ["95 % Wilson intervals for rates", "95 % bootstrap otherwise", "clustered by episode"]


def write_model_result(
    result: ModelResult,
    folder: Path,
    *,
    name: str,
    checkpoint: Path,
    stack: ActionStack,
    seconds: float,
) -> list[dict]:
    """Write ``results.json``, ``run.json``, ``trials.csv``, ``steps.csv`` and ``media/*.mp4``; returns the rows.

    Args:
        result: of the evaluation.
        folder: to write into.
        name: of the model.
        checkpoint: of the model.
        stack: that was used.
        seconds: wall time of the evaluation.
    """
    contest, control, tokenizer = result.contest, result.control, result.loaded.tokenizer
    size = {"tokens": tokenizer.num_slots, "token_dim": tokenizer.slot_dim}
    name = _marked(name, contest)
    common = {"model": name, **_origin(contest, folder), **size}
    if result.goal_distance_N2 is None:
        rows = success_rows(control, contest, common)
    else:
        rows = [_distance_row(result.goal_distance_N2, contest, common)]
    rows += _timed(result.plan_seconds, contest, "s", common)
    rows.append(result_row("gigaflops_per_plan", result.plan_gigaflops, n=1, unit="GFLOP, counted", **common))
    made, unit = int(control.num_plans.sum()), f"s, of up to {len(control.success)} at once"
    rows.append(result_row("seconds_per_plan_batched", control.seconds_per_plan, n=made, unit=unit, **common))
    if stack.fallback is not None:
        rows.append(fallback_row(control, contest, common))
    write_videos(folder / "media", result)
    write_tables(folder, {name: [control]}, contest)
    identity = evaluated_model(name, checkpoint) | {
        "tokenizer_fingerprint": result.loaded.tokenizer_fingerprint,
        "device": str(next(result.loaded.dynamics.parameters()).device),
    }
    bounds = [result.blocks.low.tolist(), result.blocks.high.tolist()]
    actions = _actions(contest, stack.planner, bounds) | _guides(replace(stack, fallback=result.fallback))
    failures = _failures({"": [control]})
    if held := int(control.num_fallbacks.sum()):
        failures.append(f"the fallback replaced {number_of(held, 'plan')}")
    _write_record(folder, contest, identity, describe(stack.objective), actions, failures, seconds, stack.goal_image)
    write_json(folder / "results.json", rows)  # last: a folder that has it is done
    return rows


def write_baseline_results(
    results: BaselineResults, folder: Path, *, planner: Planner | None, seconds: float
) -> list[dict]:
    """Write ``results.json``, ``run.json``, ``trials.csv`` and ``steps.csv``; returns the rows.

    Args:
        results: of the evaluation.
        folder: to write into.
        planner: that was used on the simulator; None where nothing was.
        seconds: wall time of the evaluation.
    """
    contest = results.contest
    agents = _baseline_parts(results, planner)
    rows = []
    for name, parts in agents.items():
        common = {"model": name, **_origin(contest, folder)}
        rows += success_rows(joined(parts), contest, common)
    if planner is not None:
        plan_seconds = np.array([part.seconds_per_plan for part in results.simulator])
        rows += _timed(plan_seconds, contest, "s, one process", common)
    write_tables(folder, agents, contest)
    env = contest.protocol.make_env()
    actions = _actions(contest, planner, [bound.tolist() for bound in env.action_bounds()])
    identity, objective = {"name": ", ".join(agents)}, {"class": "state_error"}
    _write_record(folder, contest, identity, objective, actions, _failures(agents), seconds)
    write_json(folder / "results.json", rows)
    return rows


def model_agents(result: ModelResult, name: str) -> Agents:
    """The planner on a world model, by its name in rows; none where success is unknown."""
    return {_marked(name, result.contest): result.control} if result.control.measured else {}


def baseline_agents(results: BaselineResults, planner: Planner | None) -> Agents:
    """Chance and, if there is one, the planner on the simulator, by their names in rows."""
    return {name: joined(parts) for name, parts in _baseline_parts(results, planner).items()}


def _baseline_parts(results: BaselineResults, planner: Planner | None) -> dict[str, list[ControlResult]]:
    found = {"random": [results.random]}
    if planner is not None:
        found[f"simulator-{type(planner).__name__.lower()}"] = results.simulator
    return {_marked(name, results.contest): parts for name, parts in found.items()}


def _origin(contest: Contest, folder: Path) -> dict[str, Any]:
    protocol = contest.protocol
    split = protocol.split if protocol.shift is None else f"{SHIFT_SPLIT}{protocol.shift}"
    split = PUBLISHED_SPLIT if protocol.published_protocol else split
    return {"seed": protocol.agent_seed, "split": split, "run": folder.name}


def _marked(name: str, contest: Contest) -> str:
    """The name of an agent in rows: what is not comparable must not share a row, a colour or a mean."""
    name = name if contest.protocol.shift is None else f"{name} (shift: {contest.protocol.shift})"
    return f"{name} (as published)" if contest.protocol.published_protocol else name


def joined(parts: Sequence[ControlResult]) -> ControlResult:
    """What the rows need of results of some trials each."""
    names = ("success", "final_error", "num_plans", "num_fallbacks")
    values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    steps = [steps for part in parts for steps in part.env_steps_to_success]
    return parts[0]._replace(**values, env_steps_to_success=steps)


def success_rows(control: ControlResult, contest: Contest, common: dict[str, Any]) -> list[dict]:
    """How often and how fast trials reach their goals, how near they come, and how they compare with rivals.

    Args:
        control: what came of all trials.
        contest: of these trials, in the same order.
        common: what all rows say.
    """
    success_N, episode_N = control.success, contest.pairs.episodes
    steps_N = np.array([steps for steps in control.env_steps_to_success if steps is not None])
    told = any(pair.sentence is not None for pair in contest.pairs.trials)
    tolerances = ("the region",) if told else contest.protocol.make_env().error_tolerances
    units = [f"of tolerance ({text})" for text in tolerances] or ["of tolerance"] * len(control.error_names)
    measured = [
        ("success", wilson_of_clusters(success_N, episode_N), "rate", episode_N),
        ("env_steps_to_success", bootstrap_median(steps_N, episode_N[success_N]), "median", episode_N[success_N]),
    ]
    for name, unit, error_N in zip(control.error_names, units, control.final_error.T, strict=True):
        measured.append((f"final_error_{name}", bootstrap_of_clusters(error_N, episode_N), unit, episode_N))
    rows = [
        interval_row(metric, interval, unit=unit, episodes=len(np.unique(of_N)), **common)
        for metric, interval, unit, of_N in measured
    ]
    trivial = "solved_at_start" if contest.protocol.published_protocol else "skipped_trivial_pairs"
    rows.append(result_row(trivial, contest.pairs.num_trivial, unit="pairs", **common))
    for rival in contest.rivals:
        difference = paired_difference(success_N, rival.success_N, episode_N)
        unit, episodes = f"rate, minus that of {rival.model} ({rival.run})", len(np.unique(episode_N))
        rows.append(interval_row("success_difference", difference, unit=unit, episodes=episodes, **common))
    return rows


def fallback_row(control: ControlResult, contest: Contest, common: dict[str, Any]) -> dict:
    """The share of all plans instead of which the fallback acted; arguments as of :func:`success_rows`."""
    share = bootstrap_of_clusters(control.num_fallbacks, contest.pairs.episodes, control.num_plans)
    return interval_row("fallbacks", share, unit="of the plans", **common)


def _timed(plan_seconds_C: np.ndarray, contest: Contest, unit: str, common: dict[str, Any]) -> list[dict]:
    """Seconds per plan, and per env step that is executed of it."""
    executed = contest.protocol.control_loop().execute_blocks * contest.protocol.frame_stride
    timed = bootstrap(plan_seconds_C)
    of_env_step = Interval(*(seconds / executed for seconds in timed[:3]), timed.n)
    found = {"seconds_per_plan": timed, "seconds_per_env_step": of_env_step}
    return [interval_row(name, interval, unit=unit, **common) for name, interval in found.items()]


def _distance_row(distance_N2: np.ndarray, contest: Contest, common: dict[str, Any]) -> dict:
    """How near to a goal picture trials come whose success nobody can measure."""
    start_N, end_N = distance_N2.T
    episode_N = contest.pairs.episodes
    left = bootstrap_of_clusters(end_N / start_N, episode_N)
    episodes = len(np.unique(episode_N))
    return interval_row("final_goal_distance", left, unit="of tokens, of the start's", episodes=episodes, **common)


def _actions(contest: Contest, planner: Planner | None, bounds: list) -> dict[str, Any]:
    loop = contest.protocol.control_loop()
    return {
        "planner": "none" if planner is None else describe(planner),
        "bounds": bounds,
        "execute_blocks": loop.execute_blocks,
        "warm_start": loop.warm_start,
        "fallback": "none",
    }


def _guides(stack: ActionStack) -> dict[str, Any]:
    """What guides the planner or overrules it, and ``none`` for what does not."""
    given = {
        "fallback": stack.fallback and describe(stack.fallback),
        "prior": stack.prior,
        "sub_goals": stack.sub_goals and asdict(stack.sub_goals),
        "hierarchy": stack.hierarchy and _described(stack.hierarchy),
        "policy_share": stack.policy_share,
    }
    common = {"constraints": [describe(one) for one in stack.constraints or ()], "history_blocks": stack.history_blocks}
    return common | {name: "none" if value is None else value for name, value in given.items()}


def _described(hierarchy: Hierarchy) -> dict[str, Any]:
    parts = {"planner": describe(hierarchy.planner), "objective": describe(hierarchy.objective)}
    return {"run": hierarchy.run, "horizon_blocks": hierarchy.horizon_blocks} | parts


def _failures(agents: dict[str, list[ControlResult]]) -> list[str]:
    """How many trials of each agent did not reach their goal; nothing where that is unknown."""
    found = []
    for name, parts in agents.items():
        success = np.concatenate([part.success for part in parts])
        if all(part.measured for part in parts):
            found.append(f"{name} {np.sum(~success)} of {number_of(len(success), 'trial')}".strip())
    return found


def _write_record(
    folder: Path,
    contest: Contest,
    model: dict,
    objective: dict,
    actions: dict,
    failures: list[str],
    seconds: float,
    goal_image: str | None = None,
) -> None:
    data = {"path": contest.protocol.episodes, "fingerprint": contest.fingerprint}
    pairs = {"held_out": contest.source.account, "trivial_pairs": "excluded"}
    if contest.protocol.published_protocol:
        pairs = {"held_out": f"nothing: {contest.source.account}", "trivial_pairs": "included"}
    evaluation = asdict(contest.protocol) | pairs
    evaluation |= {} if goal_image is None else {"goal_image": goal_image}
    write_run_record(
        folder,
        model=model,
        objective=objective,
        data=data,
        evaluation=evaluation,
        actions=actions,
        uncertainty=_UNCERTAINTY,
        failures=failures,
        seconds=seconds,
    )
