"""What is controlled in an evaluation: one environment per trial, in this process or shared out over several."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cjepa.data.workers import Each
from cjepa.envs.base import ObjectEnv
from cjepa.envs.sentences import parse
from cjepa.evaluation.planning.films import Film
from cjepa.evaluation.planning.pairs import Pair
from cjepa.pictures import read_picture
from cjepa.planning.perception import Observation
from cjepa.planning.sub_goals import Route, SubGoals

SENTENCE_ERRORS = ("region",)
"""Names of the terms by which it is measured whether a sentence is true."""


class Trial:
    """An environment on its way to its goal; it stops at its first success.

    Args:
        make_env: the environment.
        pair: start and goal; a goal whose state is unknown is NaN.
    """

    def __init__(self, make_env: Callable[[], ObjectEnv], pair: Pair):
        self.env = make_env()
        self._statement = None if pair.sentence is None else parse(pair.sentence)
        is_known = not np.isnan(pair.goal_state).any()
        self.goal = self.seen(pair.goal_state) if is_known else None
        self.start = self.seen(pair.start_state)
        if self.goal is None:
            self.goal = _without_state(self.start)
        self._states = [self.env.get_state()]
        self._success = False

    def seen(self, state: np.ndarray | None = None) -> Observation:
        """The environment as it is now, or put into a state; one row."""
        if state is not None:
            self.env.set_state(state)
        return observe([self.env])

    def both_ends(self) -> tuple[Observation, Observation]:
        """Start and goal, one row each."""
        return self.start, self.goal

    def seen_in(self, states: Sequence[np.ndarray]) -> list[Observation]:
        """The environment in some states, one row each; then it is at its start again."""
        found = [self.seen(state) for state in states]
        self.env.set_state(self._states[0])
        return found

    def execute(self, actions_TA: np.ndarray) -> tuple[int, bool]:
        """Actions until the first success: how many were executed, and whether there has been a success."""
        for step, action in enumerate(actions_TA):
            if self._success:
                return step, True
            self.env.advance(action)
            self._success = self._is_success()
            self._states.append(self.env.get_state())
        return len(actions_TA), self._success

    def error(self) -> np.ndarray:
        """The state error now, (terms,)."""
        state = self.env.get_state()
        if self._statement is None:
            return self.env.state_error(state, self.goal.state_BF[0])
        return np.array([self._statement.error(self.env.named_places(state), self.env.table)])

    def error_names(self) -> tuple[str, ...]:
        """Of the terms of :meth:`error`."""
        return error_names(self.env, len(self.error())) if self._statement is None else SENTENCE_ERRORS

    def film(self, index: int) -> Film:
        """Of the trial of this number so far: the environment is put through all that it has passed."""
        moments = [(*self.seen(state).shown, self.error()[None]) for state in self._states]
        *seen, error_TE = (np.concatenate(values) for values in zip(*moments, strict=True))
        return Film(index, Observation(*seen), error_TE)

    def _is_success(self) -> bool:
        if self._statement is None:
            return self.env.is_success(self.env.get_state(), self.goal.state_BF[0])
        return bool(self.error()[0] < 1)


class Trials:
    """A batch of trials, see :class:`~cjepa.planning.mpc.Plant`.

    Args:
        each: calls a function with every :class:`Trial`.
        pairs: starts and goals.
        goal_pixels_YXC: what the agent is shown of all goals; None for what the environment shows of their states.
    """

    def __init__(self, each: Each, pairs: Sequence[Pair], goal_pixels_YXC: np.ndarray | None = None):
        self._each, self._none = each, [()] * len(pairs)
        starts, goals = zip(*each(Trial.both_ends, self._none), strict=True)
        self.starts, self.goals = _batch(starts), _batch(goals)
        if goal_pixels_YXC is not None:
            self.goals = _shown(self.goals, goal_pixels_YXC)
        sentences = tuple(pair.sentence for pair in pairs)
        if None not in sentences:
            self.goals = self.goals._replace(sentences_B=sentences)
        self.success = np.zeros(len(pairs), bool)
        self.env_steps = np.zeros(len(pairs), int)
        """That each trial has taken."""
        self._actions: list[list[np.ndarray]] = [[] for _ in pairs]

    @property
    def finished(self) -> np.ndarray:
        """Which trials have succeeded, bool (n,)."""
        return self.success.copy()

    def route(self, sub_goals: SubGoals) -> Route:
        """The way of all trials to their goals; leaves them at their starts."""
        if sub_goals.images:
            pictures = [read_picture(Path(image)) for image in sub_goals.images]
            unknown = _without_state(self.starts)
            seen = [_shown(unknown, pixels_YXC) for pixels_YXC in pictures]
        else:
            states = [np.array(state) for state in sub_goals.states]
            rows = self._each(Trial.seen_in, [(states,)] * len(self.success))
            seen = [_batch(of_goal) for of_goal in zip(*rows, strict=True)]
        return Route([*seen, self.goals], sub_goals.reached_distance, sub_goals.most_env_steps)

    def observe(self) -> Observation:
        """See :class:`cjepa.planning.mpc.Plant`."""
        return _batch(self._each(Trial.seen, self._none))

    def execute(self, actions_BTA: np.ndarray) -> None:
        """See :class:`cjepa.planning.mpc.Plant`."""
        outcomes = self._each(Trial.execute, [(actions_TA,) for actions_TA in np.asarray(actions_BTA)])
        for index, (taken, success) in enumerate(outcomes):
            self._actions[index] += [np.array(action, np.float32) for action in actions_BTA[index][:taken]]
            self.env_steps[index] += taken
            self.success[index] = success

    def errors(self) -> np.ndarray:
        """The state error of every trial now, (n, terms)."""
        return np.stack(self._each(Trial.error, self._none))

    def error_names(self) -> tuple[str, ...]:
        """Of the terms of :meth:`errors`."""
        return self._each(Trial.error_names, self._none)[0]

    def actions(self) -> list[np.ndarray]:
        """Of every trial, as executed, (env steps, values)."""
        return [np.array(actions, np.float32) for actions in self._actions]

    def films(self, numbers: Sequence[int]) -> list[Film]:
        """Of the trials of these numbers so far; they cannot go on then."""
        return self._each(Trial.film, [(number,) if number in numbers else None for number in range(len(self.success))])


def makers(make_env: Callable[[], ObjectEnv], pairs: Sequence[Pair]) -> list[Callable[[], Trial]]:
    """What makes each trial, in whichever process."""
    return [partial(Trial, make_env, pair) for pair in pairs]


def observe(envs: Sequence[ObjectEnv]) -> Observation:
    """A batch of environments as they are now."""
    columns = zip(*((e.render_pixels(), e.objects(), e.proprio(), e.get_state()) for e in envs), strict=True)
    return Observation(*(np.stack(values) for values in columns))


def error_names(env: ObjectEnv, terms: int) -> tuple[str, ...]:
    """Names of the terms of the state error, numbers where the environment has none."""
    return env.error_names if len(env.error_names) == terms else tuple(str(term) for term in range(terms))


def _batch(rows: Sequence[Observation]) -> Observation:
    """Observations of one row each as one."""
    return Observation(*(np.concatenate(values) for values in zip(*(row.shown for row in rows), strict=True)))


def _shown(goals: Observation, pixels_YXC: np.ndarray) -> Observation:
    """Goals of which the agent is shown one picture."""
    shape = (len(goals.proprio_BP), *pixels_YXC.shape)
    return goals._replace(pixels_BYXC=np.broadcast_to(pixels_YXC, shape).copy())


def _without_state(like: Observation) -> Observation:
    """Goals of which only a picture is known; the pixels are to be replaced."""
    nan = {name: np.full_like(getattr(like, name), np.nan) for name in ("objects_BOF", "proprio_BP", "state_BF")}
    return like._replace(**nan)
