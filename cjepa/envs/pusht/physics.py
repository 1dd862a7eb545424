"""Push-T's physics: gym-pusht's pymunk space, stepped to the same bits in a quarter of the time."""

import math
from collections.abc import Sequence

import pymunk
from gym_pusht.envs.pusht import PushTEnv

_TEE_PX = 30.0  # width of bar and stem in gym-pusht
_AGENT, _BLOCK = 1, 2  # collision types; gym-pusht answers every substep's contacts of type 0 in Python


class Physics(PushTEnv):
    """gym-pusht's table: ``space``, kinematic ``agent``, ``block``. :meth:`push` replaces its ``step``.

    Its step computes a coverage reward, moves the agent with vector objects and answers every contact in Python; each
    takes longer than the physics.

    Args:
        block_scale: size of the T, of gym-pusht's.
        block_inertia: resistance of the T to being turned, of gym-pusht's: its mass lies farther out, or nearer.
        edge_friction: coefficient of friction between agent and T; gym-pusht has none.
    """

    touched: bool
    """Whether agent and block touched during the last :meth:`push`."""

    def __init__(self, block_scale: float = 1.0, block_inertia: float = 1.0, edge_friction: float = 0.0):
        super().__init__()
        self._block_scale, self._block_inertia = block_scale, block_inertia
        self._shape_friction = math.sqrt(edge_friction)  # pymunk multiplies those of two shapes

    def add_tee(self, space: pymunk.Space, position: Sequence[float], angle: float):
        """The T of a table, and its shapes."""
        block, shapes = PushTEnv.add_tee(space, position, angle, scale=_TEE_PX * self._block_scale)
        block.moment *= self._block_inertia
        return block, shapes

    def restart(self) -> None:
        """Begin with a fresh space: nothing of what happened before is left."""
        self._setup()
        self.touched = False
        self._touch = _Touch()
        for body, collision_type in ((self.agent, _AGENT), (self.block, _BLOCK)):
            for shape in body.shapes:
                shape.collision_type = collision_type
                shape.friction = self._shape_friction
        handler = self.space.add_collision_handler(_AGENT, _BLOCK)
        handler.begin, handler.separate = self._touch.begin, self._touch.separate

    def push(self, target_x: float, target_y: float) -> None:
        """One env step of PD control of the agent towards a target in px."""
        agent, space, touch, dt = self.agent, self.space, self._touch, self.dt
        (x, y), (vx, vy) = agent.position, agent.velocity
        touch.begun = False
        for substep in range(int(1 / (dt * self.control_hz))):
            vx += (self.k_p * (target_x - x) - self.k_v * vx) * dt
            vy += (self.k_p * (target_y - y) - self.k_v * vy) * dt
            agent.velocity = vx, vy
            space.step(dt)
            x, y = x + vx * dt, y + vy * dt  # nothing pushes a kinematic body
            if substep == 0:  # contacts that had ended by then belong to the env step before
                self.touched = touch.pairs > 0
        self.touched = self.touched or touch.begun


class _Touch:
    """Which shapes of agent and block touch: told when a contact begins or ends, not in between.

    One object per space: pymunk reports the contacts of a discarded space as ended at any later time.
    """

    def __init__(self):
        self.pairs = 0
        self.begun = False

    def begin(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: dict) -> bool:
        self.pairs += 1
        self.begun = True
        return True

    def separate(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: dict) -> None:
        self.pairs -= 1
