import gymnasium as gym
import numpy as np
import pytest

from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from tests.envs.replay import actions_of, replay

TEE_AREA_PX2 = 120 * 30 + 90 * 30  # bar and stem
BLOCK_AT_CENTRE = [256.0, 256.0, 0.0]


def to_state(agent, block=BLOCK_AT_CENTRE, velocity=(0.0, 0.0)) -> np.ndarray:
    return np.array([*agent, *block, *velocity])


def test_make_by_id_and_truncation():
    env = gym.make("cjepa/PushT-v0", image_size=96, max_episode_env_steps=2)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"].shape == (96, 96, 3)
    *_, first, _ = env.step(np.zeros(2, np.float32))
    *_, second, _ = env.step(np.zeros(2, np.float32))
    assert (first, second) == (False, True)


@pytest.mark.parametrize("image_size", [64, 224])
def test_label_masks_lie_where_the_bodies_are(image_size):
    env = PushT(image_size=image_size)
    scale = image_size / 512
    for seed in range(5):
        env.reset(seed=seed, options={"state": to_state([80.0 + 3 * seed, 400.5], [330.0, 200.0, seed])})
        labels = env.render_labels()
        y, x = np.nonzero(labels == 1)
        centre = np.array([x.mean(), y.mean()]) + 0.5
        assert np.abs(centre - env.get_state()[:2] * scale).max() < 0.5
        # a label pixel counts as a whole when the outline touches it: half a pixel along the outline is too much
        outline = 2 * (120 + 120) * scale
        area = (labels == 2).sum()
        assert TEE_AREA_PX2 * scale**2 - 0.1 * outline < area < TEE_AREA_PX2 * scale**2 + 0.8 * outline


def test_block_mask_turns_about_the_block_position():
    env = PushT(image_size=224)
    for angle, towards in [(0.0, (0, 1)), (np.pi / 2, (-1, 0)), (np.pi, (0, -1))]:  # the stem points there
        env.set_state(to_state([30.0, 30.0], [256.0, 256.0, angle]))
        y, x = np.nonzero(env.render_labels() == 2)
        offset = np.array([x.mean() + 0.5, y.mean() + 0.5]) * 512 / 224 - 256
        centroid_px = (3600 * 15 + 2700 * 75) / TEE_AREA_PX2
        np.testing.assert_allclose(offset, centroid_px * np.array(towards), atol=1.5)


@pytest.mark.parametrize("image_size", [64, 128])
def test_masks_agree_with_pixels(image_size):
    env = PushT(image_size=image_size)
    for seed in range(5):
        env.reset(seed=seed)
        pixels, labels = env.render_pixels(), env.render_labels()
        coloured = pixels[..., 0] < 130  # (nearly) all covered by a body; the wall is a light grey
        assert ((labels > 0) & (pixels == 255).all(axis=2)).sum() == 0
        assert (coloured & (labels == 0)).sum() <= 0.05 * (labels > 0).sum()
        inner = labels == 1
        assert (np.abs(pixels[inner].astype(int) - (65, 105, 225)).max(axis=1) < 20).mean() > 0.5


def test_colours_can_be_chosen():
    state = {"state": to_state([80.0, 80.0], [300.0, 250.0, 0.0])}
    plain = PushT()
    env = PushT(background_colour=[10, 20, 30], agent_colour=[200, 0, 0], block_colour=[0, 200, 0])
    plain.reset(seed=0, options=state)
    env.reset(seed=0, options=state)
    pixels, labels = env.render_pixels(), env.render_labels()
    for label, colour in enumerate([(10, 20, 30), (200, 0, 0), (0, 200, 0)]):
        # half of the few pixels of the agent are its rim
        np.testing.assert_allclose(np.median(pixels[labels == label], axis=0), colour, atol=20)
    np.testing.assert_array_equal(labels, plain.render_labels())
    np.testing.assert_array_equal(np.median(plain.render_pixels()[labels == 0], axis=0), 255)
    env = PushT(wall_colour=[255, 255, 255])
    env.reset(seed=0, options=state)
    differs = (env.render_pixels() != plain.render_pixels()).any(axis=2)
    assert differs[0].all() and not differs[2:-2, 2:-2].any()  # only the border has gone
    with pytest.raises(UserError, match="block_colour"):
        PushT(block_colour=[0, 0, 300])


def test_goal_marker_is_a_label_of_its_own():
    env = PushT(draw_goal=True)
    start = to_state([40.0, 40.0], [150.0, 150.0, 0.0])
    goal = to_state([40.0, 40.0], [400.0, 350.0, 1.0])
    env.reset(seed=0, options={"state": start, "goal_state": goal})
    y, x = np.nonzero(env.render_labels() == 3)
    assert x.mean() * 8 > 300 and y.mean() * 8 > 300
    assert 3 not in PushT().render_labels()


def test_contact_flag():
    env = PushT()
    env.set_state(to_state([256.0, 220.0]))  # 21 px above the bar
    assert not env.contacts().any()
    touched = []
    for _ in range(5):
        env.advance(np.array([0.0, 1.0]))
        touched.append(env.contacts()[0, 1])
    assert any(touched) and env.get_state()[3] > 260
    env.set_state(to_state([60.0, 60.0], [350.0, 300.0, 0.0]))
    assert not env.contacts().any()
    for action in actions_of(env, 10) * 0.2:
        env.advance(action)
        assert not env.contacts().any()


def test_a_state_restored_in_mid_push_gives_the_same_bits():
    pushing, fresh = PushT(), PushT()
    pushing.set_state(to_state([240.0, 225.0]))
    down = np.tile(np.array([0.1, 1.0]), (6, 1))
    replay(pushing, down)
    assert pushing.contacts().any()
    state = pushing.get_state()
    for env in (pushing, fresh):
        env.set_state(state)
    np.testing.assert_array_equal(replay(pushing, down), replay(fresh, down))


def test_a_wall_is_no_contact():
    env = PushT()
    env.set_state(to_state([60.0, 60.0], [400.0, 400.0, 0.0]))  # the stem is in the wall
    env.advance(np.zeros(2))
    assert env.get_state()[3] < 399 and not env.contacts().any()


@pytest.mark.parametrize(
    ("agent_x", "angle", "success"),
    [
        (119.9, 0.0, True),
        (120.1, 0.0, False),
        (100.0, np.pi / 9 - 0.01, True),
        (100.0, np.pi / 9 + 0.01, False),
        (100.0, 2 * np.pi - 0.1, True),
        (100.0, 2 * np.pi - 0.4, False),
    ],
)
def test_success_by_hand(agent_x, angle, success):
    state = to_state([agent_x, 100.0], [256.0, 256.0, angle])
    goal = to_state([100.0, 100.0], velocity=(50.0, -50.0))
    assert bool(PushT().is_success(state, goal)) is success


def test_position_error_is_joint_over_agent_and_block():
    goal = to_state([100.0, 100.0])
    state = to_state([115.0, 100.0], [271.0, 256.0, 0.0])  # 15 px each: 21.2 px together
    error = PushT().state_error(np.stack([state, goal]), goal)
    np.testing.assert_allclose(error, [[15 * np.sqrt(2) / 20, 0], [0, 0]], atol=1e-12)
    assert PushT().is_success(np.stack([state, goal]), goal).tolist() == [False, True]


def test_step_rewards_the_goal_pose():
    env = PushT()
    start = to_state([100.0, 100.0], [300.0, 300.0, 1.0])
    env.reset(seed=0, options={"state": start, "goal_state": start})
    _, reward, terminated, *_ = env.step(np.zeros(2, np.float32))
    assert (reward, terminated) == (1.0, True)
    env.reset(seed=0, options={"state": start, "goal_state": to_state([400.0, 100.0])})
    _, reward, terminated, *_ = env.step(np.zeros(2, np.float32))
    assert (reward, terminated) == (0.0, False)


def test_actions_are_displacements_and_clipped():
    def end(action):
        env = PushT()
        env.set_state(to_state([150.0, 150.0], [400.0, 400.0, 0.0]))
        return replay(env, [np.array(action)])[-1]

    np.testing.assert_array_equal(end([5.0, -7.0]), end([1.0, -1.0]))
    right, left = end([0.5, 0.0]), end([-0.5, 0.0])
    assert 150 < right[0] <= 200 and right[1] == 150
    np.testing.assert_allclose(right[0] - 150, 150 - left[0])


def test_agent_stays_within_the_walls():
    env = PushT()
    env.set_state(to_state([100.0, 100.0], [350.0, 350.0, 0.0]))
    path = replay(env, np.tile([-1.0, -1.0], (20, 1)))
    assert path[:, :2].min() > 10
