"""The contract of every environment."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from cjepa.envs import make_env as make_by_id
from cjepa.envs.base import ObjectEnv
from cjepa.envs.collide.env import Collide
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from tests.contracts import build, concrete_subclasses
from tests.envs.replay import actions_of, replay

MODES = {Collide: [{"agent": True}]}  # of environments that differ by more than their looks
VARIANTS = [
    (cls, kwargs) for cls in concrete_subclasses("cjepa.envs", ObjectEnv) for kwargs in [{}, *MODES.get(cls, [])]
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0].__name__, *variant[1]]))
def make_env(request):
    cls, kwargs = request.param
    return lambda: build(cls, image_size=64, **kwargs)


@pytest.mark.filterwarnings("ignore:.*Box observation space:UserWarning")
def test_contract_gymnasium_checker(make_env):
    check_env(make_env(), skip_render_check=True)


@pytest.mark.parametrize("image_size", [0, -64, 64.5])
@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.envs", ObjectEnv), ids=lambda cls: cls.__name__)
def test_contract_an_image_size_that_is_none_is_refused(cls, image_size):
    with pytest.raises(UserError, match=f"image_size is {image_size}, expected"):
        build(cls, image_size=image_size)


def test_contract_seeded_reset_is_bit_equal(make_env):
    first, _ = make_env().reset(seed=3)
    second, _ = make_env().reset(seed=3)
    other, _ = make_env().reset(seed=4)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(first["state"], other["state"])


def test_contract_replay_from_a_reset_is_bit_equal(make_env):
    env = make_env()
    actions = actions_of(env, 30)
    env.reset(seed=3)
    states = replay(env, actions)
    env.reset(seed=3)
    np.testing.assert_array_equal(states, replay(env, actions))


def test_contract_what_follows_a_state_depends_on_nothing_before(make_env):
    ours, theirs = make_env(), make_env()
    ours.reset(seed=0)
    theirs.reset(seed=1)
    replay(ours, actions_of(ours, 15, seed=5))
    replay(theirs, actions_of(theirs, 4, seed=6))
    state = ours.get_state()
    ours.set_state(state)
    theirs.set_state(state)
    np.testing.assert_allclose(ours.get_state(), state, atol=1e-9)
    actions = actions_of(ours, 30, seed=7)
    np.testing.assert_array_equal(replay(ours, actions), replay(theirs, actions))
    np.testing.assert_array_equal(ours.render_pixels(), theirs.render_pixels())


def test_contract_shapes_and_symmetry(make_env):
    env = make_env()
    observation, _ = env.reset(seed=0)
    bodies = len(env.body_names)
    low_A, high_A = env.action_bounds()
    assert low_A.dtype == high_A.dtype == np.float32 and low_A.shape == high_A.shape == env.action_space.shape
    assert (low_A < high_A).all()
    np.testing.assert_array_equal(observation["pixels"], env.render_pixels())
    np.testing.assert_array_equal(observation["proprio"], env.proprio())
    np.testing.assert_array_equal(observation["state"], env.get_state().astype(np.float32))
    labels, contacts = env.render_labels(), env.contacts()
    assert labels.dtype == np.uint8 and labels.shape == env.render_pixels().shape[:2]
    assert set(np.unique(labels)) <= set(range(bodies + 1))
    objects = env.objects()
    assert objects.dtype == np.float32 and objects.shape == (bodies, len(env.attribute_names))
    assert contacts.shape == (bodies, bodies) and not contacts.diagonal().any()
    np.testing.assert_array_equal(contacts, contacts.T)
    assert env.is_success(env.get_state(), env.get_state())
    assert (env.state_error(env.get_state(), env.get_state()) == 0).all()


def test_contract_what_a_goal_fixes_and_how_its_errors_are_called(make_env):
    env = make_env()
    env.reset(seed=0)
    fixed = range(len(env.proprio())) if env.goal_proprio is None else env.goal_proprio
    assert len(set(fixed)) == len(fixed) and set(fixed) <= set(range(len(env.proprio())))
    assert len(env.error_names) == len(set(env.error_names)) == len(env.state_error(env.get_state(), env.get_state()))
    assert all(name.isidentifier() for name in env.error_names)


def test_a_goal_fixes_places_of_the_agent_and_not_speeds():
    for env in (PushT(), Collide(agent=True)):
        env.reset(seed=0)
        place = env.proprio()[list(env.goal_proprio)]
        np.testing.assert_array_equal(place, env.objects()[0][[env.attribute_names.index(axis) for axis in "xy"]])


class Free(PushT):
    """Push-T with the action space that a test gives it."""

    def __init__(self, space: spaces.Space):
        super().__init__()
        self.action_space = space


def test_bounds_of_actions_are_the_environments_own():
    low_A, high_A = Free(spaces.Box(np.array([-0.5, 0.0]), np.array([0.25, 2.0]), dtype=np.float32)).action_bounds()
    assert low_A.tolist() == [-0.5, 0.0] and high_A.tolist() == [0.25, 2.0]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-np.inf, 1.0, (2,)), "Free has the action space .* without finite bounds"),
        (spaces.Box(-1.0, 1.0, (2, 3)), r"expected a Box of shape \(A,\)"),
        (spaces.Discrete(4), r"Discrete\(4\), expected a Box"),
    ],
)
def test_an_action_space_without_bounds_is_refused_where_the_environment_is_made(space, message):
    gym.register("cjepa/Free-v0", entry_point=Free)
    try:
        with pytest.raises(UserError, match=message):
            make_by_id("cjepa/Free-v0", {"space": space})
    finally:
        del gym.registry["cjepa/Free-v0"]


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "named"),
    [
        ("cjepa/Colide-v0", {}, "Colide.*: no such environment; here are cjepa/PushT-v0 and cjepa/Collide-v0"),
        ("PushT", {}, "PushT .*: no such environment; here are cjepa/PushT-v0"),
        ("cjepa/PushT-v1", {}, "PushT-v1 .*: no such environment; here are cjepa/PushT-v0"),
        ("nowhere:cjepa/Collide-v0", {}, "nowhere"),
        ("cjepa/Collide-v0", {"shaps": ["disc"]}, "Collide has no option shaps; did you mean shapes"),
        ("cjepa/Collide", {"shaps": ["disc"]}, "Collide has no option shaps; did you mean shapes"),
        (
            "tests.outside:outside/SlowPushT-v0",
            {"image_sise": 32},
            "PushT has no option image_sise; did you mean image_size",
        ),
        ("CartPole-v1", {}, "CartPoleEnv, which is not a subclass of cjepa.envs.base.ObjectEnv"),
    ],
)
def test_an_environment_that_cannot_be_made_is_named(env_id, env_kwargs, named):
    with pytest.raises(UserError, match=named):
        make_by_id(env_id, env_kwargs)


def test_an_argument_that_is_not_finite_is_named():
    with pytest.raises(UserError, match=r"env_kwargs: image_size: a number that is not finite \(nan\)"):
        make_by_id("cjepa/PushT-v0", {"image_size": float("nan")})
