"""Push-T: gym-pusht's physics with state, masks, goals and fast drawing for world-model work.

The physics (pymunk space, PD control, T-shaped block) are those of gym-pusht, which follows Diffusion Policy
(Chi et al., 2023). Positions are in its pixels: the table is 512 x 512 whatever the image size is.
"""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from gymnasium import spaces

from cjepa import opencv as cv2
from cjepa.envs.base import ObjectEnv, Shift, checked_image_size, checked_rgb
from cjepa.envs.pusht.drawing import TABLE_PX, Colours, Painter, Pose
from cjepa.errors import UserError

ACTION_PX = 100.0
REACH_PX = (22.0, 490.0)  # targets stay inside the walls: the agent is kinematic and would pass through them
POSITION_TOLERANCE_PX = 20.0
ANGLE_TOLERANCE = np.pi / 9
BLOCK_START_PX = (110.0, 400.0)

_DEFAULT = Colours()


class PushT(ObjectEnv):
    """Push a T-shaped block with a round agent; actions are displacements of the agent's target.

    Observations: ``pixels`` uint8 (image_size, image_size, 3), ``proprio`` float32 (4,) agent x, y in px and
    vx, vy in px/s, ``state`` float32 (7,) agent x, y, block x, y, angle (radians in [0, 2 pi)), agent vx, vy.

    Actions: float32 (2,) in [-1, 1], times 100 px, relative to where the agent is.

    Reward is 1.0 on success with respect to the goal state, else 0.0. ``reset(options=...)`` takes ``state`` and
    ``goal_state`` (both 7 values); without a goal the agent and block of a random pose are the goal.

    Args:
        image_size: side of the square frames in pixels, 64 to 224 recommended.
        draw_goal: draw the goal pose of the block as a marker (label 3 in the masks).
        background_colour: RGB, 0 to 255.
        agent_colour: RGB, 0 to 255.
        block_colour: RGB, 0 to 255.
        wall_colour: RGB, 0 to 255, of the line around the table.
        block_scale: size of the block, of the usual one; above 0.
        block_inertia: resistance of the block to being turned, of the usual one; above 0.
        edge_friction: coefficient of friction between agent and block, 0 or more.
        max_episode_env_steps: episodes are truncated after this number of env steps.
        render_mode: only ``rgb_array``.

    Raises:
        UserError: a colour, a number or the image size is invalid, or OpenCV cannot be imported.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    body_names = ("agent", "block")
    attribute_names = ("x", "y", "angle", "vx", "vy", "angular_velocity")
    length_unit = "px"
    env_steps_per_second = 10
    goal_proprio = (0, 1)
    table = (0.0, TABLE_PX)
    unpushed_names = ("agent",)
    error_names = ("position", "angle")
    shifts = MappingProxyType(
        {
            "colours": Shift({"agent_colour": (200, 40, 60), "block_colour": (46, 139, 87)}),
            "background": Shift({"background_colour": (40, 44, 60), "wall_colour": (90, 90, 110)}),
            "size": Shift({"block_scale": 0.8}),  # a larger block would lie on the agent of recorded states
            "mass": Shift({"block_inertia": 3.0}),
            "friction": Shift({"edge_friction": 1.0}),
        }
    )
    error_tolerances = (f"{POSITION_TOLERANCE_PX:g} px", f"{np.degrees(ANGLE_TOLERANCE):g} degrees")

    def __init__(
        self,
        image_size: int = 64,
        draw_goal: bool = False,
        background_colour: Sequence[int] = _DEFAULT.background,
        agent_colour: Sequence[int] = _DEFAULT.agent,
        block_colour: Sequence[int] = _DEFAULT.block,
        wall_colour: Sequence[int] = _DEFAULT.wall,
        block_scale: float = 1.0,
        block_inertia: float = 1.0,
        edge_friction: float = 0.0,
        max_episode_env_steps: int = 300,
        render_mode: str | None = "rgb_array",
    ):
        self.image_size = checked_image_size(image_size)
        self.draw_goal = draw_goal
        colours = Colours(
            background=checked_rgb("background_colour", background_colour),
            agent=checked_rgb("agent_colour", agent_colour),
            block=checked_rgb("block_colour", block_colour),
            wall=checked_rgb("wall_colour", wall_colour),
        )
        _check_physics(block_scale, block_inertia, edge_friction)
        self.max_episode_env_steps = max_episode_env_steps
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
                "proprio": spaces.Box(-np.inf, np.inf, (4,), np.float32),
                "state": spaces.Box(-np.inf, np.inf, (7,), np.float32),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        cv2.require()  # gym-pusht imports it: only now, so that whoever needs a constant of this file needs no OpenCV
        from cjepa.envs.pusht.physics import Physics

        self._physics = Physics(block_scale, block_inertia, edge_friction)
        self._physics.restart()
        self._env_steps = 0
        # pymunk keeps shapes in a set ordered by address: sorted, bar and stem are drawn in one order in every process
        tee = (np.array(shape.get_vertices()) for shape in self._physics.block.shapes)
        tee = sorted(tee, key=lambda vertices_V2: vertices_V2[:, 1].mean())
        self._painter = Painter(image_size, colours, tee)
        self.goal_state = np.array([256.0, 256.0, 256.0, 256.0, np.pi / 4, 0.0, 0.0])

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start at a random (or the given) state; see the class for ``options``."""
        super().reset(seed=seed)
        options = options or {}
        self.goal_state = np.asarray(options.get("goal_state", self._random_state()), np.float64)
        self.set_state(np.asarray(options.get("state", self._random_state()), np.float64))
        self._env_steps = 0
        return self.observation(), {"contact": False}

    def step(self, action: np.ndarray):
        """One env step: 0.1 s of physics under PD control towards agent + 100 px x action."""
        self.advance(action)
        self._env_steps += 1
        success = bool(self.is_success(self.get_state(), self.goal_state))
        truncated = self._env_steps >= self.max_episode_env_steps
        return self.observation(), float(success), success, truncated, {"contact": self._physics.touched}

    def advance(self, action: np.ndarray) -> None:
        """One env step of physics without rendering; actions outside [-1, 1] are clipped."""
        (x, y), (low, high) = self._physics.agent.position, REACH_PX
        target_x = x + ACTION_PX * min(max(float(action[0]), -1.0), 1.0)
        target_y = y + ACTION_PX * min(max(float(action[1]), -1.0), 1.0)
        self._physics.push(min(max(target_x, low), high), min(max(target_y, low), high))

    def get_state(self) -> np.ndarray:
        """agent x, y (px), block x, y (px), block angle in [0, 2 pi), agent vx, vy (px/s); float64 (7,)."""
        agent, block = self._physics.agent, self._physics.block
        angle = block.angle % (2 * np.pi)
        return np.array([*agent.position, *block.position, angle, *agent.velocity])

    def set_state(self, state: np.ndarray) -> None:
        """Restore a 7-vector on a fresh pymunk space, so that the same vector and actions give the same bits.

        The block's velocity and pymunk's contact cache are not in the vector; docs/push-t.md says how far a
        restored run drifts from the original.
        """
        self._physics.restart()
        agent, block = self._physics.agent, self._physics.block
        agent.position = float(state[0]), float(state[1])
        agent.velocity = float(state[5]), float(state[6])
        block.angle = float(state[4])
        block.position = float(state[2]), float(state[3])
        self._physics.space.reindex_shapes_for_body(agent)
        self._physics.space.reindex_shapes_for_body(block)

    def objects(self) -> np.ndarray:
        """agent and block: x, y (px), angle (radians), vx, vy (px/s), angular velocity (radians/s); float32 (2, 6)."""
        bodies = (self._physics.agent, self._physics.block)
        return np.array([(*b.position, b.angle, *b.velocity, b.angular_velocity) for b in bodies], np.float32)

    def contacts(self) -> np.ndarray:
        """uint8 (2, 2): agent x block, from the last env step."""
        touched = int(self._physics.touched)
        return np.array([[0, touched], [touched, 0]], np.uint8)

    def state_error(self, state: np.ndarray, goal_state: np.ndarray) -> np.ndarray:
        """Push-T protocol: joint (agent, block) position error over 20 px, block angle error over pi / 9; (..., 2)."""
        position = np.linalg.norm(state[..., :4] - goal_state[..., :4], axis=-1)
        turn = np.abs((state[..., 4] - goal_state[..., 4] + np.pi) % (2 * np.pi) - np.pi)
        return np.stack([position / POSITION_TOLERANCE_PX, turn / ANGLE_TOLERANCE], axis=-1)

    def named_places(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`ObjectEnv`."""
        return {"agent": state[:2], "block": state[2:4]}

    def proprio(self) -> np.ndarray:
        """agent x, y (px), vx, vy (px/s); float32 (4,)."""
        agent = self._physics.agent
        return np.array([*agent.position, *agent.velocity], np.float32)

    def render_pixels(self) -> np.ndarray:
        """Antialiased frame drawn straight at the wanted size, uint8 (image_size, image_size, 3)."""
        return self._painter.pixels(*self._scene())

    def render_labels(self) -> np.ndarray:
        """Label image uint8: what covers at least half of a pixel, and nothing above it does.

        0 background, 1 agent, 2 block, 3 goal marker where it is drawn.
        """
        return self._painter.labels(*self._scene())

    def _scene(self) -> tuple[Sequence[float], Pose, Pose | None]:
        agent, block = self._physics.agent, self._physics.block
        goal = self.goal_state[2:5] if self.draw_goal else None
        return agent.position, (*block.position, block.angle), goal

    def _random_state(self) -> np.ndarray:
        low, high = REACH_PX
        block = self.np_random.uniform(*BLOCK_START_PX, 2)
        angle = self.np_random.uniform(0, 2 * np.pi)
        while True:  # an agent inside the block would be thrown out by the solver
            agent = self.np_random.uniform(low, high, 2)
            if np.linalg.norm(agent - block) > 140:
                return np.array([*agent, *block, angle, 0.0, 0.0])


def _check_physics(block_scale: float, block_inertia: float, edge_friction: float) -> None:
    for name, value in (("block_scale", block_scale), ("block_inertia", block_inertia)):
        if not 0 < value < np.inf:
            raise UserError(f"{name} is {value}, expected a finite number above 0; 1 is usual")
    if not 0 <= edge_friction < np.inf:
        raise UserError(f"edge_friction is {edge_friction}, expected a finite number of at least 0")
