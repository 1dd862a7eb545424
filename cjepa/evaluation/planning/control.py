"""Closed-loop planning as published for Push-T: reach a state that a held-out episode reaches later."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cjepa.data.workers import held_in_workers
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.planning.films import Film, filmed_trials
from cjepa.evaluation.planning.pairs import Pair
from cjepa.evaluation.planning.plant import Trials, makers
from cjepa.planning.agents import Agent
from cjepa.planning.mpc import MPC, PlanRecord
from cjepa.planning.perception import Observation
from cjepa.planning.sub_goals import SubGoals
from cjepa.progress import Progress

LATENCY_CALLS = 10
_LATENCY_SECONDS = 15.0
_FEWEST_CALLS = 5  # the interval of fewer says nothing


class ControlResult(NamedTuple):
    """What came of n trials, in the order of their pairs."""

    success: np.ndarray
    """bool (n,)"""
    final_error: np.ndarray
    """The environment's state error at the end, (n, terms); below 1 in every term is success."""
    error_names: tuple[str, ...]
    """Of the terms."""
    env_steps_to_success: list[int | None]
    """None for trials that failed."""
    num_plans: np.ndarray
    """Plans that were made for each trial before it ended, int (n,)."""
    num_fallbacks: np.ndarray
    """Plans of each trial instead of which the fallback acted, int (n,)."""
    plans: list[PlanRecord]
    """All planning calls."""
    actions: list[np.ndarray]
    """Of each trial, as executed, float32 (env steps, values)."""
    films: list[Film]
    """Of some successes and some failures."""
    starts: Observation
    ends: Observation
    goals: Observation

    @property
    def measured(self) -> bool:
        """Whether the goals have states, by which success and errors are measured; a goal image alone has none."""
        return bool(np.isfinite(self.final_error).all())

    @property
    def seconds_per_plan(self) -> float:
        """Mean wall time of a plan, of all running trials at once."""
        return sum(record.seconds for record in self.plans) / int(self.num_plans.sum())


class SuccessProgress(Progress):
    """Says with every step how many of the trials have succeeded so far, where this can be known.

    Args:
        progress: of the evaluation.
        trials: that are under way.
    """

    def __init__(self, progress: Progress, trials: Trials):
        self._progress, self._success = progress, trials.success
        self._is_known = np.isfinite(trials.goals.state_BF).all()

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """See :meth:`Progress.advance`."""
        if self._is_known:
            note = f"success {100 * self._success.mean():.0f} % of {len(self._success)}"
        self._progress.advance(amount, new, note)


def run_trials(
    agent: Agent,
    control_loop: MPC,
    make_env: Callable[[], ObjectEnv],
    pairs: Sequence[Pair],
    budget_env_steps: int,
    seed: int,
    num_recorded: int,
    progress: Progress,
    goal_pixels_YXC: np.ndarray | None = None,
    sub_goals: SubGoals | None = None,
    workers: int = 1,
) -> ControlResult:
    """Control one environment per pair until its first success, or until the budget is spent.

    Args:
        agent: plans for all trials at once.
        control_loop: how its plans are executed.
        make_env: one environment per trial.
        pairs: the trials, at least one.
        budget_env_steps: per trial.
        seed: of the agent's randomness.
        num_recorded: so many trials are filmed, successes and failures in turn.
        progress: advanced by env steps done, of ``budget_env_steps``.
        goal_pixels_YXC: what the agent is shown of all goals; None for what the environment shows of their states.
        sub_goals: to aim at before the goals, checked; None for the straight way.
        workers: processes that share the environments; results do not depend on their number.
    """
    generator = torch.Generator().manual_seed(seed)
    with held_in_workers(makers(make_env, pairs), workers) as each:
        trials = Trials(each, pairs, goal_pixels_YXC)
        arguments = (trials.goals, budget_env_steps, generator, SuccessProgress(progress, trials))
        plans = control_loop.run(agent, trials, *arguments, None if sub_goals is None else trials.route(sub_goals))
        error_NT, ends = trials.errors(), trials.observe()
        ended = np.where(trials.success, trials.env_steps, budget_env_steps)
        made_PN = np.array([record.env_step < ended for record in plans])
        fallback_PN = np.array([record.fallback_B.numpy() for record in plans])
        return ControlResult(
            trials.success,
            error_NT,
            trials.error_names(),
            [int(steps) if good else None for steps, good in zip(trials.env_steps, trials.success, strict=True)],
            made_PN.sum(axis=0),
            (made_PN & fallback_PN).sum(axis=0),
            plans,
            trials.actions(),
            trials.films(filmed_trials(trials.success, num_recorded)),
            trials.starts,
            ends,
            trials.goals,
        )


def plan_seconds(agent: Agent, start: Observation, goal: Observation) -> np.ndarray:
    """Wall time of plans for one environment on its own, what a robot would wait for, in s.

    Args:
        agent: to time.
        start: of one environment, or of several of which only the first counts.
        goal: likewise.

    Returns:
        Ten times (calls,), after a call to warm up; fewer, at least five, where all calls would take over 15 s.
    """
    seconds: list[float] = []
    for call in range(LATENCY_CALLS + 1):
        if len(seconds) > _FEWEST_CALLS and sum(seconds) > _LATENCY_SECONDS:
            break
        started = time.perf_counter()
        agent.reset(goal.first(1))
        agent.observe(start.first(1))
        agent.plan(torch.Generator().manual_seed(call))
        seconds.append(time.perf_counter() - started)
    return np.array(seconds[1:])  # the first call of a shape also pays for the selection of kernels
