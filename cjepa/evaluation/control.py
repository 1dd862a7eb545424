"""Closed-loop planning as published for Push-T: reach a state that a held-out episode reaches later."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.planning.agents import Agent, Situation
from cjepa.progress import Progress


class Pair(NamedTuple):
    """A start and a goal from one held-out episode."""

    episode: int
    start_row: int
    start_state: np.ndarray
    goal_state: np.ndarray


class Pairs(NamedTuple):
    """The trials of an evaluation, the same for every agent."""

    trials: list[Pair]
    num_trivial: int
    """Drawn pairs that already satisfied the success test at the start and were left out."""


class Trials(NamedTuple):
    """What came of the pairs, in their order."""

    success: np.ndarray
    """bool (n,)"""
    final_error: np.ndarray
    """The environment's state error at the end, (n, terms); below 1 in every term is success."""
    frames: list[np.ndarray]
    """For the recorded trials: uint8 (env steps + 1, Y, X, 3)."""
    plans: list[list[np.ndarray]]
    """For the recorded trials: the actions of every plan, float32 (env steps, action_dim)."""
    replan_situations: list[Situation]
    """All trials at the start of every plan; finished trials stay where they finished."""
    goals: Situation


def draw_pairs(file: Episodes, episodes: np.ndarray, env: ObjectEnv, n: int, goal_env_steps: int, seed: int) -> Pairs:
    """Draw start/goal pairs ``goal_env_steps`` apart, at most one an episode until all episodes were used.

    Args:
        file: with a ``state`` column.
        episodes: held-out episode indices.
        env: whose success test tells trivial pairs.
        n: how many pairs.
        goal_env_steps: between start and goal.
        seed: of the draw.

    Raises:
        UserError: no episode is long enough, or nearly all pairs are trivial.
    """
    rng = np.random.default_rng(seed)
    usable = [e for e in episodes if file.lengths[e] > goal_env_steps]
    if not usable:
        raise UserError(
            f"{file.path}: no held-out episode is longer than goal_env_steps = {goal_env_steps}; give a smaller value"
        )
    trials: list[Pair] = []
    trivial = 0
    order: list[int] = []
    for _ in range(100 * n):
        if len(trials) == n:
            break
        order = order or list(rng.permutation(usable))
        episode = int(order.pop())
        start_row = int(file.offsets[episode] + rng.integers(0, file.lengths[episode] - goal_env_steps))
        start = file.read("state", start_row, start_row + 1)[0].astype(np.float64)
        goal_row = start_row + goal_env_steps
        goal = file.read("state", goal_row, goal_row + 1)[0].astype(np.float64)
        if env.is_success(start, goal):
            trivial += 1
        else:
            trials.append(Pair(episode, start_row, start, goal))
    if len(trials) < n:
        raise UserError(
            f"{file.path}: only {len(trials)} of {n} pairs found in {100 * n} draws (pairs that pass the success test "
            "at the start are excluded); give fewer pairs or a longer goal_env_steps"
        )
    return Pairs(trials, trivial)


def run_trials(
    agent: Agent,
    make_env: Callable[[], ObjectEnv],
    pairs: list[Pair],
    budget_env_steps: int,
    seed: int,
    num_recorded: int,
    progress: Progress,
) -> Trials:
    """Plan, execute the whole plan, plan again until the budget is spent; a trial ends at its first success.

    Args:
        agent: chooses actions for all trials at once.
        make_env: one environment a trial.
        pairs: the trials, at least one.
        budget_env_steps: per trial.
        seed: of the agent's randomness.
        num_recorded: number of trials, from the first, that keep their frames and plans.
        progress: advanced by env steps done, of ``budget_env_steps``.
    """
    generator = torch.Generator().manual_seed(seed)
    envs = [make_env() for _ in pairs]
    goals = _situate(envs, [pair.goal_state for pair in pairs])
    now = _situate(envs, [pair.start_state for pair in pairs])
    goal_states = goals.state_BF
    done = np.zeros(len(pairs), bool)
    frames = [[env.render_pixels()] for env in envs[:num_recorded]]
    plans: list[list[np.ndarray]] = [[] for _ in range(min(num_recorded, len(pairs)))]
    situations: list[Situation] = []
    spent = 0
    while spent < budget_env_steps and not done.all():
        situations.append(now)
        actions = agent.act(now, goals, generator)[:, : budget_env_steps - spent]
        for recorded, plan in enumerate(plans):
            if not done[recorded]:
                plan.append(actions[recorded])
        for index, env in enumerate(envs):
            for action in actions[index]:
                if done[index]:
                    break
                env.advance(action)
                done[index] = env.is_success(env.get_state(), goal_states[index])
                if index < num_recorded:
                    frames[index].append(env.render_pixels())
        spent += actions.shape[1]
        now = _observe(envs)
        progress.advance(actions.shape[1])
    final_error = envs[0].state_error(now.state_BF, goal_states)
    return Trials(done, final_error, [np.stack(f) for f in frames], plans, situations, goals)


def _situate(envs: list[ObjectEnv], states: list[np.ndarray]) -> Situation:
    for env, state in zip(envs, states, strict=True):
        env.set_state(state)
    return _observe(envs)


def _observe(envs: list[ObjectEnv]) -> Situation:
    states = np.stack([env.get_state() for env in envs])
    proprio = np.stack([env.proprio() for env in envs])
    objects = np.stack([env.objects() for env in envs])
    return Situation(np.stack([env.render_pixels() for env in envs]), objects, proprio, states)
