import numpy as np
import pytest

from cjepa.data.recording import resimulate, run_episode
from cjepa.data.store.episodes import Episode
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.policy import CollideBehaviour
from cjepa.envs.collide.world import POSITION, VELOCITY, Attribute
from cjepa.envs.interventions import KINDS, Intervention
from cjepa.envs.policies import StillPolicy
from cjepa.errors import UserError

ENV_STEPS = 40


def episode(seed: int, agent: bool = False) -> tuple[Collide, Episode]:
    env = Collide(agent=agent)
    policy = CollideBehaviour() if agent else StillPolicy()
    return env, run_episode(env, policy, seed, ENV_STEPS, with_masks=True)


def changed(seed: int, *interventions: Intervention, agent: bool = False) -> tuple[Episode, Episode]:
    """An episode and its twin, which is simulated from what a file would hold."""
    _, original = episode(seed, agent)
    return original, resimulate(Collide(agent=agent), original["state"][0], original["action"], interventions)


@pytest.mark.slow
@pytest.mark.parametrize("agent", [False, True])
def test_without_an_intervention_nothing_changes(agent):
    for seed in range(20):
        original, twin = changed(seed, agent=agent)
        assert sorted(twin) == sorted(original)
        for name, values in original.items():
            np.testing.assert_array_equal(twin[name], values, err_msg=f"seed {seed}, {name}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agent", [False, True])
def test_frames_before_are_bit_equal_and_the_frame_itself_shows_the_change(kind, agent):
    for seed in range(5):
        env, original = episode(seed, agent)
        env_step, rng = 12 + seed, np.random.default_rng(seed)
        env.set_state(original["state"][env_step])
        body = env.free_bodies()[0]
        intervention = Intervention(kind, body, env_step, env.sensible_value(kind, body, rng))
        _, twin = changed(seed, intervention, agent=agent)
        for name, values in original.items():
            np.testing.assert_array_equal(twin[name][:env_step], values[:env_step])
        row = twin["objects"][env_step, body]
        others = np.arange(6) != body
        np.testing.assert_array_equal(twin["objects"][env_step, others], original["objects"][env_step, others])
        np.testing.assert_array_equal(twin["contacts"][env_step], original["contacts"][env_step])
        before = original["objects"][env_step, body]
        if kind == "remove":
            assert (row == 0).all() and body + 1 not in twin["masks"][env_step:]
        elif kind == "set_velocity":
            np.testing.assert_array_equal(row[VELOCITY], np.float32(intervention.value))
            np.testing.assert_array_equal(twin["pixels"][env_step], original["pixels"][env_step])
        elif kind == "set_position":
            np.testing.assert_array_equal(row[POSITION], np.float32(intervention.value))
            np.testing.assert_array_equal(row[VELOCITY], before[VELOCITY])
            assert (twin["pixels"][env_step] != original["pixels"][env_step]).any()
        else:
            np.testing.assert_array_equal(row[POSITION], before[POSITION])
            assert (twin["objects"][env_step:, body] == row).all()


def test_what_is_removed_is_not_hit():
    """Three discs in a row: without the middle one the first goes through to where it was."""
    env = Collide()
    state = np.zeros((6, len(Attribute)))
    for row, x in zip(state, (100, 250, 400), strict=False):
        row[[Attribute.PRESENT, Attribute.X, Attribute.Y, Attribute.SIZE, Attribute.MASS]] = 1, x, 256, 36, 4
    state[0, Attribute.VX] = 300
    actions = np.zeros((ENV_STEPS, 2), np.float32)
    factual = resimulate(env, state.ravel(), actions)
    assert factual["contacts"][:, 0, 1].any() and factual["objects"][-1, 2, Attribute.X] > 401
    removed = resimulate(env, state.ravel(), actions, [Intervention("remove", 1, 0)])
    assert not removed["contacts"][:, 1].any() and removed["contacts"][:, 0, 2].any()
    frozen = resimulate(env, state.ravel(), actions, [Intervention("freeze", 1, 0)])
    assert frozen["contacts"][:, 0, 1].any() and frozen["objects"][-1, 2, Attribute.X] == 400
    assert frozen["objects"][-1, 0, Attribute.X] < factual["objects"][-1, 0, Attribute.X]


def test_several_interventions_happen_in_turn():
    _, original = episode(0)
    first, second = Intervention("freeze", 0, 5), Intervention("set_position", 0, 9, (60.0, 70.0))
    _, twin = changed(0, second, first)
    np.testing.assert_array_equal(twin["objects"][5:9, 0, POSITION], np.tile(twin["objects"][5, 0, POSITION], (4, 1)))
    np.testing.assert_array_equal(twin["objects"][9:, 0, POSITION], np.tile([60, 70], (ENV_STEPS - 9, 1)))


@pytest.mark.parametrize(
    ("intervention", "named"),
    [
        (Intervention("explode", 0, 3), "explode"),
        (Intervention("remove", 0, ENV_STEPS), "0..39"),
        (Intervention("remove", 0, -1), "0..39"),
        (Intervention("remove", 0, 10.5), "env step 10.5, expected an integer"),
        (Intervention("remove", 0.5, 10), "body 0.5, expected an integer"),
        (Intervention("remove", "1", 10), "body '1', expected an integer"),
        (Intervention("remove", 6, 3), "body 6"),
        (Intervention("remove", -1, 3), "body -1"),
        (Intervention("set_velocity", 0, 3), "two finite numbers"),
        (Intervention("set_position", 0, 3, (1.0, float("nan"))), "two finite numbers"),
        (Intervention("set_position", 0, 3, (1.0, 2.0, 3.0)), "two finite numbers"),
        (Intervention("freeze", 0, 3, (1.0, 2.0)), "expected no value"),
    ],
)
def test_what_makes_no_sense_is_named(intervention, named):
    with pytest.raises(UserError, match=named):
        changed(0, intervention)


def test_whole_numbers_of_any_type_will_do():
    numbers = Intervention("remove", np.int32(0), np.int64(3))
    np.testing.assert_array_equal(changed(0, numbers)[1]["state"], changed(0, Intervention("remove", 0, 3))[1]["state"])


def test_a_body_must_be_there_and_free():
    with pytest.raises(UserError, match="body 1, expected one of"):
        changed(0, Intervention("remove", 1, 3), Intervention("freeze", 1, 4))
    with pytest.raises(UserError, match="frozen"):
        changed(0, Intervention("freeze", 1, 3), Intervention("set_velocity", 1, 4, (1.0, 1.0)))
    with pytest.raises(UserError, match="agent"):
        changed(0, Intervention("remove", 0, 3), agent=True)
