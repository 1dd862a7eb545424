import numpy as np
import pytest

from cjepa.envs.collide.drawing import BACKGROUND, COLOURS, DEFAULT_COLOURS
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.world import MAX_BODIES, SHAPE_NAMES, Attribute
from tests.envs.collide.test_env import METAL, to_state


def directions(names) -> np.ndarray:
    """Unit vectors from the background to colours."""
    difference = np.array([COLOURS[name] for name in names]) - np.array(BACKGROUND, float)
    return difference / np.linalg.norm(difference, axis=1, keepdims=True)


def test_colours_are_well_apart_and_four_are_unseen():
    apart = np.linalg.norm(directions(COLOURS)[:, None] - directions(COLOURS), axis=-1)
    assert apart[np.triu_indices(len(COLOURS), 1)].min() > 0.3
    assert len(DEFAULT_COLOURS) == 8 and len(set(COLOURS) - set(DEFAULT_COLOURS) - {"white"}) == 4


def test_shading_never_turns_the_direction_of_a_colour():
    """Edges and cores too: what groups pixels by their direction finds whole bodies."""
    for seed in range(10):
        env = Collide(image_size=64)
        env.reset(seed=seed)
        bodies = env.get_state().reshape(MAX_BODIES, -1)
        difference = env.render_pixels().astype(float) - BACKGROUND
        labels = env.render_labels()
        for body in np.flatnonzero(bodies[:, Attribute.PRESENT]):
            pixels = difference[labels == body + 1]
            length = np.linalg.norm(pixels, axis=1, keepdims=True)
            expected = directions([list(COLOURS)[int(bodies[body, Attribute.COLOUR])]])
            assert (length > 20).all()
            assert np.linalg.norm(pixels / length - expected, axis=1).max(initial=0) < 0.05


def test_materials_look_different():
    env, looks = Collide(), []
    for material in (0, METAL):
        env.set_state(to_state({"x": 256, "y": 256, "material": material}))
        looks.append(env.render_pixels()[30:34, 30:34].astype(int).sum() - 16 * sum(BACKGROUND))
    assert looks[1] < 0.6 * looks[0]


@pytest.mark.parametrize("shape", range(len(SHAPE_NAMES)), ids=SHAPE_NAMES)
@pytest.mark.parametrize("image_size", [64, 128, 224])
def test_every_shape_is_where_it_is_and_as_large_as_it_is(shape, image_size):
    env, scale, areas, offsets = Collide(image_size=image_size), image_size / 512, [], []
    rng = np.random.default_rng(0)
    for _ in range(30):
        place = rng.uniform(150, 350, 2)
        env.set_state(to_state({"x": place[0], "y": place[1], "angle": rng.uniform(0, 7), "shape": shape}))
        y, x = np.nonzero(env.render_labels() == 1)
        areas.append(len(x) / (np.pi * 36**2 * scale**2))
        offsets.append([x.mean() + 0.5 - place[0] * scale, y.mean() + 0.5 - place[1] * scale])
    assert 0.96 < np.mean(areas) < 1.04  # of the disc of that size
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.1 and np.abs(offsets).max() < 0.5


def test_labels_are_numbered_as_bodies_and_cover_what_is_coloured():
    env = Collide()
    for seed in range(10):
        env.reset(seed=seed)
        for _ in range(20):
            env.advance(np.zeros(2))
        labels, bodies = env.render_labels(), env.get_state().reshape(MAX_BODIES, -1)
        coloured = np.abs(env.render_pixels().astype(int) - BACKGROUND).max(axis=2) > 0
        assert not ((labels > 0) & ~coloured).any()
        for body in set(np.unique(labels)) - {0}:
            y, x = np.nonzero(labels == body)
            place = bodies[body - 1, [Attribute.X, Attribute.Y]] / 8
            if (place > 8).all() and (place < 56).all():  # whole
                assert np.abs([x.mean() + 0.5 - place[0], y.mean() + 0.5 - place[1]]).max() < 0.5


def test_the_background_can_be_chosen():
    env = Collide(background=[200, 190, 180])
    env.reset(seed=0)
    labels, pixels = env.render_labels(), env.render_pixels()
    assert (np.median(pixels[labels == 0], axis=0) == [200, 190, 180]).all()
