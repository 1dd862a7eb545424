import numpy as np
import pytest

from cjepa.data.collect import Collection, collect
from cjepa.data.recording import run_episode
from cjepa.envs.pusht.env import PushT
from cjepa.planning.demonstrators.simulator_mpc import (
    GOAL_BLOCK_PX,
    GOAL_WALL_PX,
    SimulatorMPC,
    block_middle,
    goal_cost,
    random_goal,
)
from cjepa.progress import NoProgress

SMALL = {"num_samples": 6, "iterations": 1, "num_elites": 2, "horizon_blocks": 2}
AWAY = np.array([100.0, 100.0, 256.0, 211.0, 0.0, 0.0, 0.0])  # the block's middle is that of the table


def reseeded(policy: SimulatorMPC, seed: int) -> SimulatorMPC:
    policy.reset(np.random.default_rng(seed))
    return policy


def test_episodes_follow_from_the_generator_alone():
    env, policy = PushT(image_size=64), SimulatorMPC(**SMALL)
    first = run_episode(env, policy, seed=1, env_steps=14, with_masks=False)
    other = run_episode(env, policy, seed=2, env_steps=14, with_masks=False)
    again = run_episode(env, policy, seed=1, env_steps=14, with_masks=False)
    assert first["action"].dtype == np.float32 and np.abs(first["action"]).max() <= 1
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert not np.array_equal(first["action"], other["action"])
    assert np.ptp(first["state"][:, :2], axis=0).min() > 1


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    def collected(workers: int):
        job = Collection("cjepa/PushT-v0", SimulatorMPC(**SMALL), 4, 10, seed=0)
        return collect(job, tmp_path / f"{workers}.h5", {}, workers, NoProgress())

    one, two = collected(1), collected(2)
    assert len(one) == 4 and one.fingerprint == two.fingerprint


def test_actions_are_held_and_plans_go_on_from_where_they_were():
    env, policy = PushT(), reseeded(SimulatorMPC(**{**SMALL, "horizon_blocks": 3}), 0)
    env.set_state(AWAY)
    actions = []
    for _ in range(6):
        actions.append(policy.act(env))
        env.advance(actions[-1])
    blocks = np.stack(actions).reshape(2, 3, 2)
    np.testing.assert_array_equal(blocks, blocks[:, :1].repeat(3, axis=1))
    kept = policy._plan_HA[0]
    assert np.abs(kept).max() > 0 and not policy._plan_HA[1:].any()


def test_goals_are_near_and_away_from_the_walls():
    rng = np.random.default_rng(0)
    cornered = np.array([200.0, 200.0, 30.0, 480.0, 1.0, 0.0, 0.0])
    for state in (AWAY, cornered):
        goals = np.stack([random_goal(state, rng) for _ in range(200)])
        middles = block_middle(goals)
        assert middles.min() >= GOAL_WALL_PX - 1e-9 and middles.max() <= 512 - GOAL_WALL_PX + 1e-9
        assert goals[:, :2].min() > 20 and goals[:, :2].max() < 492
        turn = (goals[:, 4] - state[4] + np.pi) % (2 * np.pi) - np.pi
        assert 0.6 < np.abs(turn).max() <= np.pi / 4 + 1e-9
        assert np.linalg.norm(goals[:, :2] - middles, axis=1).min() > 75
    moved = np.linalg.norm(block_middle(np.stack([random_goal(AWAY, rng) for _ in range(200)])) - 256, axis=1)
    low, high = GOAL_BLOCK_PX
    assert low <= moved.min() < low + 5 and high - 5 < moved.max() <= high


def test_cost_by_hand():
    env = PushT()
    goal = AWAY.copy()
    there, agent_off, block_off, turned = (goal.copy() for _ in range(4))
    agent_off[0] += 50  # half of the 100 px that count as 1
    block_off[2] += 60  # 3 tolerances; the agent is drawn to the block's middle, which is 267.9 px away
    turned[4] += np.pi / 9 / 4  # a quarter of a tolerance, at weight 0.5: the agent's goal still counts
    futures = np.stack([there, agent_off, block_off, turned])[:, None]
    to_block = np.linalg.norm(block_middle(block_off) - block_off[:2]) / 100
    np.testing.assert_allclose(goal_cost(env, futures, goal), [0, 0.5, 3 + to_block, 0.125], atol=1e-9)
    mean = goal_cost(env, np.stack([there, agent_off])[None], goal)
    np.testing.assert_allclose(mean, [0.25])


def test_a_block_near_a_wall_costs():
    env = PushT()
    wall = np.array([300.0, 300.0, 50.0, 211.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(goal_cost(env, wall[None, None], wall), [(80 - 50) / 20])


def test_goals_are_counted_and_replaced():
    env, policy = PushT(), reseeded(SimulatorMPC(**SMALL, goal_env_steps=4), 0)
    env.set_state(AWAY)
    policy.act(env)
    env.set_state(policy._goal)
    policy.act(env)  # it is there
    assert policy.goals_reached == (True,)
    env.set_state(AWAY)
    for _ in range(4):
        policy.act(env)
        env.set_state(AWAY)
    assert policy.goals_reached == (True, False)
    assert reseeded(policy, 1).goals_reached == ()


def test_episodes_draw_a_level_of_noise():
    """The first six actions follow from one plan, so that they differ from those without noise by the noise alone."""
    env, added = PushT(), []
    for seed in range(30):
        quiet, noisy = (
            run_episode(env, SimulatorMPC(**SMALL, max_action=0.25, noise=noise), seed, 6, with_masks=False)["action"]
            for noise in ((0.0,), (0.0, 0.2))
        )
        added.append(noisy - quiet)
    silent = np.array([not noise.any() for noise in added])
    assert 5 < silent.sum() < 25
    assert np.std(np.array(added)[~silent]) == pytest.approx(0.2, rel=0.15)


def test_plans_stay_within_the_greatest_action():
    def greatest(max_action: float) -> float:
        policy = SimulatorMPC(**SMALL, max_action=max_action)
        return np.abs(run_episode(PushT(), policy, 0, 12, with_masks=False)["action"]).max()

    assert greatest(0.25) == 0.25 and greatest(1.0) > 0.5


def test_one_goal_pose_and_after_it_another_pose():
    env, policy = PushT(), reseeded(SimulatorMPC(**SMALL, goal_env_steps=4, goal_pose=(256.0, 200.0, 0.5)), 0)
    env.set_state(AWAY)
    poses = []
    for success in (False, True, True, False, False):
        policy.act(env)
        poses.append(policy._goal[2:5])
        if success:
            env.set_state(policy._goal)
        else:
            policy._env_steps_left = 0
            env.set_state(AWAY)
    fixed = [np.allclose(pose, [256, 200, 0.5]) for pose in poses]
    assert fixed == [True, True, False, True, True]
    assert np.linalg.norm(block_middle(policy._goal) - policy._goal[:2]) > 75  # the agent's place is beside the block


@pytest.mark.slow
def test_it_pushes_the_block_towards_its_goal():
    env, policy = PushT(), SimulatorMPC()
    to_goal = np.zeros((3, 31))
    for seed in range(3):
        env.set_state(reseeded(policy, seed).start_state(env))
        action = policy.act(env)
        goal = policy._goal
        for env_step in range(31):
            to_goal[seed, env_step] = np.linalg.norm(env.get_state()[2:4] - goal[2:4])
            env.advance(action)
            action = policy.act(env)
    assert to_goal.min(axis=1).mean() < 0.5 * to_goal[:, 0].mean()


@pytest.mark.parametrize(
    "options",
    [
        *({"replan_blocks": 6}, {"replan_blocks": 0}, {"num_elites": 1}, {"iterations": 0}),
        *({"frame_stride": 0}, {"goal_env_steps": 0}, {"goal_env_steps": -1}),
        *({"max_action": 0.0}, {"max_action": 1.5}, {"noise": ()}, {"noise": (0.1, -0.1)}),
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SimulatorMPC(**options)
