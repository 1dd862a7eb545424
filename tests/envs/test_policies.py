from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from cjepa.configuration.yaml_files import read_yaml
from cjepa.envs.base import ObjectEnv
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.policy import CollideBehaviour
from cjepa.envs.policies import Policy, StillPolicy
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError
from tests.contracts import concrete_subclasses

COLLECT = Path(__file__).parents[2] / "experiments" / "pusht" / "collect.yaml"


def home_of(policy: Policy) -> ObjectEnv:
    """The environment that a policy is for."""
    return Collide(agent=True) if isinstance(policy, CollideBehaviour) else PushT()


def episode(policy: Policy, seed: int, env_steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    env = home_of(policy)
    policy.reset(np.random.default_rng(seed))
    start = policy.start_state(env)
    env.reset(seed=seed, options=None if start is None else {"state": start})
    states, actions = [], []
    for _ in range(env_steps):
        states.append(env.get_state())
        actions.append(policy.act(env))
        env.advance(actions[-1])
    return np.stack(states), np.stack(actions)


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.envs", Policy), ids=lambda cls: cls.__name__)
def test_contract(cls):
    policy = cls()
    states, actions = episode(policy, seed=1)
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1
    episode(policy, seed=2)  # leaves nothing behind
    again_states, again_actions = episode(policy, seed=1)
    np.testing.assert_array_equal(actions, again_actions)
    np.testing.assert_array_equal(states, again_states)
    if cls is not StillPolicy:
        assert actions.std() > 0.05
        assert not np.array_equal(actions, episode(policy, seed=2)[1])


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.envs", Policy), ids=lambda cls: cls.__name__)
def test_contract_actions_stay_in_the_action_space(cls):
    env, policy = home_of(cls()), cls()
    env.action_space = spaces.Box(np.array([-0.4, 0.1]), np.array([0.3, 0.2]), dtype=np.float32)
    policy.reset(np.random.default_rng(0))
    policy.start_state(env)
    env.reset(seed=0)
    for _ in range(40):
        action = policy.act(env)
        assert env.action_space.contains(action), action
        env.advance(action)


def test_behaviour_starts_off_the_block():
    policy, env = PushTBehaviour(), PushT()
    starts, ends, touching = [], [], []
    for seed in range(50):
        policy.reset(np.random.default_rng(seed))
        starts.append(policy.start_state(env))
        env.set_state(starts[-1])
        env.advance(np.zeros(2))
        ends.append(env.get_state())
        touching.append(env.contacts().any())
    starts, ends = np.stack(starts), np.stack(ends)
    assert np.mean(touching) < 0.15
    assert np.abs(ends - starts)[:, 2:4].max() < 15  # nothing is thrown out of anything
    assert starts[:, :2].min() > 20 and starts[:, :2].max() < 492
    assert np.ptp(starts[:, 4]) > 5  # every angle


def test_behaviour_moves_the_block_and_keeps_it_on_the_table(episodes):
    contact = np.stack([e["contacts"].any(axis=(1, 2)).mean() for e in episodes.episodes(("contacts",))])
    states = np.stack([e["state"] for e in episodes.episodes(("state",))])
    moved = np.linalg.norm(states[:, -1, 2:4] - states[:, 0, 2:4], axis=1)
    assert contact.mean() > 0.1
    assert (moved > 20).mean() > 0.5
    assert states[..., :2].min() > 0 and states[..., :2].max() < 512
    # Pressed through a wall: rare (0.7 % of rows over 2,000 episodes), and whole episodes at a time, so it takes many.
    states = np.stack([episode(PushTBehaviour(), seed)[0] for seed in range(100)])
    off_table = ((states[..., 2:4] < 0) | (states[..., 2:4] > 512)).any(axis=-1)
    assert off_table.mean() < 0.03


def test_published_statistics():
    """Published: std of actions 0.20, of the agent's velocity 75 px/s; the block's place may vary more (53, 58 px)."""
    job = read_yaml(COLLECT)
    policy = PushTBehaviour(**job["policy"]["init_args"])
    recorded = [episode(policy, seed, job["episode_env_steps"]) for seed in range(40)]
    states, actions = (np.stack(values) for values in zip(*recorded, strict=True))
    assert actions.std(axis=(0, 1)) == pytest.approx([0.20, 0.20], abs=0.02)
    assert states[..., 5:].std(axis=(0, 1)) == pytest.approx([75, 75], abs=8)
    assert 55 < states[..., 2:4].std(axis=(0, 1)).min() and states[..., 2:4].std(axis=(0, 1)).max() < 95
    assert states[:, 0, 2:4].min() >= 180 and states[:, 0, 2:4].max() <= 332
    moved = np.linalg.norm(states[:, 25:, 2:4] - states[:, :-25, 2:4], axis=-1)
    assert np.median(moved) > 15


def test_a_block_far_from_home_is_not_pushed_farther():
    """The block's middle is 100 px right of the table's: a push from the left is not begun, one from the right is."""

    def share_of_pushes(policy: PushTBehaviour, agent_x: float) -> float:
        """Of motions that lead 60 px or more towards the block, passing its middle at 30 px or less."""
        seen = np.array([agent_x, 256.0, 356.0, 211.0, 0.0, 0.0, 0.0])
        policy.reset(np.random.default_rng(0))
        way = np.stack([policy.choose_target(seen) - seen[:2] for _ in range(200)])
        towards = way[:, 0] * np.sign(356 - agent_x)
        return float(np.mean((towards > 60) & (np.abs(way[:, 1]) < 0.3 * towards)))

    free, home = (PushTBehaviour(home_px=home_px, share_around=0.0) for home_px in (None, 60))
    assert share_of_pushes(free, 256.0) > 0.3 and share_of_pushes(home, 256.0) == 0
    assert share_of_pushes(free, 456.0) > 0.3 and share_of_pushes(home, 456.0) > 0.3


def test_ways_around_a_block_lead_to_its_outer_side():
    """With the block 60 px or more below the middle, half of the way to straight below: 90 degrees or less from it."""
    policy = PushTBehaviour(home_px=60, share_through=0.0, share_around=1.0)
    policy.reset(np.random.default_rng(0))
    seen = np.array([60.0, 400.0, 256.0, 275.0, 0.0, 0.0, 0.0])  # the block's middle is at (256, 320)
    targets = np.stack([policy.choose_target(seen) for _ in range(100)])
    assert targets[:, 1].min() >= 320 - 1e-9 and targets[:, 1].max() > 400


@pytest.mark.parametrize(
    "wrong",
    [
        *({"speeds": (0.5, 0.25)}, {"speeds": (0, 1)}, {"motion_env_steps": (0, 3)}, {"start_px": (50, 300)}),
        *({"home_px": 0.0}, {"home_px": float("nan")}),
    ],
)
def test_wrong_options_of_push_t(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} is .*expected"):
        PushTBehaviour(**wrong)


@pytest.mark.parametrize("env", [PushT(), Collide()], ids=["Push-T", "Collide without an agent"])
def test_collide_behaviour_needs_an_agent_on_its_table(env):
    policy = CollideBehaviour()
    policy.reset(np.random.default_rng(0))
    with pytest.raises(UserError, match=f"CollideBehaviour .* got {type(env).__name__}.*agent: true"):
        policy.start_state(env)


def test_collide_behaviour_pushes_the_target_body():
    touching, moved = [], []
    env, policy = Collide(agent=True), CollideBehaviour()
    for seed in range(20):
        policy.reset(np.random.default_rng(seed))
        env.reset(seed=seed)
        start = env.objects()
        for _ in range(64):
            env.advance(policy.act(env))
            touching.append(env.contacts()[0, env.target_body])
        moved.append(np.linalg.norm((env.objects() - start)[:, 1:3], axis=1))
    assert np.mean(touching) > 0.1
    assert (np.stack(moved)[:, env.target_body] > 40).mean() > 0.6
    assert (np.stack(moved)[:, 2:] > 40).any()
