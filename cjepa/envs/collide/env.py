"""Collide: bodies of several shapes, colours and materials that come in, knock each other about, and leave.

A table in the manner of CLEVRER (Yi et al., 2020), seen from above, whose causes and effects are known: the full state,
the log of contacts, and interventions. ``world`` has its physics, ``starts`` its starts,
``interventions`` its interventions and ``drawing`` its pictures.
"""

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from cjepa.envs.base import checked_image_size, checked_rgb
from cjepa.envs.collide.drawing import BACKGROUND, COLOUR_NAMES, DEFAULT_COLOURS, Painter
from cjepa.envs.collide.interventions import free_bodies, free_place, intervened, recoloured
from cjepa.envs.collide.shifts import collide_shifts
from cjepa.envs.collide.starts import AGENT_SIZE, DEFAULT_SHAPES, DEFAULT_SPEEDS, checked_options, random_bodies
from cjepa.envs.collide.world import (
    ACTION_UNITS,
    ENV_STEPS_PER_SECOND,
    MATERIAL_NAMES,
    MAX_BODIES,
    POSITION,
    SHAPE_NAMES,
    TABLE_UNITS,
    VELOCITY,
    Attribute,
    World,
)
from cjepa.envs.interventions import Intervention, InterventionEnv, Kind
from cjepa.errors import UserError

POSITION_TOLERANCE_UNITS = 20.0


class Collide(InterventionEnv):
    """Predict what collides; or, with ``agent``, push a named body to where a goal image shows it.

    Observations: ``pixels`` uint8 (image_size, image_size, 3), ``proprio`` float32 (4,) agent x, y in units and
    vx, vy in units/s, ``state`` float32 (6 x 13,) the bodies row by row, see :class:`Attribute`.

    Without an agent (the default) actions do nothing, proprio is zeros, bodies come in from outside and may leave, and
    the reward is 0. With an agent, walls close the table, all bodies start at rest, and body 0 is the agent: a heavy
    white disc that actions, float32 (2,) in [-1, 1], pull towards where it is + 40 units x action. The reward is then
    1.0 on success with respect to the goal state, else 0.0.

    ``reset(options=...)`` takes ``state`` and ``goal_state`` (both full states); without a goal the target body is to
    get to another place. With an agent its info has ``goal_pixels``, the goal state as ``pixels`` would show it.

    Args:
        image_size: side of the square frames in pixels, 64 to 224 recommended.
        agent: body 0 is driven by the actions.
        target_body: with an agent, the body of the task.
        num_bodies: fewest and most bodies of an episode, the agent among them; 1 to 6.
        colours: names to draw from.
        shapes: names to draw from.
        mass_scale: range of a factor that every body's mass is multiplied by; the agent's is not.
        speeds: range of the speed in units/s at which bodies come in.
        repeat_colours: bodies of one episode may look alike.
        background: RGB of the table, 0 to 255.
        max_episode_env_steps: episodes are truncated after this number of env steps.
        render_mode: only ``rgb_array``.

    Raises:
        UserError: an option makes no sense.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": ENV_STEPS_PER_SECOND}
    env_steps_per_second = ENV_STEPS_PER_SECOND
    attribute_names = tuple(attribute.name.lower() for attribute in Attribute)
    goal_proprio = (0, 1)
    table = (0.0, TABLE_UNITS)

    def __init__(
        self,
        image_size: int = 64,
        agent: bool = False,
        target_body: int = 1,
        num_bodies: Sequence[int] = (3, MAX_BODIES),
        colours: Sequence[str] = DEFAULT_COLOURS,
        shapes: Sequence[str] = DEFAULT_SHAPES,
        mass_scale: Sequence[float] = (1.0, 1.0),
        speeds: Sequence[float] = DEFAULT_SPEEDS,
        repeat_colours: bool = False,
        background: Sequence[int] = BACKGROUND,
        max_episode_env_steps: int = 300,
        render_mode: str | None = "rgb_array",
    ):
        self.image_size = checked_image_size(image_size)
        self.agent = agent
        self.target_body = target_body
        self.starts = checked_options(num_bodies, colours, shapes, mass_scale, speeds, repeat_colours)
        self.max_episode_env_steps = max_episode_env_steps
        self.render_mode = render_mode
        if agent and not 1 <= target_body < self.starts.num_bodies[0]:
            raise UserError(
                f"target_body is {target_body}, expected 1..{self.starts.num_bodies[0] - 1}: a body of every episode "
                f"(num_bodies is {list(num_bodies)}) that is not the agent"
            )
        if agent and "white" in colours:
            raise UserError("colours contains 'white', the colour of the agent; leave it out")
        self.body_names = (*(["agent"] if agent else []), *(f"body {k}" for k in range(int(agent), MAX_BODIES)))
        self.shifts = collide_shifts(agent, target_body)
        self.error_names = ("position",) if agent else tuple(f"position_{k}" for k in range(MAX_BODIES))
        self.error_tolerances = (f"{POSITION_TOLERANCE_UNITS:g} units",) * len(self.error_names)
        state_dim = MAX_BODIES * len(Attribute)
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
                "proprio": spaces.Box(-np.inf, np.inf, (4,), np.float32),
                "state": spaces.Box(-np.inf, np.inf, (state_dim,), np.float32),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._world = World(agent)
        self._painter = Painter(image_size, checked_rgb("background", background))
        self._env_steps = 0
        self.goal_state = self.get_state()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start at a random (or the given) state; see the class for ``options``."""
        super().reset(seed=seed)
        options = options or {}
        state, goal_state = options.get("state"), options.get("goal_state")
        self.set_state(random_bodies(self.starts, self.agent, self.np_random) if state is None else state)
        self.goal_state = self._random_goal() if goal_state is None else np.asarray(goal_state, np.float64)
        self._env_steps = 0
        info = {"goal_pixels": self._painter.pixels(self._checked_bodies(self.goal_state))} if self.agent else {}
        return self.observation(), info

    def step(self, action: np.ndarray):
        """One env step: 0.05 s of physics."""
        self.advance(action)
        self._env_steps += 1
        success = self.agent and bool(self.is_success(self.get_state(), self.goal_state))
        truncated = self._env_steps >= self.max_episode_env_steps
        return self.observation(), float(success), success, truncated, {}

    def advance(self, action: np.ndarray) -> None:
        """One env step of physics without rendering; actions are clipped to [-1, 1]."""
        self._world.advance(self._target(action) if self.agent else None)

    def get_state(self) -> np.ndarray:
        """The bodies row by row, float64 (6 x 13,); every value is exact in float32."""
        return self._world.bodies.ravel().copy()

    def set_state(self, state: np.ndarray) -> None:
        """Restore a state (rounded to float32); nothing else influences what follows.

        Raises:
            UserError: not a state of Collide, or of the other mode.
        """
        self._world.load(self._checked_bodies(state))

    def _checked_bodies(self, state: np.ndarray) -> np.ndarray:
        """A state as bodies (6, 13), rounded to float32."""
        if np.size(state) != MAX_BODIES * len(Attribute):
            raise UserError(f"state has {np.size(state)} values, expected {MAX_BODIES * len(Attribute)}")
        bodies = np.reshape(state, (MAX_BODIES, len(Attribute))).astype(np.float32)
        if (bodies[0, Attribute.MATERIAL] == MATERIAL_NAMES.index("agent")) != self.agent:
            raise UserError(
                f"the environment has agent: {str(self.agent).lower()}, but the state has agent: "
                f"{str(not self.agent).lower()}; use the env_kwargs of the episodes"
            )
        return bodies

    def intervene(self, intervention: Intervention) -> None:
        """Change one body now: take it away, give it another velocity or place, or fix it where it is for good.

        A frozen body is infinitely heavy. A place where another body is pushes the two apart.

        Raises:
            UserError: the intervention makes no sense, the body is not there, or is the agent, or is frozen and is to
                get a velocity.
        """
        self._world.change(intervened(self._world.bodies, intervention, self.agent))

    def free_bodies(self) -> list[int]:
        """Bodies whose centre is on the table, without the agent and frozen ones."""
        return free_bodies(self._world.bodies, self.agent)

    def sensible_value(self, kind: Kind, body: int, rng: np.random.Generator) -> tuple[float, float] | None:
        """Any heading at a speed of ``speeds``; or a place on the table where no other body is, if one can be found."""
        if kind == "set_velocity":
            heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*self.starts.speeds)
            return float(speed * np.cos(heading)), float(speed * np.sin(heading))
        return free_place(self._world.bodies, body, rng) if kind == "set_position" else None

    def recolour(self, body: int, rng: np.random.Generator) -> None:
        """See :class:`InterventionEnv`: another one of ``colours``; two bodies may then have the same."""
        self._world.change(recoloured(self._world.bodies, body, self.starts.colours, rng))

    def objects(self) -> np.ndarray:
        """float32 (6, 13), see :class:`Attribute`; rows of zeros where no body is."""
        return self._world.bodies.astype(np.float32)

    def contacts(self) -> np.ndarray:
        """uint8 (6, 6), from the last env step; walls do not count."""
        return self._world.contacts.copy()

    def proprio(self) -> np.ndarray:
        """agent x, y (units), vx, vy (units/s), or zeros; float32 (4,)."""
        if not self.agent:
            return np.zeros(4, np.float32)
        row_A = self._world.bodies[0]
        return np.concatenate([row_A[POSITION], row_A[VELOCITY]]).astype(np.float32)

    def state_error(self, state: np.ndarray, goal_state: np.ndarray) -> np.ndarray:
        """Distance of the target body (without an agent: of every body) from its place in the goal over 20 units.

        Angles and the agent's own place are free: a disc's angle cannot be seen. A body that only one of the states
        has is a table's width off. Shape (..., 1), or (..., 6) without an agent.
        """
        shape = (MAX_BODIES, len(Attribute))
        bodies, goals = (np.reshape(s, (*np.shape(s)[:-1], *shape)) for s in (state, goal_state))
        distance = np.linalg.norm(bodies[..., POSITION] - goals[..., POSITION], axis=-1)
        alone = bodies[..., Attribute.PRESENT] != goals[..., Attribute.PRESENT]
        error = np.where(alone, TABLE_UNITS, distance) / POSITION_TOLERANCE_UNITS
        return error[..., self.target_body : self.target_body + 1] if self.agent else error

    def named_places(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`ObjectEnv`: ``agent``, and colour and shape of the others."""
        found: dict[str, list[np.ndarray]] = {}
        for index, row_A in enumerate(np.reshape(state, (MAX_BODIES, len(Attribute)))):
            if row_A[Attribute.PRESENT]:
                colour, shape = (int(row_A[attribute]) for attribute in (Attribute.COLOUR, Attribute.SHAPE))
                name = "agent" if self.agent and index == 0 else f"{COLOUR_NAMES[colour]} {SHAPE_NAMES[shape]}"
                found.setdefault(name, []).append(row_A[POSITION])
        return {name: places[0] for name, places in found.items() if len(places) == 1}

    def render_pixels(self) -> np.ndarray:
        """Antialiased frame drawn straight at the wanted size, uint8 (image_size, image_size, 3)."""
        return self._painter.pixels(self._world.bodies)

    def render_labels(self) -> np.ndarray:
        """Label image uint8: 0 background, k + 1 where body k covers at least half of a pixel."""
        return self._painter.labels(self._world.bodies)

    def _random_goal(self) -> np.ndarray:
        """The present state with the target body elsewhere; without an agent there is nothing to reach."""
        bodies = self._world.bodies.copy()
        if self.agent:
            bodies[self.target_body, POSITION] = free_place(bodies, self.target_body, self.np_random)
        return bodies.ravel()

    def _target(self, action: np.ndarray) -> np.ndarray:
        """Where the action pulls the agent, kept off the walls."""
        moved = self._world.bodies[0, POSITION] + ACTION_UNITS * np.clip(np.asarray(action, np.float64), -1, 1)
        return np.clip(moved, AGENT_SIZE, TABLE_UNITS - AGENT_SIZE)
