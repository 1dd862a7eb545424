"""Starts from which sentences should become true."""

import numpy as np

from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import parse
from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import Pair, Pairs, state_at, usable_episodes

_DRAWS = 100
"""For every pair that is wanted."""


def draw_told_pairs(
    file: Episodes, episodes: np.ndarray, env: ObjectEnv, n: int, goal_env_steps: int, seed: int, sentences: list[str]
) -> Pairs:
    """Draw starts in which a sentence is not true yet; its body has been moved to the nearest such place in the goal.

    Sentences take turns, and so do episodes.

    Args:
        file: with a ``state`` column.
        episodes: held-out episode indices.
        env: of the episodes.
        n: how many pairs.
        goal_env_steps: at least so many follow a start in its episode.
        seed: of the draw.
        sentences: that the grammar knows, at least one.

    Raises:
        UserError: the file has no states, no episode is long enough, or a sentence is about a body that is hardly ever
            there, or is true nearly everywhere.
    """
    usable = usable_episodes(file, episodes, env, goal_env_steps)
    rng = np.random.default_rng(seed)
    trials: list[Pair] = []
    trivial, order, seen = 0, [], set()
    for _ in range(_DRAWS * n):
        sentence = sentences[len(trials) % len(sentences)]
        statement = parse(sentence)
        order = order or rng.permutation(usable).tolist()
        episode = order.pop()
        row = int(file.offsets[episode] + rng.integers(0, file.lengths[episode] - goal_env_steps))
        start_F = state_at(file, row)
        places = env.named_places(start_F)
        seen.update(places)
        if statement.body not in places:
            continue
        if statement.error(places, env.table) < 1:
            trivial += 1
            continue
        goal_F = start_F.copy()
        goal_places = env.named_places(goal_F)
        goal_places[statement.body][:] = statement.nearest(places, env.table)
        trials.append(Pair(episode, row, start_F, goal_F, sentence))
        if len(trials) == n:
            return Pairs(trials, trivial)
    known = ", ".join(sorted(seen)) or "nothing that a sentence can name"
    raise UserError(
        f'--goal_text: "{sentence}": only {len(trials)} of {n} starts of {_DRAWS * n} in {file.path} have a '
        f"{statement.body} of which it is not true yet; they have: {known}"
    )
