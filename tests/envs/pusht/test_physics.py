"""Our stepping of gym-pusht's table against gym-pusht's own, to the bit."""

import numpy as np
import pymunk
import pytest
from gym_pusht.envs.pusht import PushTEnv

from cjepa.envs.policies import Policy, RandomPolicy
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour

ENV_STEPS = 40


class GymPushT(PushTEnv):
    """gym-pusht's own step, which counts contact points after every substep; here those of agent and block only."""

    def _get_coverage(self) -> float:
        return 0.0

    def _handle_collision(self, arbiter, space, data) -> None:
        if all(shape.body.body_type != pymunk.Body.STATIC for shape in arbiter.shapes):
            super()._handle_collision(arbiter, space, data)

    def begin(self, state: np.ndarray) -> None:
        self._setup()
        self.agent.position, self.agent.velocity = tuple(state[:2]), tuple(state[5:])
        self.block.angle = state[4]
        self.block.position = tuple(state[2:4])
        self.space.reindex_shapes_for_body(self.agent)
        self.space.reindex_shapes_for_body(self.block)

    def follow(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States after every action, and whether agent and block touched during it."""
        states, touched = [], []
        for action in actions.astype(np.float64):
            self.step(pymunk.Vec2d(*np.clip(np.add(self.agent.position, 100 * action), 22, 490).tolist()))
            pose = (*self.block.position, self.block.angle % (2 * np.pi))
            states.append([*self.agent.position, *pose, *self.agent.velocity])
            touched.append(self.n_contact_points > 0)
        return np.array(states), np.array(touched)


def episode(env: PushT, policy: Policy, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start state, actions, states after them, contacts."""
    policy.reset(np.random.default_rng(seed))
    start = policy.start_state(env)
    env.reset(seed=seed, options=None if start is None else {"state": start})
    first, actions, states, touched = env.get_state(), [], [], []
    for _ in range(ENV_STEPS):
        actions.append(policy.act(env))
        env.advance(actions[-1])
        states.append(env.get_state())
        touched.append(bool(env.contacts()[0, 1]))
    return first, np.stack(actions), np.stack(states), np.array(touched)


@pytest.mark.parametrize(("policy", "least_contact"), [(PushTBehaviour(), 0.25), (RandomPolicy(), 0.02)])
def test_states_and_contacts_are_gym_pushts_to_the_bit(policy, least_contact):
    env, reference, contact = PushT(), GymPushT(), []
    for seed in range(25):
        start, actions, states, touched = episode(env, policy, seed)
        reference.begin(start)
        expected_states, expected_touched = reference.follow(actions)
        np.testing.assert_array_equal(states, expected_states)
        np.testing.assert_array_equal(touched, expected_touched)
        contact.append(touched)
    contact = np.stack(contact)
    assert contact.mean() > least_contact
    assert (contact[:, :-1] & ~contact[:, 1:]).sum() > 5  # contacts that end are among them


def test_a_discarded_space_does_not_count_in_the_next():
    env = PushT()
    for _ in range(20):
        env.set_state(np.array([256.0, 225.0, 256.0, 256.0, 0.0, 0.0, 0.0]))
        for _ in range(3):
            env.advance(np.array([0.0, 1.0]))
        assert env.contacts()[0, 1]  # left in mid push: pymunk ends these contacts when it frees the space
        env.set_state(np.array([60.0, 60.0, 350.0, 300.0, 0.0, 0.0, 0.0]))
        env.advance(np.zeros(2))
        assert not env.contacts().any()
