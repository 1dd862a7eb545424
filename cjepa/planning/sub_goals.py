"""Goals on the way: an agent aims at one after the other, and every environment goes on when it is ready."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cjepa.arguments import at_least
from cjepa.errors import UserError
from cjepa.planning.agents import Agent
from cjepa.planning.perception import Observation


@dataclass(frozen=True)
class SubGoals:
    """What the agent is to reach before the goal, in order (as V-JEPA 2-AC picks and places); as states or as images.

    Args:
        states: whole states of the environment.
        images: pictures, for models that look at pictures.
        reached_distance: a sub-goal is reached at this mean squared error of tokens, in the units of the model; 0.2 of
            `zoo:pusht-best` is about 14 px and 14 degrees.
        most_env_steps: the agent goes on to the next one after so many, reached or not.
    """

    states: list[list[float]] | None = None
    images: list[str] | None = None
    reached_distance: float = 0.2
    most_env_steps: int = 25

    def __post_init__(self):
        if bool(self.states) == bool(self.images):
            raise UserError("--sub_goals: expected either states or images, one or more")
        try:
            at_least(0, reached_distance=self.reached_distance)
            at_least(1, most_env_steps=self.most_env_steps)
        except ValueError as error:
            raise UserError(f"--sub_goals.{error}") from None


class Route:
    """Which of several goals each of B environments is on its way to.

    Args:
        goals: in order, of all environments.
        reached_distance: see :class:`SubGoals`.
        most_env_steps: on the way to each but the last.
    """

    def __init__(self, goals: Sequence[Observation], reached_distance: float, most_env_steps: int):
        self.goals = goals
        self.reached_distance = reached_distance
        self.most_env_steps = most_env_steps
        self.index_B = np.zeros(len(goals[0].proprio_BP), int)
        """Of the goal that each environment is on its way to."""
        self._begun_B = np.zeros_like(self.index_B)

    @property
    def goal(self) -> Observation:
        """What each environment is on its way to."""
        columns = zip(*(goal.shown for goal in self.goals), strict=True)  # sentences have no sub-goals
        return Observation(*(np.stack(each)[self.index_B, np.arange(len(self.index_B))] for each in columns))

    def update(self, agent: Agent, now: Observation, env_step: int) -> None:
        """Let environments that have reached their goal, or have had their time, aim at the next one.

        Args:
            agent: of all environments; is told where to aim.
            now: what is seen of them.
            env_step: since the start.
        """
        distance_B = agent.goal_distance(now)
        late_B = env_step - self._begun_B >= self.most_env_steps
        ready_B = late_B if distance_B is None else late_B | (distance_B.numpy() <= self.reached_distance)
        goes_on_B = ready_B & (self.index_B < len(self.goals) - 1)
        self.index_B = self.index_B + goes_on_B
        self._begun_B = np.where(goes_on_B, env_step, self._begun_B)
        agent.aim(self.goal)
