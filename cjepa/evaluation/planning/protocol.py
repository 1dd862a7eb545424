"""The protocol of a planning evaluation: what every agent of a table shares."""

import inspect
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv, Shift
from cjepa.envs.sentences import EXAMPLE, parse
from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import Split
from cjepa.planning.mpc import MPC

SHIFT_SPLIT = "shift: "
"""How the split of result rows begins that are of a shifted environment; the name of the shift follows."""
GOALS_AS_PUBLISHED = "--published_protocol takes states of training episodes as goals; leave one of the two out"


@dataclass(frozen=True)
class PlanningProtocol:
    """Start/goal pairs of recorded episodes, and how long and how often an agent may plan.

    Args:
        episodes: episode file; pairs are drawn from those of its episodes that were held out from training.
        env_id: Gymnasium id of the environment; needed only where the episodes do not name it.
        env_kwargs: of the environment; needed only where the episodes do not name them.
        split: test, or val to choose settings by; of the training's split by episode.
        published_protocol: draw pairs as published instead: from training episodes, pairs solved at the start included.
            The results are marked and never compared with those of held-out pairs.
        pairs: number of start/goal pairs.
        goal_env_steps: env steps from start to goal in their episode.
        goal_offsets: several values of goal_env_steps, such as 25,50,75,100, each evaluated in its own folder;
            the budget grows with them.
        seeds: several values of planner_seed, such as 0,1,2, each evaluated in its own folder on the same pairs;
            one row has the success of all, and its interval takes pairs, not trials, for independent.
        shift: name of a change that the model has not seen, such as colours; evaluated in a folder of its own, beside
            the episodes as they are, from the same states. A wrong name lists those that the environment offers.
        goal_state: the goal of all trials, a whole state of the environment, instead of states of the episodes.
        goal_text: a sentence that should become true, such as "push the block to the left wall", instead of a state; of
            several, trials take turns. Success is that it is true.
        against: folder of another evaluation of the same trials; the difference in success is reported, pair by pair.
        budget_env_steps: most env steps per trial.
        horizon_blocks: blocks per plan; fewer near the end of the budget, beyond which no plan reaches.
        execute_blocks: blocks of every plan that are executed before the next one is made; default all of them.
        warm_start: begin every search at what the last plan has left; for execute_blocks below horizon_blocks.
        frame_stride: env steps per block.
        seed: seed of pairs, planner and random actions.
        planner_seed: seed of planner and random actions only; default: seed.
    """

    episodes: str
    env_id: str | None = None
    env_kwargs: dict[str, Any] | None = None
    split: Split = "test"
    published_protocol: bool = False
    pairs: PositiveInt = 50
    goal_env_steps: PositiveInt = 25
    goal_offsets: list[PositiveInt] | None = None
    seeds: list[NonNegativeInt] | None = None
    shift: str | None = None
    goal_state: list[float] | None = None
    goal_text: str | list[str] | None = None
    against: str | None = None
    budget_env_steps: PositiveInt = 50
    horizon_blocks: PositiveInt = 5
    execute_blocks: PositiveInt | None = None
    warm_start: bool = False
    frame_stride: PositiveInt = 5
    seed: NonNegativeInt = 0
    planner_seed: NonNegativeInt | None = None

    def __post_init__(self):
        if self.published_protocol and self.goal_state is not None:
            raise UserError(f"--goal_state: {GOALS_AS_PUBLISHED}")
        if self.published_protocol and self.split != "test":
            raise UserError(f"--split {self.split}: --published_protocol draws pairs from training episodes; give one")

        if self.goal_text is not None:
            self._check_sentences()
        for name, values, example in (
            ("goal_offsets", self.goal_offsets, "25,50,75,100"),
            ("seeds", self.seeds, "0,1,2"),
        ):
            if values is not None and (not values or len(set(values)) < len(values)):
                raise UserError(f"--{name}: {values}, expected different numbers, for example {example}")
        if self.goal_offsets and self.goal_state is not None:
            raise UserError("--goal_state: a given goal has no distance in episodes; leave out --goal_offsets")

    def _check_sentences(self) -> None:
        for name in ("goal_state", "goal_offsets", "shift"):
            if getattr(self, name) is not None:
                raise UserError(f"--goal_text: the sentence is the goal; leave out --{name}")
        if self.published_protocol:
            raise UserError("--goal_text: --published_protocol has states as goals; leave one of the two out")
        if not self.sentences:
            raise UserError(f'--goal_text: no sentence; give for example "{EXAMPLE}"')
        for sentence in self.sentences:
            try:
                parse(sentence)
            except UserError as error:
                raise UserError(f"--goal_text: {error}") from None

    @property
    def sentences(self) -> list[str]:
        """Those of ``goal_text``."""
        return [self.goal_text] if isinstance(self.goal_text, str) else self.goal_text or []

    @property
    def agent_seed(self) -> int:
        """Seed of planner and random actions."""
        return self.seed if self.planner_seed is None else self.planner_seed

    def parts(self) -> dict[str, "PlanningProtocol"]:
        """The protocols of all shifts, seeds and goal_offsets by the names of their folders; empty if there is one."""
        parts = {"": self}
        for split in (_by_shift, _by_seed, _by_distance):
            parts = {
                "-".join(filter(None, (name, more))): finer
                for name, part in parts.items()
                for more, finer in split(part).items()
            }
        if list(parts) == [""]:
            return {}
        return {
            name: part if self.against is None else replace(part, against=f"{self.against}/{name}")
            for name, part in parts.items()
        }

    def make_env(self) -> ObjectEnv:
        """A fresh simulator, shifted if the protocol is; of a protocol that :func:`with_environment` has completed.

        Raises:
            UserError: the environment has no such shift.
        """
        kwargs = self.env_kwargs or {}
        return make_env(self.env_id, kwargs if self.shift is None else kwargs | dict(self._shift().env_kwargs))

    def shifted(self, state: np.ndarray) -> np.ndarray:
        """What a recorded state is in this protocol, ``(F,)``."""
        change = None if self.shift is None else self._shift().state
        return state if change is None else change(state)

    def _shift(self) -> Shift:
        shifts = make_env(self.env_id, self.env_kwargs or {}).shifts
        if self.shift not in shifts:
            offered = ", ".join(shifts) or "no shifts (docs/add-an-environment.md)"
            raise UserError(f"--shift {self.shift}: {self.env_id} offers {offered}")
        return shifts[self.shift]

    def control_loop(self) -> MPC:
        """How plans are executed.

        Raises:
            UserError: more blocks to execute than there are in a plan, or nothing left to start the next plan from.
        """
        blocks = self.execute_blocks or self.horizon_blocks
        if blocks > self.horizon_blocks:
            raise UserError(f"execute_blocks is {blocks}, expected 1..horizon_blocks = {self.horizon_blocks}")
        if self.warm_start and blocks == self.horizon_blocks:
            raise UserError(
                f"warm_start: whole plans of {blocks} blocks are executed, so that nothing is left to start the next "
                f"one from; give execute_blocks below {self.horizon_blocks}"
            )
        return MPC(blocks, self.warm_start)


def _by_shift(protocol: PlanningProtocol) -> dict[str, PlanningProtocol]:
    if protocol.shift is None:
        return {"": protocol}
    return {"as-recorded": replace(protocol, shift=None), f"shift-{protocol.shift}": protocol}


def _by_seed(protocol: PlanningProtocol) -> dict[str, PlanningProtocol]:
    seeds = protocol.seeds or ()
    parts = {f"seed-{seed}": replace(protocol, seeds=None, planner_seed=seed) for seed in seeds}
    return parts or {"": protocol}


def _by_distance(protocol: PlanningProtocol) -> dict[str, PlanningProtocol]:
    parts = {}
    for offset in protocol.goal_offsets or ():
        budget = max(1, round(protocol.budget_env_steps * offset / protocol.goal_env_steps))
        changes = {"goal_offsets": None, "goal_env_steps": offset, "budget_env_steps": budget}
        parts[f"goal-{offset}"] = replace(protocol, **changes)
    return parts or {"": protocol}


def goal_state_of(protocol: PlanningProtocol, file: Episodes) -> np.ndarray | None:
    """The goal that the protocol names, float64 ``(F,)``; None where goals are states of the episodes.

    Args:
        protocol: that names its environment.
        file: its episodes.

    Raises:
        UserError: its values are not those of a state of the environment, or are far outside of the episodes' states.
    """
    return None if protocol.goal_state is None else checked_state(protocol.goal_state, protocol, file, "--goal_state")


def checked_state(values: list[float], protocol: PlanningProtocol, file: Episodes, option: str) -> np.ndarray:
    """A state that an option gives, float64 ``(F,)``.

    Args:
        values: of the state.
        protocol: that names its environment.
        file: its episodes.
        option: for messages.

    Raises:
        UserError: its values are not those of a state of the environment, or are far outside of the episodes' states.
    """
    goal, like = np.array(values, np.float64), protocol.make_env().get_state()
    if goal.shape != like.shape or not np.isfinite(goal).all():
        raise UserError(
            f"{option}: {values}, expected {len(like)} finite numbers: a state of {protocol.env_id}, "
            "as in the column `state` of its episodes (`cjepa inspect` prints the ranges)"
        )
    _check_within_reach(goal, file, option)
    return goal


def _check_within_reach(goal_F: np.ndarray, file: Episodes, option: str) -> None:
    """Refuse a goal in other units, or outside of the world: beyond the episodes' states by more than they differ."""
    if "state" not in file.columns or file.columns["state"][0][1:] != goal_F.shape:
        return  # refused where starts are drawn
    states_TF = file.read("state", 0, file.env_steps).astype(np.float64)
    low_F, high_F = states_TF.min(axis=0), states_TF.max(axis=0)
    width_F = high_F - low_F
    far = (width_F > 0) & ((goal_F < low_F - width_F) | (goal_F > high_F + width_F))
    if far.any():
        index = int(np.argmax(far))
        raise UserError(
            f"{option}: value {index} is {goal_F[index]:g}, but in the states of {file.path} it is "
            f"{low_F[index]:g} to {high_F[index]:g}; give a state that the environment can reach"
        )


def with_environment(protocol: PlanningProtocol, file: Episodes) -> PlanningProtocol:
    """The protocol with the environment that the episodes are of.

    Args:
        protocol: that may name an environment.
        file: its episodes.

    Raises:
        UserError: the episodes are of another environment than the protocol's, or neither names one.
    """
    recorded = file.attributes.get("env_id")
    if recorded is None:
        if file.attributes.get("format") == "cjepa-tokens":
            raise UserError(f"{file.path}: contains tokens; give the episode file that they were made from")
        if protocol.env_id is None:
            raise UserError(f"{file.path} does not name its environment; give --env_id, for example cjepa/PushT-v0")
        return replace(protocol, env_kwargs=protocol.env_kwargs or {})
    if protocol.env_id not in (None, recorded):
        raise UserError(f"--env_id {protocol.env_id}: {file.path} has episodes of {recorded}; leave --env_id out")
    if ":" in recorded and protocol.env_id is None:  # Gymnasium would import what stands before the colon
        raise UserError(f"{file.path}: its environment is in a module of its own; give --env_id {recorded}")
    kwargs = _recorded_kwargs(file)
    if protocol.env_kwargs is not None:
        found, wanted = (_all_arguments(recorded, given) for given in (kwargs, protocol.env_kwargs))
        if differing := sorted(name for name in found | wanted if found.get(name) != wanted.get(name)):
            name = differing[0]
            raise UserError(
                f"--env_kwargs: {name} is {wanted.get(name)}, but {file.path} was recorded with {found.get(name)}; "
                "leave --env_kwargs out"
            )
    return replace(protocol, env_id=recorded, env_kwargs=kwargs)


def _recorded_kwargs(file: Episodes) -> dict[str, Any]:
    return from_json(file.path, file.attributes, "env_kwargs") if "env_kwargs" in file.attributes else {}


def _all_arguments(env_id: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of what is not given, as JSON has them."""
    parameters = inspect.signature(type(make_env(env_id, kwargs)).__init__).parameters.values()
    defaults = {entry.name: entry.default for entry in parameters if entry.default is not inspect.Parameter.empty}
    return json.loads(json.dumps(defaults | kwargs, default=str))
