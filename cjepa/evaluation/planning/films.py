"""Films of planned trials: what was seen, and what the agent imagined whenever it made a plan.

Both are made when the trials are over and their outcomes are known: frames from the states that were passed, imagined
futures by an agent that looks at the frames again. So only what is shown is drawn and kept.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.bodies import body_slots
from cjepa.interventions.quantities import Quantity, exact_place
from cjepa.planning.mpc import PlanRecord
from cjepa.planning.perception import Observation
from cjepa.planning.world_model_agent import WorldModelAgent

_CANDIDATES = 8
"""Whose paths are shown beside that of the plan, if there are as many."""


class Film(NamedTuple):
    """What was seen of one trial."""

    trial: int
    seen: Observation
    """At the start and after every env step, one row each."""
    error_TE: np.ndarray
    """The environment's state error of the same moments, E terms."""

    @property
    def frames(self) -> np.ndarray:
        """uint8 (T, Y, X, 3)."""
        return self.seen.pixels_BYXC


class Imagined(NamedTuple):
    """What an agent expected of one trial when it made a plan; O bodies whose slots are known."""

    env_step: int
    tokens_HSD: Tensor
    """Of the actions that were chosen, in the tokenizer's units, on the CPU."""
    paths_NUO2: np.ndarray | None
    """Places of bodies in the environment's units, now and after each of H blocks (U = 1 + H): of the chosen actions,
    then of other good candidates, best first. None where tokens do not hold places, or no slot shows each body."""


def filmed_trials(success_N: np.ndarray, most: int) -> list[int]:
    """Trials worth a film, in order: the first success, the first failure, the second success and so on."""
    rank_N = np.where(success_N, success_N.cumsum(), (~success_N).cumsum())
    return sorted(rank_N.argsort(kind="stable")[:most].tolist())


def imagine_films(
    agent: WorldModelAgent,
    env: ObjectEnv,
    films: Sequence[Film],
    goals: Observation,
    actions: Sequence[np.ndarray],
    plans: Sequence[PlanRecord],
) -> list[list[Imagined]]:
    """What was imagined in each film, plan by plan.

    Args:
        agent: that planned the trials; it is left in another trial.
        env: of the frames; it is left in another state.
        films: of some trials.
        goals: of all trials.
        actions: of all trials, as executed, (env steps, values).
        plans: of all trials.
    """
    watching = copy.copy(agent)
    watching.high_level = None  # what a plan aims at does not change what its actions are expected to do
    place = None if env.table is None else exact_place(agent.tokenizer, env.table[1])
    return [_imagine(watching, env, place, film, goals.at([film.trial]), actions[film.trial], plans) for film in films]


def _imagine(
    agent: WorldModelAgent,
    env: ObjectEnv,
    place: Quantity | None,
    film: Film,
    goal: Observation,
    actions_TV: np.ndarray,
    plans: Sequence[PlanRecord],
) -> list[Imagined]:
    """Look at one film block by block, and imagine again where a plan was made."""
    stride, made = agent.blocks.frame_stride, {record.env_step: record for record in plans}
    agent.reset(goal)
    found, block_1A = [], None
    for env_step in range(0, len(actions_TV), stride):
        now = film.seen.at([env_step])
        agent.observe(now, block_1A)
        block_1A = torch.from_numpy(actions_TV[env_step : env_step + stride].reshape(1, -1))
        if env_step not in made:
            continue
        candidates_NHA = _candidates(made[env_step], film.trial)
        agent.problem(torch.Generator(), candidates_NHA.shape[1])
        tokens_NHSD = agent.imagine_candidates(candidates_NHA)
        slots = [] if place is None else list(body_slots(agent.tokenizer, env, now).values())
        paths = _paths(agent.situation().tokens_BSD.cpu(), tokens_NHSD, place, slots) if slots else None
        found.append(Imagined(env_step, tokens_NHSD[0], paths))
    return found


def _candidates(record: PlanRecord, trial: int) -> Tensor:
    """The chosen actions of one trial and some others, ``(N, H, A)``."""
    chosen_1HA, others = record.actions_BHA[trial : trial + 1], record.plan.elites_BKHA
    return chosen_1HA if others is None else torch.cat([chosen_1HA, others[trial, :_CANDIDATES]])


def _paths(now_1SD: Tensor, tokens_NHSD: Tensor, place: Quantity, slots: list[int]) -> np.ndarray:
    now_NUSD = now_1SD.expand(len(tokens_NHSD), 1, *now_1SD.shape[1:])
    return place.read(torch.cat([now_NUSD, tokens_NHSD], dim=1)[:, :, slots]).double().numpy()
