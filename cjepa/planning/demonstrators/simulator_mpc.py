"""Policies for ``cjepa collect`` that know what they want: they plan on a copy of the simulator."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.policies import Policy
from cjepa.envs.pusht.drawing import TABLE_PX
from cjepa.envs.pusht.env import REACH_PX, PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.planning.planners.cem import CEM
from cjepa.planning.problem import PlanningProblem

GOAL_BLOCK_PX = (60.0, 150.0)
GOAL_TURN = np.pi / 4
GOAL_AGENT_PX = (95.0, 160.0)  # from the block's middle: beside it, whatever its angle
GOAL_WALL_PX = 110.0  # nearer to a wall there is no room for the agent behind the block
SAFE_WALL_PX = 80.0
_BLOCK_MIDDLE_PX = 45.0  # from the block's origin, which is in its top edge
_TURN_WEIGHT = 0.5  # a block turns sooner than it travels; at 1 the search turns it first and then is stuck
_AGENT_PX = 100.0
_NEAR_GOAL = (0.5, 1.5)  # tolerances of block error between which the agent's aim changes
_MIN_STD = 0.05


class SimulatorMPC(Policy):
    """Pushes the block of Push-T from one pose to the next, with CEM on a copy of the simulator.

    A goal is a pose of block and agent near the present one. With ``goal_pose`` it is that pose of the block, the
    published task; once reached, a pose nearby is the next goal, and then ``goal_pose`` again. The next goal is due
    when the last one is reached, by the environment's own success test, or when time is up. Every ``replan_blocks``
    the cross-entropy method looks for changes that improve what is left of the last plan.

    Args:
        num_samples: candidates an iteration.
        iterations: of CEM a plan.
        num_elites: candidates that the next iteration is fitted to.
        initial_std: of the first changes to the last plan's actions, which are in [-1, 1].
        horizon_blocks: length of a plan.
        frame_stride: env steps a block; all of them take the same action, which keeps the search small.
        replan_blocks: how much of a plan is executed.
        goal_env_steps: time for a goal.
        max_action: greatest action of a plan, before noise, in (0, 1]: 0.5 is half the speed.
        noise: standard deviations of noise on the actions; each episode draws one of them.
        goal_pose: of the block: x, y (px), angle (radians).

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, ``replan_blocks`` not in 1..``horizon_blocks``, or
            another number is out of range.
    """

    def __init__(
        self,
        num_samples: int = 32,
        iterations: int = 3,
        num_elites: int = 6,
        initial_std: float = 0.8,
        horizon_blocks: int = 5,
        frame_stride: int = 3,
        replan_blocks: int = 2,
        goal_env_steps: int = 40,
        max_action: float = 1.0,
        noise: Sequence[float] = (0.0,),
        goal_pose: tuple[float, float, float] | None = None,
    ):
        if not 1 <= replan_blocks <= horizon_blocks:
            raise ValueError(f"replan_blocks is {replan_blocks}, expected 1..horizon_blocks = {horizon_blocks}")
        for name, value in (("frame_stride", frame_stride), ("goal_env_steps", goal_env_steps)):
            if value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more env steps")
        if not 0 < max_action <= 1:
            raise ValueError(f"max_action is {max_action}, expected above 0 and at most 1")
        if not len(noise) or not all(0 <= level <= 1 for level in noise):
            raise ValueError(f"noise is {list(noise)}, expected one or more standard deviations in 0..1")
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.initial_std = initial_std
        self.horizon_blocks = horizon_blocks
        self.frame_stride = frame_stride
        self.replan_blocks = replan_blocks
        self.goal_env_steps = goal_env_steps
        self.max_action = max_action
        self.noise = tuple(noise)
        self.goal_pose = goal_pose
        self._planner = CEM(num_samples, iterations, num_elites, initial_std, _MIN_STD)
        self._starts = PushTBehaviour()

    @property
    def goals_reached(self) -> tuple[bool, ...]:
        """Of this episode's goals, those that have ended: whether it was by success."""
        return tuple(self._goals_reached)

    def reset(self, rng: np.random.Generator) -> None:
        """See :class:`cjepa.envs.policies.Policy`."""
        self._rng = rng
        self._generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        self._starts.reset(rng)
        self._noise_rng = rng.spawn(1)[0]  # leaves `rng` as it is: without noise, episodes stay what they were
        self._noise = self._noise_rng.choice(self.noise)
        self._simulator = PushT()
        self._goal: np.ndarray | None = None
        self._goals_reached: list[bool] = []
        self._to_pose = False

    def start_state(self, env: PushT) -> np.ndarray:
        """As :class:`cjepa.envs.pusht.policy.PushTBehaviour` starts."""
        return self._starts.start_state(env)

    def act(self, env: PushT) -> np.ndarray:
        """See :class:`cjepa.envs.policies.Policy`."""
        state = env.get_state()
        if self._goal is None or self._has_ended(state):
            self._goal = self._next_goal(state)
            self._env_steps_left = self.goal_env_steps
            self._plan_HA = np.zeros((self.horizon_blocks, 2))
            self._actions: deque[np.ndarray] = deque()
        if not self._actions:
            self._replan(state)
        self._env_steps_left -= 1
        action = self._actions.popleft() + self._noise * self._noise_rng.normal(size=2)
        return np.clip(action, -1, 1).astype(np.float32)

    def _next_goal(self, state: np.ndarray) -> np.ndarray:
        reached = bool(self._goals_reached) and self._goals_reached[-1]
        self._to_pose = self.goal_pose is not None and not (reached and self._to_pose)
        if not self._to_pose:
            return random_goal(state, self._rng)
        x, y, angle = self.goal_pose
        return _goal(np.array([x, y]) + _to_middle(angle), angle, self._rng)

    def _has_ended(self, state: np.ndarray) -> bool:
        success = bool(self._simulator.is_success(state, self._goal))
        ended = success or self._env_steps_left == 0
        if ended:
            self._goals_reached.append(success)
        return ended

    def _replan(self, state: np.ndarray) -> None:
        def changed(change_NHA: Tensor) -> np.ndarray:
            return np.clip(self._plan_HA + change_NHA.numpy(), -self.max_action, self.max_action)

        def cost(change_BNHA: Tensor) -> Tensor:
            futures_NTF = np.stack([self._future(state, plan_HA) for plan_HA in changed(change_BNHA[0])])
            return torch.from_numpy(goal_cost(self._simulator, futures_NTF, self._goal)).float()[None]

        high_A = torch.ones(2)
        problem = PlanningProblem(cost, -high_A, high_A, 1, self.horizon_blocks, self._generator)
        plan_HA, done = changed(self._planner.plan(problem).actions_BHA[0]), self.replan_blocks
        self._actions.extend(np.repeat(plan_HA[:done], self.frame_stride, axis=0))
        self._plan_HA = np.concatenate([plan_HA[done:], np.zeros((done, 2))])

    def _future(self, state: np.ndarray, plan_HA: np.ndarray) -> np.ndarray:
        """States after each env step of a plan, (env steps, 7)."""
        simulator, states = self._simulator, []
        simulator.set_state(state)
        for action in plan_HA.tolist():
            for _ in range(self.frame_stride):
                simulator.advance(action)
                states.append(simulator.get_state())
        return np.stack(states)


def random_goal(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pose of block and agent that can be reached from ``state`` in some 20 to 40 env steps, as a state (7,).

    The block is pushed 60 to 150 px and turned by up to 45 degrees, and stays away from the walls; the agent ends
    beside it.
    """
    low, high = GOAL_WALL_PX, TABLE_PX - GOAL_WALL_PX
    middle = np.clip(block_middle(state) + rng.uniform(*GOAL_BLOCK_PX) * _direction(rng), low, high)
    angle = (state[4] + rng.uniform(-GOAL_TURN, GOAL_TURN)) % (2 * np.pi)
    return _goal(middle, angle, rng)


def _goal(middle: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """The state (7,) of a block with its middle at a place (px), the agent at rest somewhere beside the block."""
    agent = np.clip(middle + rng.uniform(*GOAL_AGENT_PX) * _direction(rng), *REACH_PX)
    return np.array([*agent, *(middle - _to_middle(angle)), angle, 0.0, 0.0])


def goal_cost(env: PushT, states_NTF: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """How far futures stay from a goal on average, in tolerances of the success test; states (N, T, 7) -> (N,).

    Block error counts throughout. The agent is drawn to the block as long as that is off its goal, and to its own
    goal afterwards. A block near a wall costs extra: the agent is kinematic and would press it through.
    """
    agent_NT2 = states_NTF[..., :2]
    block_only = np.concatenate([np.broadcast_to(goal[:2], agent_NT2.shape), states_NTF[..., 2:]], axis=-1)
    block_NT = env.state_error(block_only, goal) @ (1.0, _TURN_WEIGHT)
    middle_NT2 = block_middle(states_NTF)
    low, high = _NEAR_GOAL
    pushing_NT = np.clip((block_NT - low) / (high - low), 0, 1)
    to_block_NT = np.linalg.norm(agent_NT2 - middle_NT2, axis=-1)
    to_goal_NT = np.linalg.norm(agent_NT2 - goal[:2], axis=-1)
    agent_NT = (pushing_NT * to_block_NT + (1 - pushing_NT) * to_goal_NT) / _AGENT_PX
    wall_NT = np.maximum(SAFE_WALL_PX - np.minimum(middle_NT2, TABLE_PX - middle_NT2).min(axis=-1), 0) / 20.0
    return (block_NT + agent_NT + wall_NT).mean(axis=1)


def block_middle(states: np.ndarray) -> np.ndarray:
    """Middle of the T in px; states (..., 7) -> (..., 2)."""
    return states[..., 2:4] + _to_middle(states[..., 4])


def _to_middle(angle: np.ndarray) -> np.ndarray:
    return _BLOCK_MIDDLE_PX * np.stack([-np.sin(angle), np.cos(angle)], axis=-1)


def _direction(rng: np.random.Generator) -> np.ndarray:
    bearing = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(bearing), np.sin(bearing)])
