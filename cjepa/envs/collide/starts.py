"""Random starts of Collide: what bodies there are, which of them rest, and how the others come in.

File letters: A attributes of a body.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import (
    ENV_STEPS_PER_SECOND,
    MATERIAL_NAMES,
    MATERIALS,
    MAX_BODIES,
    POSITION,
    SHAPE_NAMES,
    SPEED_KEPT_PER_SECOND,
    TABLE_UNITS,
    VELOCITY,
    Attribute,
    reach,
)
from cjepa.errors import UserError

DEFAULT_SHAPES = ("disc", "square", "triangle")
DEFAULT_SPEEDS = (200.0, 380.0)
AGENT_SIZE = 30.0

_SIZES = (32.0, 40.0)
_REST_MARGIN = 110.0  # units between resting bodies' centres and the table's edge
_GAP = 12.0  # units between bodies at the start
_FIRST_ENTRY, _LAST_ENTRY = -4.0, 20.0  # env steps; those before 0 are on the table already
_SHARE_OF_CHAINS = 0.6
_AIM_NOISE = 9.0  # units, standard deviation
_TRIES = 200


class StartOptions(NamedTuple):
    """What the bodies of an episode are drawn from; :func:`checked_options` makes it."""

    num_bodies: tuple[int, int]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    mass_scale: tuple[float, float]
    speeds: tuple[float, float]
    repeat_colours: bool


def checked_options(
    num_bodies: Sequence[int],
    colours: Sequence[str],
    shapes: Sequence[str],
    mass_scale: Sequence[float],
    speeds: Sequence[float],
    repeat_colours: bool,
) -> StartOptions:
    """The options of :class:`Collide`, if every one makes sense.

    Raises:
        UserError: one does not.
    """
    for option, names, known in (("colours", colours, COLOUR_NAMES), ("shapes", shapes, SHAPE_NAMES)):
        if isinstance(names, str) or not names or set(names) - set(known):
            raise UserError(f"{option} is {names}, expected a list of names from {list(known)}")
    for option, values in (("num_bodies", num_bodies), ("mass_scale", mass_scale), ("speeds", speeds)):
        if np.shape(values) != (2,) or not 0 < values[0] <= values[1]:
            raise UserError(f"{option} is {values}, expected [lowest, highest], positive and in order")
    colours, most = tuple(dict.fromkeys(colours)), num_bodies[1]
    if not all(isinstance(number, int) for number in num_bodies) or most > MAX_BODIES:
        raise UserError(f"num_bodies is {list(num_bodies)}, expected two integers in 1..{MAX_BODIES}")
    if not repeat_colours and len(colours) < most:
        raise UserError(f"{most} bodies but only {len(colours)} colours; give more colours or repeat_colours: true")
    return StartOptions(tuple(num_bodies), colours, tuple(shapes), tuple(mass_scale), tuple(speeds), repeat_colours)


def random_bodies(options: StartOptions, agent: bool, rng: np.random.Generator) -> np.ndarray:
    """Bodies (MAX_BODIES, A) at the start of an episode.

    Some rest on the table; the others come in from outside, aimed with noise at one that rests, or so that it is
    knocked on to the next. With an agent all of them rest, and body 0 is the agent.
    """
    while True:
        bodies = _random_things(options, agent, rng)
        number = int(bodies[:, Attribute.PRESENT].sum())
        resting = number if agent else int(rng.integers(1, max(number - 1, 1) + 1))
        if _place_resting(bodies, resting, rng) and _place_entering(bodies, resting, number, options.speeds, rng):
            return bodies


def _random_things(options: StartOptions, agent: bool, rng: np.random.Generator) -> np.ndarray:
    """What the bodies are; not yet where."""
    number = int(rng.integers(options.num_bodies[0], options.num_bodies[1] + 1))
    bodies = np.zeros((MAX_BODIES, len(Attribute)))
    colours = rng.choice(options.colours, number, replace=options.repeat_colours)
    for row_A, colour in zip(bodies[:number], colours, strict=True):
        material = str(rng.choice(["rubber", "metal"]))
        size = rng.uniform(*_SIZES)
        density = MATERIALS[material].density * rng.uniform(*options.mass_scale)
        row_A[Attribute.PRESENT] = 1
        row_A[Attribute.SHAPE] = SHAPE_NAMES.index(rng.choice(options.shapes))
        row_A[Attribute.COLOUR] = COLOUR_NAMES.index(colour)
        row_A[Attribute.MATERIAL] = MATERIAL_NAMES.index(material)
        row_A[Attribute.SIZE] = size
        row_A[Attribute.MASS] = density * np.pi * size**2
        row_A[Attribute.ANGLE] = rng.uniform(0, 2 * np.pi)
    if agent:
        bodies[0, Attribute.SHAPE] = SHAPE_NAMES.index("disc")
        bodies[0, Attribute.COLOUR] = COLOUR_NAMES.index("white")
        bodies[0, Attribute.MATERIAL] = MATERIAL_NAMES.index("agent")
        bodies[0, Attribute.SIZE] = AGENT_SIZE
        bodies[0, Attribute.MASS] = MATERIALS["agent"].density * np.pi * AGENT_SIZE**2
    return bodies


def is_free(bodies: np.ndarray, body: int, place: np.ndarray, others: np.ndarray) -> bool:
    """Whether a body at ``place`` (x, y) keeps a gap to ``others`` (indices), whatever the angles are."""
    row_A = bodies[body]
    own = reach(row_A[Attribute.SHAPE], row_A[Attribute.SIZE])
    for other_A in bodies[others]:
        needed = own + reach(other_A[Attribute.SHAPE], other_A[Attribute.SIZE]) + _GAP
        if np.linalg.norm(other_A[POSITION] - place) < needed:
            return False
    return True


def _place_resting(bodies: np.ndarray, number: int, rng: np.random.Generator) -> bool:
    """Put the first ``number`` bodies on the table; False when they do not fit."""
    for body in range(number):
        for _ in range(_TRIES):
            place = rng.uniform(_REST_MARGIN, TABLE_UNITS - _REST_MARGIN, 2)
            if is_free(bodies, body, place, np.arange(body)):
                bodies[body, POSITION] = place
                break
        else:
            return False
    return True


def _place_entering(
    bodies: np.ndarray, first: int, number: int, speeds: tuple[float, float], rng: np.random.Generator
) -> bool:
    """Let the other bodies come in, the first of them on its way at once; False when they do not fit."""
    for body in range(first, number):
        for _ in range(_TRIES):
            aim, heading = _aim(bodies, body, first, rng)
            entry = _entry(aim, heading)
            speed = rng.uniform(*speeds)
            last = _FIRST_ENTRY + 8 if body == first else _LAST_ENTRY
            seconds = rng.uniform(_FIRST_ENTRY, last) / ENV_STEPS_PER_SECOND
            # back in time under damping: v(-t) = v k^-t, and the way between is its integral
            slowed = SPEED_KEPT_PER_SECOND**-seconds
            way = speed * (slowed - 1) / -np.log(SPEED_KEPT_PER_SECOND)
            outside = reach(bodies[body, Attribute.SHAPE], bodies[body, Attribute.SIZE])
            place = entry - heading * (way + outside)
            if is_free(bodies, body, place, np.arange(body)):
                bodies[body, POSITION] = place
                bodies[body, VELOCITY] = heading * speed * slowed
                bodies[body, Attribute.SPIN] = rng.normal(0, 1.0)
                break
        else:
            return False
    return True


def _aim(bodies: np.ndarray, body: int, resting: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point (x, y) to go through and a unit heading there."""
    target = int(rng.integers(resting))
    place = bodies[target, POSITION]
    heading = _unit(rng.uniform(0, 2 * np.pi))
    if resting > 1 and rng.uniform() < _SHARE_OF_CHAINS:
        # As in billiards: touch the target on the side from which it is knocked to the next body.
        following = (target + int(rng.integers(1, resting))) % resting
        onward = bodies[following, POSITION] - place
        onward /= np.linalg.norm(onward)
        place = place - onward * (bodies[body, Attribute.SIZE] + bodies[target, Attribute.SIZE])
        heading = _unit(np.arctan2(onward[1], onward[0]) + rng.uniform(-0.6, 0.6))
    across = np.array([-heading[1], heading[0]])
    return place + across * rng.normal(0, _AIM_NOISE), heading


def _entry(aim: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Where a straight way along ``heading`` to ``aim`` crosses the table's edge."""
    edge = np.where(heading > 0, 0.0, TABLE_UNITS)
    with np.errstate(divide="ignore"):
        way = np.min(np.where(heading == 0, np.inf, (aim - edge) / np.where(heading == 0, 1.0, heading)))
    return aim - heading * way


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])
