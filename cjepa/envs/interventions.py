"""Interventions: what is changed in a simulator while it runs, when, and on which body."""

from abc import abstractmethod
from numbers import Integral
from typing import Literal, NamedTuple, get_args

import numpy as np

from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError

Kind = Literal["remove", "set_velocity", "set_position", "freeze"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WITH_VALUE = ("set_velocity", "set_position")


class Intervention(NamedTuple):
    """One change of one body. It changes the state that frame ``env_step`` shows; frames before it are as they were."""

    kind: Kind
    body: int
    env_step: int
    value: tuple[float, float] | None = None
    """(vx, vy) or (x, y) in the environment's units; None for ``remove`` and ``freeze``."""


class InterventionEnv(ObjectEnv):
    """A simulator in which a single body can be changed."""

    @abstractmethod
    def intervene(self, intervention: Intervention) -> None:
        """Change the present state; ``env_step`` is the caller's to keep.

        Raises:
            UserError: the intervention makes no sense in this state.
        """

    @abstractmethod
    def free_bodies(self) -> list[int]:
        """Bodies that can be seen now and may be intervened on."""

    @abstractmethod
    def sensible_value(self, kind: Kind, body: int, rng: np.random.Generator) -> tuple[float, float] | None:
        """A random value for an intervention now."""

    def recolour(self, body: int, rng: np.random.Generator) -> None:
        """Give a body another colour now, and change nothing else.

        Raises:
            UserError: this simulator cannot.
        """
        raise UserError(f"{type(self).__name__} cannot give a body another colour")


def check_intervention(intervention: Intervention, env_steps: int) -> None:
    """What can be told without a simulator.

    Raises:
        UserError: unknown kind, env step outside 0..env_steps - 1, a body or an env step that is no whole number, or a
            value that does not fit the kind.
    """
    kind, body, env_step, value = intervention
    if kind not in KINDS:
        raise UserError(f"intervention {kind!r} is unknown, expected one of {list(KINDS)}")
    for name, number in (("body", body), ("env step", env_step)):
        if not isinstance(number, Integral):
            raise UserError(f"intervention {kind!r} has the {name} {number!r}, expected an integer")
    if not 0 <= env_step < env_steps:
        raise UserError(f"intervention {kind!r} at env step {env_step}, expected 0..{env_steps - 1}")
    if kind in WITH_VALUE and (np.shape(value) != (2,) or not np.isfinite(np.asarray(value, float)).all()):
        raise UserError(f"intervention {kind!r} has the value {value}, expected two finite numbers")
    if kind not in WITH_VALUE and value is not None:
        raise UserError(f"intervention {kind!r} has the value {value}, expected no value")
