"""Starts from which sentences should become true, and states in which they are."""

from collections.abc import Sequence

import numpy as np

from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import Statement, parse
from cjepa.errors import UserError
from cjepa.evaluation.pairs import Pair, Pairs, check_states, state_at

_MOST_STATES = 2000
_DRAWS = 100
"""For every pair that is wanted."""


def draw_told_pairs(
    file: Episodes, episodes: np.ndarray, env: ObjectEnv, n: int, goal_env_steps: int, seed: int, sentences: list[str]
) -> Pairs:
    """Draw starts in which a sentence is not true yet; the goal state is one of the episodes in which it is.

    Of those, it is the one whose body is nearest to where it is at the start: what a planner would be shown that cannot
    read. Sentences take turns.

    Args:
        file: with a ``state`` column.
        episodes: held-out episode indices.
        env: of the episodes.
        n: how many pairs.
        goal_env_steps: at least so many follow a start in its episode.
        seed: of the draw.
        sentences: that the grammar knows, at least one.

    Raises:
        UserError: the file has no states, no episode is long enough, or a sentence is about a body that is not
            there, or is true nowhere or nearly everywhere.
    """
    check_states(file, env)
    rng = np.random.default_rng(seed)
    usable = [e for e in episodes if file.lengths[e] > goal_env_steps]
    if not usable:
        raise UserError(
            f"{file.path}: no held-out episode is longer than goal_env_steps = {goal_env_steps}; give a smaller value"
        )
    among = _States(file, usable, env)
    wanted = [(sentence, among.checked(parse(sentence), sentence)) for sentence in sentences]
    trials: list[Pair] = []
    trivial = 0
    order: list[int] = []
    for _ in range(_DRAWS * n):
        if len(trials) == n:
            break
        sentence, statement = wanted[len(trials) % len(wanted)]
        order = order or rng.permutation(usable).tolist()
        episode = order.pop()
        row = int(file.offsets[episode] + rng.integers(0, file.lengths[episode] - goal_env_steps))
        start_F = state_at(file, row)
        places = env.named_places(start_F)
        if statement.body not in places:
            continue
        if statement.error(places, env.table) < 1:
            trivial += 1
            continue
        goal_F = among.nearest(statement, places[statement.body])
        trials.append(Pair(episode, row, start_F, goal_F, sentence))
    if len(trials) < n:
        raise UserError(
            f"{file.path}: only {len(trials)} of {n} starts found in {_DRAWS * n} draws in which the body of the "
            "sentence is there and the sentence is not true yet; give fewer --pairs, or another sentence"
        )
    return Pairs(trials, trivial)


class _States:
    """States from all over some episodes, and what is true in them."""

    def __init__(self, file: Episodes, episodes: Sequence[int], env: ObjectEnv):
        rows = np.concatenate([file.offsets[e] + np.arange(file.lengths[e]) for e in episodes])
        rows = rows[:: max(1, -(-len(rows) // _MOST_STATES))]
        self.path, self.table = file.path, env.table
        self.states = [state_at(file, int(row)) for row in rows]
        self.places = [env.named_places(state_F) for state_F in self.states]

    def checked(self, statement: Statement, sentence: str) -> Statement:
        """The statement, if there is a state in which it is true."""
        names = sorted({name for known in self.places for name in known})
        if statement.body not in names:
            known = ", ".join(names) or "nothing that a sentence can name"
            raise UserError(f'--goal_text: "{sentence}": no {statement.body} in {self.path}; it has: {known}')
        if not self._true(statement):
            raise UserError(f'--goal_text: "{sentence}": this is true in no held-out state of {self.path}')
        return statement

    def nearest(self, statement: Statement, place_2: np.ndarray) -> np.ndarray:
        """Of the states in which a statement is true, the one whose body is nearest to a place."""
        true = self._true(statement)
        return self.states[min(true, key=lambda n: np.linalg.norm(self.places[n][statement.body] - place_2))]

    def _true(self, statement: Statement) -> list[int]:
        known = [n for n, places in enumerate(self.places) if statement.body in places]
        return [n for n in known if statement.error(self.places[n], self.table) < 1]
