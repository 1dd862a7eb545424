"""What interventions do to the bodies of Collide, and random ones that make sense.

File letters: A attributes of a body.
"""

from collections.abc import Sequence

import numpy as np

from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.starts import is_free
from cjepa.envs.collide.world import MAX_BODIES, POSITION, TABLE_UNITS, VELOCITY, Attribute
from cjepa.envs.interventions import Intervention, check_intervention
from cjepa.errors import UserError

_PLACE_MARGIN = 64.0  # units from the table's edge
_PLACE_TRIES = 100


def intervened(bodies: np.ndarray, intervention: Intervention, agent: bool) -> np.ndarray:
    """The bodies (MAX_BODIES, A) after an intervention; those given stay as they are.

    Args:
        bodies: at the moment of the intervention.
        intervention: whose ``env_step`` is not read.
        agent: body 0 is the agent.

    Raises:
        UserError: the intervention makes no sense, the body is not there, or is the agent, or is frozen and is to
            get a velocity.
    """
    check_intervention(intervention, env_steps=intervention.env_step + 1)
    kind, body, _, value = intervention
    if not 0 <= body < MAX_BODIES or not bodies[body, Attribute.PRESENT]:
        present = np.flatnonzero(bodies[:, Attribute.PRESENT]).tolist()
        raise UserError(f"intervention {kind!r} on body {body}, expected one of {present}")
    if agent and body == 0:
        raise UserError(f"intervention {kind!r} on body 0, which is the agent; choose another body")
    if kind == "set_velocity" and bodies[body, Attribute.FROZEN]:
        raise UserError(f"intervention {kind!r} on body {body}, which is frozen")
    bodies = bodies.copy()
    if kind == "remove":
        bodies[body] = 0
    elif kind == "freeze":
        bodies[body, VELOCITY] = bodies[body, Attribute.SPIN] = 0
        bodies[body, Attribute.FROZEN] = 1
    else:
        bodies[body, POSITION if kind == "set_position" else VELOCITY] = value
    return bodies


def free_bodies(bodies: np.ndarray, agent: bool) -> list[int]:
    """Indices of the bodies whose centre is on the table, without the agent and frozen ones.

    Args:
        bodies: (MAX_BODIES, A).
        agent: body 0 is the agent.
    """
    on_table = ((bodies[:, POSITION] > 0) & (bodies[:, POSITION] < TABLE_UNITS)).all(axis=1)
    free = on_table & (bodies[:, Attribute.PRESENT] > 0) & (bodies[:, Attribute.FROZEN] == 0)
    return [int(body) for body in np.flatnonzero(free) if not (agent and body == 0)]


def free_place(bodies: np.ndarray, body: int, rng: np.random.Generator) -> tuple[float, float]:
    """A random place (x, y) on the table for a body: where no other body is, if one can be found."""
    others = [other for other in np.flatnonzero(bodies[:, Attribute.PRESENT]) if other != body]
    for _ in range(_PLACE_TRIES):
        place = rng.uniform(_PLACE_MARGIN, TABLE_UNITS - _PLACE_MARGIN, 2)
        if is_free(bodies, body, place, others):
            break
    return float(place[0]), float(place[1])


def recoloured(bodies: np.ndarray, body: int, colours: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """The bodies (MAX_BODIES, A) with another one of ``colours`` for one of them.

    Raises:
        UserError: there is no other colour.
    """
    now = COLOUR_NAMES[int(bodies[body, Attribute.COLOUR])]
    others = [name for name in colours if name != now]
    if not others:
        raise UserError(f"bodies of this Collide have the colour {now} alone; give more colours")
    bodies = bodies.copy()
    bodies[body, Attribute.COLOUR] = COLOUR_NAMES.index(rng.choice(others))
    return bodies
