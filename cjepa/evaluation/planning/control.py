"""Closed-loop planning as published for Push-T: reach a state that a held-out episode reaches later."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import parse
from cjepa.evaluation.planning.films import Film, filmed_trials
from cjepa.evaluation.planning.pairs import Pair
from cjepa.pictures import read_picture
from cjepa.planning.agents import Agent
from cjepa.planning.mpc import MPC, PlanRecord
from cjepa.planning.perception import Observation
from cjepa.planning.sub_goals import Route, SubGoals
from cjepa.progress import Progress

SENTENCE_ERRORS = ("region",)
"""Names of the terms by which it is measured whether a sentence is true."""
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


class Trials:
    """A batch of environments on their way to goals; each stops at its first success.

    Args:
        envs: one per trial.
        pairs: starts and goals.
        goal_pixels_YXC: what the agent is shown of all goals; None for what the environment shows of their states.
    """

    def __init__(
        self,
        envs: Sequence[ObjectEnv],
        pairs: Sequence[Pair],
        goal_pixels_YXC: np.ndarray | None = None,
    ):
        self.envs = envs
        goals = None if np.isnan(pairs[0].goal_state).any() else _situate(envs, [pair.goal_state for pair in pairs])
        self.starts = _situate(envs, [pair.start_state for pair in pairs])
        self.goals = goals or _without_state(self.starts)
        if goal_pixels_YXC is not None:
            self.goals = _shown(self.goals, goal_pixels_YXC)
        sentences = tuple(pair.sentence for pair in pairs)
        self._statements = [None if sentence is None else parse(sentence) for sentence in sentences]
        if None not in sentences:
            self.goals = self.goals._replace(sentences_B=sentences)
        self.success = np.zeros(len(envs), bool)
        self.env_steps = np.zeros(len(envs), int)
        """That each trial has taken."""
        self._actions: list[list[np.ndarray]] = [[] for _ in envs]
        self._states: list[list[np.ndarray]] = [[env.get_state()] for env in envs]

    @property
    def finished(self) -> np.ndarray:
        """Which trials have succeeded, bool (n,)."""
        return self.success.copy()

    def route(self, sub_goals: SubGoals) -> Route:
        """The way of all trials to their goals; leaves them at their starts."""
        if sub_goals.images:
            pictures = [read_picture(Path(image)) for image in sub_goals.images]
            unknown = _without_state(self.starts)
            unknown = unknown._replace(proprio_BP=np.full_like(unknown.proprio_BP, np.nan))
            seen = [_shown(unknown, pixels_YXC) for pixels_YXC in pictures]
        else:
            seen = [_situate(self.envs, [np.array(state)] * len(self.envs)) for state in sub_goals.states]
            _situate(self.envs, list(self.starts.state_BF))
        return Route([*seen, self.goals], sub_goals.reached_distance, sub_goals.most_env_steps)

    def observe(self) -> Observation:
        """See :class:`cjepa.planning.mpc.Plant`."""
        return observe(self.envs)

    def execute(self, actions_BTA: np.ndarray) -> None:
        """See :class:`cjepa.planning.mpc.Plant`."""
        for index, env in enumerate(self.envs):
            for action in actions_BTA[index]:
                if self.success[index]:
                    break
                env.advance(action)
                self._actions[index].append(np.array(action, np.float32))
                self.env_steps[index] += 1
                self.success[index] = self._is_success(index)
                self._states[index].append(env.get_state())

    def errors(self) -> np.ndarray:
        """The state error of every trial now, (n, terms)."""
        return np.stack([self._error(index) for index in range(len(self.envs))])

    def error_names(self, terms: int) -> tuple[str, ...]:
        """Of the terms of :meth:`errors`."""
        return SENTENCE_ERRORS if self.goals.sentences_B else error_names(self.envs[0], terms)

    def actions(self) -> list[np.ndarray]:
        """Of every trial, as executed, (env steps, values)."""
        return [np.array(actions, np.float32) for actions in self._actions]

    def film(self, index: int) -> Film:
        """Of one trial so far: its environment is put through the states that it has passed, and left in the last."""
        env, moments = self.envs[index], []
        for state in self._states[index]:
            env.set_state(state)
            moments.append((*observe([env]).shown, self._error(index)[None]))
        *seen, error_TE = (np.concatenate(values) for values in zip(*moments, strict=True))
        return Film(index, Observation(*seen), error_TE)

    def _is_success(self, index: int) -> bool:
        env, statement = self.envs[index], self._statements[index]
        if statement is None:
            return env.is_success(env.get_state(), self.goals.state_BF[index])
        return bool(self._error(index)[0] < 1)

    def _error(self, index: int) -> np.ndarray:
        """Of one trial now, (terms,)."""
        env, statement = self.envs[index], self._statements[index]
        state = env.get_state()
        if statement is None:
            return env.state_error(state, self.goals.state_BF[index])
        return np.array([statement.error(env.named_places(state), env.table)])


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
    """
    generator = torch.Generator().manual_seed(seed)
    trials = Trials([make_env() for _ in pairs], pairs, goal_pixels_YXC)
    arguments = (trials.goals, budget_env_steps, generator, SuccessProgress(progress, trials))
    plans = control_loop.run(agent, trials, *arguments, None if sub_goals is None else trials.route(sub_goals))
    error_NT, ends = trials.errors(), trials.observe()
    ended = np.where(trials.success, trials.env_steps, budget_env_steps)
    made_PN = np.array([record.env_step < ended for record in plans])
    fallback_PN = np.array([record.fallback_B.numpy() for record in plans])
    return ControlResult(
        trials.success,
        error_NT,
        trials.error_names(error_NT.shape[1]),
        [int(steps) if good else None for steps, good in zip(trials.env_steps, trials.success, strict=True)],
        made_PN.sum(axis=0),
        (made_PN & fallback_PN).sum(axis=0),
        plans,
        trials.actions(),
        [trials.film(index) for index in filmed_trials(trials.success, num_recorded)],
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


def observe(envs: Sequence[ObjectEnv]) -> Observation:
    """A batch of environments as they are now."""
    columns = zip(*((e.render_pixels(), e.objects(), e.proprio(), e.get_state()) for e in envs), strict=True)
    return Observation(*(np.stack(values) for values in columns))


def error_names(env: ObjectEnv, terms: int) -> tuple[str, ...]:
    """Names of the terms of the state error, numbers where the environment has none."""
    return env.error_names if len(env.error_names) == terms else tuple(str(term) for term in range(terms))


def _situate(envs: Sequence[ObjectEnv], states: Sequence[np.ndarray]) -> Observation:
    for env, state in zip(envs, states, strict=True):
        env.set_state(state)
    return observe(envs)


def _shown(goals: Observation, pixels_YXC: np.ndarray) -> Observation:
    """Goals of which the agent is shown one picture."""
    shape = (len(goals.proprio_BP), *pixels_YXC.shape)
    return goals._replace(pixels_BYXC=np.broadcast_to(pixels_YXC, shape).copy())


def _without_state(like: Observation) -> Observation:
    """Goals of which only a picture is known; the pixels are to be replaced."""
    nan = {name: np.full_like(getattr(like, name), np.nan) for name in ("objects_BOF", "state_BF")}
    return like._replace(**nan)
