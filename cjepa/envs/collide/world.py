"""The table of Collide: what a body is, its physics (pymunk), and a state that nothing is hidden from.

File letters: A attributes of a body, V vertices of an outline.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pymunk

TABLE_UNITS = 512.0
MAX_BODIES = 6
ENV_STEPS_PER_SECOND = 20
ACTION_UNITS = 40.0
SPEED_KEPT_PER_SECOND = 0.75
SPEED_KEPT_WITH_AGENT = 0.05  # so that what is pushed stops where it was pushed to

_SUBSTEPS = 5
_SUBSTEP_SECONDS = 1 / (ENV_STEPS_PER_SECOND * _SUBSTEPS)
_SURFACE_FRICTION = 0.3
_DRIVE_STIFFNESS, _DRIVE_DAMPING = 400.0, 40.0  # 1/s^2 and 1/s: critically damped
_WALL_UNITS = 100.0  # thick, so that nothing tunnels
_WALL_ELASTICITY = 0.5


class Attribute(IntEnum):
    """Columns of the array ``bodies`` (MAX_BODIES, A): the whole state of the table, one row a body.

    Positions are in units of a 512 x 512 table whose origin is the upper left corner, velocities in units/s, angles in
    radians. ``size`` is the radius of the disc of equal area. ``shape``, ``colour`` and ``material`` are indices of
    ``SHAPES``, ``COLOURS`` and ``MATERIALS``. ``present`` and ``frozen`` are 0 or 1; rows of no body are zeros.
    """

    PRESENT = 0
    X = 1
    Y = 2
    ANGLE = 3
    VX = 4
    VY = 5
    SPIN = 6
    SHAPE = 7
    COLOUR = 8
    MATERIAL = 9
    SIZE = 10
    MASS = 11
    FROZEN = 12


POSITION = slice(Attribute.X, Attribute.ANGLE)
VELOCITY = slice(Attribute.VX, Attribute.SPIN)
MOTION = slice(Attribute.X, Attribute.SHAPE)


class Material(NamedTuple):
    """What a body is made of; density in mass per unit^2."""

    density: float
    elasticity: float


MATERIALS = {
    "rubber": Material(1e-3, 0.5),
    "metal": Material(3e-3, 0.95),
    "agent": Material(6e-3, 0.3),
}
MATERIAL_NAMES = tuple(MATERIALS)


def _polygon(corners: int) -> np.ndarray:
    angle_V = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    circumradius = np.sqrt(2 * np.pi / (corners * np.sin(2 * np.pi / corners)))
    return circumradius * np.stack([np.cos(angle_V), np.sin(angle_V)], axis=1)


def _rectangle(aspect: float) -> np.ndarray:
    half = np.sqrt(np.pi / 4) * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])
    return half * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])


# Outlines (V, 2) of area pi: scaled by ``size``, every shape has the area of the disc with that radius.
SHAPES: dict[str, np.ndarray | None] = {
    "disc": None,
    "square": _polygon(4),
    "triangle": _polygon(3),
    "hexagon": _polygon(6),
    "bar": _rectangle(2.5),
}
SHAPE_NAMES = tuple(SHAPES)


def reach(shape: int, size: float) -> float:
    """Distance (units) of a body's farthest point from its centre."""
    outline_V2 = SHAPES[SHAPE_NAMES[int(shape)]]
    return float(size if outline_V2 is None else size * np.linalg.norm(outline_V2, axis=1).max())


class World:
    """Bodies on a table without gravity, a pure function of its array of bodies.

    After every env step the bodies are rounded to float32 and pymunk's contact cache and search tree are rebuilt.
    So nothing is hidden: from equal arrays follow equal bits, and an array that was stored as float32 is exact.

    Args:
        agent: body 0 is driven, walls close the table, and friction is high.
    """

    def __init__(self, agent: bool):
        self.agent = agent
        self.load(np.zeros((MAX_BODIES, len(Attribute))))

    def load(self, bodies: np.ndarray) -> None:
        """Begin with bodies (MAX_BODIES, A), rounded to float32, and no contacts."""
        self.contacts = np.zeros((MAX_BODIES, MAX_BODIES), np.uint8)
        self.change(bodies)

    def change(self, bodies: np.ndarray) -> None:
        """Put other bodies in place of those that are; the last env step's contacts stay what they were."""
        self.bodies = _rounded(bodies)
        self._space: pymunk.Space | None = None
        self._static_body = pymunk.Body(body_type=pymunk.Body.STATIC)
        self._wall_shapes = _walls(self._static_body) if self.agent else []
        self._placed: list[tuple[int, pymunk.Body, pymunk.Shape]] = []
        for index in np.flatnonzero(self.bodies[:, Attribute.PRESENT]):
            shape = _solid(self.bodies[index])
            shape.collision_type = int(index) + 1  # walls have 0
            self._placed.append((int(index), shape.body, shape))

    def advance(self, target: np.ndarray | None = None) -> None:
        """One env step of physics; body 0 is pulled to ``target`` (x, y) where there is one."""
        self.contacts = np.zeros_like(self.contacts)
        self._renew_space()
        for _ in range(_SUBSTEPS):
            if target is not None:
                self._drive(target)
            self._space.step(_SUBSTEP_SECONDS)
        self._read()

    def _renew_space(self) -> None:
        """Start from the array alone: shapes that leave a space lose its contacts, and get new ids in the next one."""
        things = [self._static_body, *self._wall_shapes]
        things += [thing for _, body, shape in self._placed for thing in (body, shape)]
        if self._space is not None:
            self._space.remove(*things)
        for index, body, _ in self._placed:
            pymunk.Body.update_position(body, 0.0)  # drops the correction of overlaps that is still to come
            _move(body, self.bodies[index])
        self._space = pymunk.Space()
        self._space.damping = SPEED_KEPT_WITH_AGENT if self.agent else SPEED_KEPT_PER_SECOND
        self._space.add_default_collision_handler().begin = self._touch
        self._space.add(*things)

    def _drive(self, target: np.ndarray) -> None:
        body = self._placed[0][1]
        (x, y), (vx, vy) = body.position, body.velocity
        pull_x = _DRIVE_STIFFNESS * (target[0] - x) - _DRIVE_DAMPING * vx
        pull_y = _DRIVE_STIFFNESS * (target[1] - y) - _DRIVE_DAMPING * vy
        body.velocity = vx + pull_x * _SUBSTEP_SECONDS, vy + pull_y * _SUBSTEP_SECONDS

    def _read(self) -> None:
        moved = self.bodies.copy()
        for index, body, _ in self._placed:
            angle = body.angle % (2 * np.pi)
            moved[index, MOTION] = (*body.position, angle, *body.velocity, body.angular_velocity)
        self.bodies = _rounded(moved)

    def _touch(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data) -> bool:
        first, second = (shape.collision_type for shape in arbiter.shapes)
        if first and second:
            self.contacts[first - 1, second - 1] = self.contacts[second - 1, first - 1] = 1
        return True


def _rounded(bodies: np.ndarray) -> np.ndarray:
    return bodies.astype(np.float32).astype(np.float64)


def _solid(row_A: np.ndarray) -> pymunk.Shape:
    """A pymunk shape with its body, in the state of a row of ``bodies``."""
    size, mass = float(row_A[Attribute.SIZE]), float(row_A[Attribute.MASS])
    outline_V2 = SHAPES[SHAPE_NAMES[int(row_A[Attribute.SHAPE])]]
    vertices = [] if outline_V2 is None else (size * outline_V2).tolist()
    if row_A[Attribute.FROZEN]:
        body = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
    elif vertices:
        body = pymunk.Body(mass, pymunk.moment_for_poly(mass, vertices))
    else:
        body = pymunk.Body(mass, pymunk.moment_for_circle(mass, 0, size))
    shape = pymunk.Poly(body, vertices) if vertices else pymunk.Circle(body, size)
    shape.elasticity = MATERIALS[MATERIAL_NAMES[int(row_A[Attribute.MATERIAL])]].elasticity
    shape.friction = _SURFACE_FRICTION
    _move(body, row_A)
    return shape


def _move(body: pymunk.Body, row_A: np.ndarray) -> None:
    x, y, angle, vx, vy, spin = row_A[MOTION].tolist()
    body.angle = angle
    body.position = x, y
    body.velocity = vx, vy
    body.angular_velocity = spin


def _walls(static_body: pymunk.Body) -> list[pymunk.Shape]:
    near, far = -_WALL_UNITS, TABLE_UNITS + _WALL_UNITS
    corners = [(near, near), (far, near), (far, far), (near, far)]
    walls = []
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        wall = pymunk.Segment(static_body, start, end, _WALL_UNITS)
        wall.elasticity, wall.friction = _WALL_ELASTICITY, _SURFACE_FRICTION
        walls.append(wall)
    return walls
