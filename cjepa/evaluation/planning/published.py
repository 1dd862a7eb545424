"""Start/goal pairs as the published evaluations draw them: from training episodes, solved pairs included.

What comes of them says how much such a protocol is worth; it is never compared with held-out pairs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cjepa.counts import number_of
from cjepa.data.splits import SPLIT_SEED, SPLIT_SHARES, Lineage, split_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import Pair, Pairs, PairSource, check_states, state_at

PUBLISHED_SPLIT = "published"
"""Of result rows, instead of ``test`` or ``val``."""


def trained_on(file: Episodes, lineage: Mapping[str, Any], data: Mapping[str, Any]) -> PairSource:
    """The episodes of a file that a model learned from.

    Args:
        file: of episodes.
        lineage: of the model; empty in checkpoints from before 0.3.0, and for agents that learn from nothing.
        data: options of the data module, which count where there is no lineage.

    Raises:
        UserError: the model learned from no episode of the file.
    """
    split_seed, excluded = data.get("split_seed", SPLIT_SEED), data.get("exclude_episodes") or ()
    if lineage:
        model = Lineage(**lineage)
        split_seed, excluded = model.split_seed, model.excluded
        if model.episodes_fingerprint != file.fingerprint:
            raise UserError(
                f"--published_protocol draws pairs from the model's training episodes, but those are not {file.path} "
                f"(fingerprint {file.fingerprint}, expected {model.episodes_fingerprint}); give the file that the "
                "model was trained on"
            )
    episodes = np.setdiff1d(split_episodes(len(file), SPLIT_SHARES, split_seed)["train"], list(excluded))
    account = (
        f"{number_of(len(episodes), 'training episode')} (split_seed {split_seed}), solved pairs included: as published"
    )
    return PairSource(episodes, account)


def draw_as_published(
    file: Episodes, episodes: np.ndarray, env: ObjectEnv, n: int, goal_env_steps: int, seed: int
) -> Pairs:
    """Draw pairs among all start rows that have a goal, none twice; those that are solved at the start stay in.

    Args:
        file: with a ``state`` column.
        episodes: indices of training episodes.
        env: whose success test counts the trivial pairs.
        n: how many pairs.
        goal_env_steps: between start and goal.
        seed: of the draw.

    Raises:
        UserError: the file has no states, or too few of them have a goal.
    """
    check_states(file, env)
    starts_E = file.offsets[episodes]
    counts_E = np.clip(file.lengths[episodes] - goal_env_steps, 0, None)
    if counts_E.sum() < n:
        raise UserError(
            f"{file.path}: {counts_E.sum()} states of training episodes have a goal {goal_env_steps} env steps later; "
            f"expected at least {n}: give fewer --pairs or a smaller --goal_env_steps"
        )
    drawn = np.random.default_rng(seed).choice(counts_E.sum(), n, replace=False)
    before_E = np.cumsum(counts_E) - counts_E
    trials = []
    for number in drawn:
        place = int(np.searchsorted(before_E, number, side="right")) - 1
        row = int(starts_E[place] + number - before_E[place])
        trials.append(Pair(int(episodes[place]), row, state_at(file, row), state_at(file, row + goal_env_steps)))
    return Pairs(trials, sum(bool(env.is_success(pair.start_state, pair.goal_state)) for pair in trials))
