"""Start/goal pairs of recorded episodes, from those that a model did not learn from."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import numpy as np

from cjepa.counts import number_of
from cjepa.data.splits import SPLIT_SEED, SPLIT_SHARES, Lineage, held_out, split_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.planning.compatibility import check_proprio_units, check_proprio_width
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.objectives import Learned, Objective
from cjepa.world_models.dynamics import Dynamics

Split = Literal["val", "test"]
_SAMPLED_STATES = 64


class Pair(NamedTuple):
    """A start from a held-out episode, and a goal: a later state of it, or one that is given."""

    episode: int
    start_row: int
    start_state: np.ndarray
    goal_state: np.ndarray
    sentence: str | None = None
    """That should become true; the goal state is then the start's with the body of the sentence moved."""


class Pairs(NamedTuple):
    """The trials of an evaluation, the same for every agent."""

    trials: list[Pair]
    num_trivial: int
    """Drawn pairs that already satisfied the success test at the start; they are left out unless drawn as published."""

    @property
    def episodes(self) -> np.ndarray:
        """Index of the episode that each pair is from; pairs of one episode are not independent."""
        return np.array([pair.episode for pair in self.trials])

    def of_states(self, change: Callable[[np.ndarray], np.ndarray]) -> "Pairs":
        """The same pairs with other starts and goals, of which ``change`` makes each."""
        trials = [
            pair._replace(start_state=change(pair.start_state), goal_state=change(pair.goal_state))
            for pair in self.trials
        ]
        return self._replace(trials=trials)


class PairSource(NamedTuple):
    """Episodes to draw pairs from."""

    episodes: np.ndarray
    """Sorted indices."""
    account: str
    """Which these are and why, for people."""


def held_out_from(
    file: Episodes, lineage: Mapping[str, Any], data: Mapping[str, Any], split: Split = "test", learner: str = "model"
) -> PairSource:
    """The episodes of a file that a model did not learn from.

    Args:
        file: of episodes.
        lineage: of the model, as its checkpoint holds it; empty in checkpoints from before 0.3.0.
        data: options of the data module that the model was trained with. They count where there is no lineage: the
            episodes are then taken for those of the training.
        split: of the training, whose episodes are wanted.
        learner: what the model is, for messages.

    Raises:
        UserError: the file is another version of the episodes that the model learned from, or no episode is left.
    """
    if not lineage:
        return _held_out_by_options(file, data, split)
    model = Lineage(**lineage)
    episodes = _some(file, held_out(file, model, split), split, learner)
    if file.fingerprint != model.episodes_fingerprint:
        same = "; --split test takes the same, so test what you choose on other episodes" if split == "val" else ""
        return PairSource(episodes, f"all {len(file)} episodes: the model was trained on none of them{same}")
    return PairSource(
        episodes,
        f"{number_of(len(episodes), f'{split} episode')} of the training's split (split_seed {model.split_seed})",
    )


def held_out_from_objectives(
    file: Episodes, objectives: Iterable[tuple[Objective | Fallback, Mapping[str, Any]]], split: Split = "test"
) -> list[tuple[str, PairSource]]:
    """The episodes of a file that objectives did not learn from: for each model or probe in them once, with its name.

    Args:
        file: of episodes.
        objectives: each with the lineage of the world model that it is for; fallbacks too.
        split: of the training, whose episodes are wanted.

    Raises:
        UserError: as :func:`held_out_from`.
    """
    found: list[Learned] = []
    for objective, lineage in objectives:
        for learned in objective.learned(lineage):
            if learned not in found:
                found.append(learned)
    return [(name, held_out_from(file, lineage, {}, split, name)) for name, lineage in found]


def common_to(file: Episodes, sources: Sequence[tuple[str, PairSource]]) -> PairSource:
    """The episodes that several models have in common, such as those that none of them learned from.

    Args:
        file: of the episodes.
        sources: of each model, with what it is for people, such as policy; at least one.

    Raises:
        UserError: there are none.
    """
    if len(sources) == 1:
        return sources[0][1]
    episodes = reduce(np.intersect1d, [source.episodes for _, source in sources])
    accounts = "; ".join(f"{name}: {source.account}" for name, source in sources)
    if not len(episodes):
        raise UserError(f"{file.path}: no episode is held out from all at once ({accounts}); collect more episodes")
    return PairSource(episodes, f"{number_of(len(episodes), 'episode')} in common: {accounts}")


def held_out_by_seed(file: Episodes, split_seed: int | None, split: Split = "test") -> PairSource:
    """Episodes of a split, for agents that learn from nothing but share the pairs of models; all without a seed."""
    if split_seed is None:
        return PairSource(np.arange(len(file)), f"all {len(file)} episodes")
    episodes = _some(file, _episodes_of(file, split_seed, (), split), split)
    return PairSource(episodes, f"{number_of(len(episodes), f'{split} episode')} by split_seed {split_seed}")


def _held_out_by_options(file: Episodes, data: Mapping[str, Any], split: Split) -> PairSource:
    split_seed = data.get("split_seed", SPLIT_SEED)
    episodes = _some(file, _episodes_of(file, split_seed, data.get("exclude_episodes") or (), split), split, "model")
    source = "as in the training" if "split_seed" in data else "the default, since the checkpoint does not say"
    account = (
        f"{number_of(len(episodes), f'{split} episode')}, split_seed {split_seed} ({source}); the checkpoint is older "
        "than 0.3.0 and does not say which episodes it was trained on"
    )
    return PairSource(episodes, account)


def draw_pairs(
    file: Episodes,
    episodes: np.ndarray,
    env: ObjectEnv,
    n: int,
    goal_env_steps: int,
    seed: int,
    goal_state: np.ndarray | None = None,
) -> Pairs:
    """Draw start/goal pairs ``goal_env_steps`` apart, each from another episode as far as there are episodes.

    Episodes take turns; those that have given the fewest pairs, since others of theirs were trivial, come first.

    Args:
        file: with a ``state`` column.
        episodes: held-out episode indices.
        env: whose success test tells trivial pairs.
        n: how many pairs.
        goal_env_steps: between start and goal, and at least from a start to the end of its episode.
        seed: of the draw.
        goal_state: of all pairs; None for states of the episodes. Without a success test, as where it is NaN, no pair
            is trivial.

    Raises:
        UserError: the file has no states, no episode is long enough, or nearly all pairs are trivial.
    """
    usable = usable_episodes(file, episodes, env, goal_env_steps)
    rng = np.random.default_rng(seed)
    trials: list[Pair] = []
    trivial = 0
    order: list[int] = []
    given = dict.fromkeys(map(int, usable), 0)
    for _ in range(100 * n):
        if len(trials) == n:
            break
        order = order or sorted(rng.permutation(usable).tolist(), key=given.__getitem__, reverse=True)
        episode = order.pop()
        start_row = int(file.offsets[episode] + rng.integers(0, file.lengths[episode] - goal_env_steps))
        start = state_at(file, start_row)
        goal = state_at(file, start_row + goal_env_steps) if goal_state is None else goal_state
        if env.is_success(start, goal):
            trivial += 1
        else:
            trials.append(Pair(episode, start_row, start, goal))
            given[episode] += 1
    if len(trials) < n:
        mend = "give fewer --pairs or larger --goal_env_steps" if trials else "give larger --goal_env_steps"
        raise UserError(
            f"{file.path}: only {len(trials)} of {n} pairs found in {100 * n} draws (pairs that pass the success test "
            f"at the start are excluded); {mend}"
        )
    return Pairs(trials, trivial)


def usable_episodes(file: Episodes, episodes: np.ndarray, env: ObjectEnv, goal_env_steps: int) -> list[int]:
    """Those of some held-out episodes that are long enough for a start and what follows it.

    Raises:
        UserError: the file has no states of the environment, or no episode is long enough.
    """
    check_states(file, env)
    check_distance(file, episodes, goal_env_steps)
    return [e for e in episodes if file.lengths[e] > goal_env_steps]


def check_distance(file: Episodes, episodes: np.ndarray, goal_env_steps: int) -> None:
    """Check that a goal can be so far from its start.

    Raises:
        UserError: no episode is long enough.
    """
    longest = max(file.lengths[episodes], default=0)
    if longest <= goal_env_steps:
        raise UserError(
            f"{file.path}: no held-out episode is longer than goal_env_steps = {goal_env_steps}, the longest has "
            f"{longest} env steps; give a smaller value, or collect with a larger --episode_env_steps"
        )


def sampled_proprio(file: Episodes, env: ObjectEnv) -> np.ndarray:
    """Proprioception of an environment in states from all over a file, float32 ``(N, P)``.

    Args:
        file: with a ``state`` column of this environment.
        env: which is left in one of these states.
    """
    rows = np.unique(np.linspace(0, file.env_steps - 1, _SAMPLED_STATES).astype(int))
    values = []
    for row in rows:
        env.set_state(state_at(file, int(row)))
        values.append(env.proprio())
    return np.stack(values)


def check_proprio(dynamics: Dynamics, file: Episodes, env: ObjectEnv, where: str) -> None:
    """Check that a world model takes an environment's proprioception, in the units of its training.

    Args:
        dynamics: the world model.
        file: with a ``state`` column of the environment.
        env: which is left in one of these states.
        where: the world model is from.

    Raises:
        UserError: it takes another number of values, or values in other units.
    """
    check_proprio_width(dynamics, env, where)
    check_proprio_units(dynamics, sampled_proprio(file, env), where)


def _episodes_of(file: Episodes, split_seed: int, excluded: Collection[int], split: Split) -> np.ndarray:
    return np.setdiff1d(split_episodes(len(file), SPLIT_SHARES, split_seed)[split], list(excluded))


def _some(file: Episodes, episodes: np.ndarray, split: Split, learner: str = "") -> np.ndarray:
    if not len(episodes):
        part = f"{split} part of the split{f' of the {learner}' if learner else ''}"
        raise UserError(
            f"{file.path}: none of its {len(file)} episodes is in the {part}; collect more, 20 fill every part"
        )
    return episodes


def check_states(file: Episodes, env: ObjectEnv) -> None:
    """Check that a file has states of an environment.

    Raises:
        UserError: it has none, or of another shape.
    """
    if "state" not in file.columns:
        raise UserError(f"{file.path}: no column 'state', from which starts and goals are restored; collect episodes")
    found, expected = file.columns["state"][0][1:], env.get_state().shape
    if tuple(found) != expected:
        raise UserError(
            f"{file.path}: states of shape {tuple(found)}, but {type(env).__name__} has states of shape {expected}; "
            "give episodes of this environment"
        )


def state_at(file: Episodes, row: int) -> np.ndarray:
    """The state of one row, float64 ``(F,)``."""
    return file.read("state", row, row + 1)[0].astype(np.float64)
