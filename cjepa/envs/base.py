"""What every environment of this project offers beyond Gymnasium's API."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from cjepa.errors import UserError


class Shift(NamedTuple):
    """A change of an environment to something that its episodes do not show."""

    env_kwargs: Mapping[str, Any] = {}
    """That replace those of the episodes."""
    state: Callable[[np.ndarray], np.ndarray] | None = None
    """What a recorded state, float64 (F,), becomes; None: it stays."""


class ObjectEnv(gym.Env, ABC):
    """A seeded simulator that knows its objects.

    Subclasses set ``body_names``, ``attribute_names``, ``env_steps_per_second``, a finite one-dimensional
    ``action_space`` and observations with the keys ``pixels``, ``proprio`` and ``state``.
    """

    body_names: tuple[str, ...]
    """Label k + 1 in the mask image is ``body_names[k]``."""
    attribute_names: tuple[str, ...]
    """The columns of :meth:`objects`."""
    length_unit: str = "units"
    """Of places in :meth:`objects`."""
    env_steps_per_second: int
    goal_proprio: tuple[int, ...] | None = None
    """Indices of the proprio values that a goal fixes (the agent's place, not its speed); None: all of them."""
    table: tuple[float, float] | None = None
    """Least and greatest x and y on the table, in the units of :meth:`objects`; None: unknown."""
    unpushed_names: tuple[str, ...] = ()
    """Bodies that no other body can move, such as an agent that its controller puts where it wants it."""
    error_names: tuple[str, ...] = ()
    """Names of the terms of :meth:`state_error`, one word each; without names the terms are numbered."""
    error_tolerances: tuple[str, ...] = ()
    """What a state error of 1 is in each term, with its unit, for reports; without any only "tolerance" is said."""

    shifts: Mapping[str, Shift] = {}
    """Changes by name, one word each, under which `cjepa plan --shift NAME` evaluates."""

    def action_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest action, float32 ``(A,)`` each: what planners and policies search between.

        Raises:
            UserError: the action space is not a one-dimensional Box with finite bounds.
        """
        space = self.action_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise UserError(f"{type(self).__name__} has the action space {space}, expected a Box of shape (A,)")
        low_A, high_A = space.low.astype(np.float32), space.high.astype(np.float32)
        if not np.isfinite([low_A, high_A]).all():
            raise UserError(
                f"{type(self).__name__} has the action space {space} without finite bounds; planners and the random "
                f"policy need them, for example spaces.Box(-1.0, 1.0, {space.shape}, np.float32)"
            )
        return low_A, high_A

    @abstractmethod
    def get_state(self) -> np.ndarray:
        """Full state as float64; ``set_state(get_state())`` restores it."""

    @abstractmethod
    def set_state(self, state: np.ndarray) -> None:
        """Restore a state vector; what follows depends on the vector and the actions only."""

    @abstractmethod
    def advance(self, action: np.ndarray) -> None:
        """One env step of physics without rendering; ``action`` is one of ``action_space``."""

    @abstractmethod
    def proprio(self) -> np.ndarray:
        """What the agent knows of its own body, float32 ``(P,)``."""

    @abstractmethod
    def render_pixels(self) -> np.ndarray:
        """The current frame, uint8 ``(Y, X, 3)``."""

    @abstractmethod
    def render_labels(self) -> np.ndarray:
        """Label image uint8 ``(Y, X)``: 0 = background, k + 1 = ``body_names[k]``."""

    @abstractmethod
    def objects(self) -> np.ndarray:
        """The simulator's own account of every body, float32 ``(bodies, attributes)``."""

    @abstractmethod
    def contacts(self) -> np.ndarray:
        """Which bodies touched during the last env step, uint8 ``(bodies, bodies)``, symmetric."""

    @abstractmethod
    def state_error(self, state: np.ndarray, goal_state: np.ndarray) -> np.ndarray:
        """Task error between states ``(..., state_dim)``: non-negative, scaled so that success is every value < 1."""

    def observation(self) -> dict[str, np.ndarray]:
        """What ``reset`` and ``step`` return first: :meth:`render_pixels`, :meth:`proprio` and the state in float32."""
        state_F = self.get_state().astype(np.float32)
        return {"pixels": self.render_pixels(), "proprio": self.proprio(), "state": state_F}

    def render(self) -> np.ndarray:
        """Gymnasium's name for :meth:`render_pixels`."""
        return self.render_pixels()

    def named_places(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """x and y of the bodies of a state, in the units of ``table``, by what sentences call them (``red square``).

        They are views: writing into one moves its body in the state. Empty for an environment that sentences cannot
        speak of. Bodies that share a name are left out.
        """
        return {}

    def is_success(self, state: np.ndarray, goal_state: np.ndarray) -> np.ndarray:
        """Whether ``state`` reaches ``goal_state``; bool ``(...)``."""
        return (self.state_error(state, goal_state) < 1.0).all(axis=-1)


def checked_image_size(value: int) -> int:
    """``value`` as the side of an image in pixels.

    Raises:
        UserError: it is not an integer, or is below 1.
    """
    if not isinstance(value, int) or value < 1:
        raise UserError(f"image_size is {value}, expected an integer of at least 1; 64 to 224 is recommended")
    return value


def checked_rgb(option: str, values: Sequence[int]) -> tuple[int, int, int]:
    """``values`` as a colour.

    Raises:
        UserError: they are not three integers in 0..255.
    """
    if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise UserError(f"{option} is {values}, expected [red, green, blue], integers in 0..255")
    return tuple(values)
