"""Trials of a planning evaluation as CSV: one row per trial, and one row per env step."""

from pathlib import Path

from cjepa.evaluation.planning.contest import Contest
from cjepa.evaluation.planning.control import ControlResult
from cjepa.files import write_text
from cjepa.planning.mpc import PlanRecord
from cjepa.reporting.tables import csv_text


def write_tables(folder: Path, agents: dict[str, list[ControlResult]], contest: Contest) -> None:
    """Write ``trials.csv`` and ``steps.csv``.

    Args:
        folder: to write into.
        agents: results of each, whose trials in order are those of the contest.
        contest: of all agents.
    """
    for name, rows in (("trials", _trials_table(agents, contest)), ("steps", _steps_table(agents))):
        write_text(folder / f"{name}.csv", csv_text(rows))


def _trials_table(agents: dict[str, list[ControlResult]], contest: Contest) -> list[list]:
    """One row per trial and agent; errors are in tolerances, success is below 1 in each.

    Outcomes stay empty where the goal is only a picture.
    """
    names = next(iter(agents.values()))[0].error_names
    outcome = ["success", "env_steps_to_success", *(f"final_error_{name}" for name in names), "plans", "fallbacks"]
    rows = [["model", "pair", "episode", "start_row", *outcome]]
    for model, parts in agents.items():
        trials = (trial for part in parts for trial in _trials(part))
        for index, (pair, trial) in enumerate(zip(contest.pairs.trials, trials, strict=True)):
            rows.append([model, index, pair.episode, pair.start_row, *trial])
    return rows


def _trials(control: ControlResult) -> list[list]:
    rows = []
    for trial, (success, steps) in enumerate(zip(control.success, control.env_steps_to_success, strict=True)):
        errors = [f"{value:.6g}" for value in control.final_error[trial]]
        outcome = [int(success), "" if steps is None else steps, *errors]
        if not control.measured:
            outcome = [""] * len(outcome)
        rows.append([*outcome, control.num_plans[trial], control.num_fallbacks[trial]])
    return rows


def _steps_table(agents: dict[str, list[ControlResult]]) -> list[list]:
    """One row per env step of a trial: the action that was executed, and the plan that it is from.

    ``fallback`` is 1 where the fallback acted instead of the plan. The first env step of a plan has the plan's expected
    ``cost``, and its ``surprise``: the error of what the plan before it expected of this moment. ``goal`` counts the
    goals from 0, sub-goals first; it is 0 where there is only one.
    """
    parts = next(iter(agents.values()))
    values = parts[0].actions[0].shape[1]
    names = [f"action_{value}" for value in range(values)]
    rows: list[list] = [["model", "pair", "env_step", *names, "plan", "fallback", "cost", "surprise", "goal"]]
    for model, parts in agents.items():
        trials = ((part, trial) for part in parts for trial in range(len(part.actions)))
        for pair, (part, trial) in enumerate(trials):
            rows += [[model, pair, *row] for row in _steps(part, trial)]
    return rows


def _steps(control: ControlResult, trial: int) -> list[list]:
    rows, index = [], -1
    starts = [record.env_step for record in control.plans]
    for env_step, action in enumerate(control.actions[trial]):
        is_first = env_step in starts
        index += is_first
        record = control.plans[index]
        goal = 0 if record.goal_B is None else record.goal_B[trial]
        said = _said(record, trial) if is_first else ["", ""]
        rows.append(
            [env_step, *(f"{value:.6g}" for value in action), index, int(record.fallback_B[trial]), *said, goal]
        )
    return rows


def _said(record: PlanRecord, trial: int) -> list[str]:
    surprise = "" if record.surprise_B is None else f"{record.surprise_B[trial]:.6g}"
    return [f"{record.plan.cost_B[trial]:.6g}", surprise]
