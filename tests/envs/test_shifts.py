"""Changes of an environment that its episodes do not show."""

import numpy as np
import pytest

from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.world import MAX_BODIES, Attribute
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError

PUSH = np.array([200.0, 256.0, 256.0, 226.0, 0.3, 0.0, 0.0])
"""The agent beside the bar of the block, off its middle."""


def shifted(name: str) -> PushT:
    return PushT(**PushT.shifts[name].env_kwargs)


def pushed(env: PushT) -> np.ndarray:
    env.set_state(PUSH)
    for _ in range(6):
        env.advance([0.4, 0.1])
    return env.get_state()


@pytest.mark.parametrize("name", PushT.shifts)
def test_a_shift_of_push_t_changes_how_it_looks_or_moves(name):
    plain, env = PushT(), shifted(name)
    for one in (plain, env):
        one.set_state(PUSH)
    np.testing.assert_array_equal(env.get_state(), PUSH)
    looks_alike = np.array_equal(env.render_pixels(), plain.render_pixels())
    assert looks_alike == (name in ("mass", "friction"))
    moves_alike = np.array_equal(pushed(env), pushed(plain))
    assert moves_alike == (name in ("colours", "background"))


def test_the_block_has_the_size_and_the_inertia_that_are_asked_for():
    def area_and_moment(env):
        env.set_state(PUSH)
        return (env.render_labels() == 2).sum(), env._physics.block.moment

    area, moment = area_and_moment(PushT(image_size=224))
    assert area_and_moment(PushT(image_size=224, block_scale=0.8))[0] == pytest.approx(0.64 * area, rel=0.05)
    heavy = area_and_moment(PushT(image_size=224, block_inertia=3.0))
    assert heavy == (area, pytest.approx(3 * moment))


@pytest.mark.parametrize(
    "option", [{"block_scale": 0}, {"block_scale": float("nan")}, {"block_inertia": -1.0}, {"edge_friction": -0.1}]
)
def test_physics_that_are_impossible_are_refused(option):
    with pytest.raises(UserError, match=f"{next(iter(option))} is .*, expected a finite number"):
        PushT(**option)


@pytest.mark.parametrize(
    ("name", "attribute", "expected"),
    [
        ("colours", Attribute.COLOUR, lambda colour_K: 8 + colour_K % 4),
        ("shapes", Attribute.SHAPE, lambda shape_K: np.full_like(shape_K, 3)),
        ("size", Attribute.SIZE, lambda size_K: 0.75 * size_K),
        ("mass", Attribute.MASS, lambda mass_K: 3 * mass_K),
    ],
)
def test_a_shift_of_collide_changes_one_attribute_of_all_bodies_but_the_agent(name, attribute, expected):
    env = Collide(agent=True, num_bodies=(4, 4))
    env.reset(seed=1)
    before = env.get_state().reshape(MAX_BODIES, -1)
    after = env.shifts[name].state(before.ravel()).reshape(MAX_BODIES, -1)
    changed = before.copy()
    changed[1:4, attribute] = expected(before[1:4, attribute])
    np.testing.assert_array_equal(after, changed)
    env.set_state(after.ravel())


def test_a_count_that_was_not_seen_keeps_agent_and_target():
    env = Collide(agent=True, target_body=2, num_bodies=(4, 4))
    env.reset(seed=1)
    before = env.get_state().reshape(MAX_BODIES, -1)
    after = env.shifts["count"].state(before.ravel()).reshape(MAX_BODIES, -1)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not after[[1, 3, 4, 5]].any()
    plain = Collide()
    assert plain.shifts["mass"].state(before.ravel())[Attribute.MASS] == 3 * before[0, Attribute.MASS]
