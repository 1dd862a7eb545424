"""Imagined places of oracle tokens are drawn where the bodies would be."""

import numpy as np
import pytest
import torch

from cjepa.envs.pusht.env import PushT
from cjepa.reporting.plan_places import draw_paths, mark_places, place_colours, places_in_pixels
from cjepa.reporting.sheets import body_colours
from cjepa.tokenizers.oracle import OracleTokenizer


@pytest.fixture
def scene():
    """The environment, a frame, its labels, and the rows of its bodies."""
    env = PushT(image_size=64)
    env.reset(seed=3, options={"state": np.array([100.0, 400.0, 300.0, 200.0, 0.5, 0.0, 0.0])})
    return env, env.render_pixels(), env.render_labels(), torch.from_numpy(env.objects())[None, None]


@pytest.mark.parametrize("dim", [0, 32])
def test_places_are_those_of_the_simulator(scene, dim):
    env, _, labels_YX, objects = scene
    oracle = OracleTokenizer(2, env.attribute_names, dim)
    places = places_in_pixels(oracle, oracle.encode(objects).slots_BTSD, env.table, 64)[0, 0]
    np.testing.assert_allclose(places, [[12.5, 50.0], [37.5, 25.0]], atol=0.01)
    x, y = places[0].astype(int)
    assert labels_YX[y, x] == 1


def test_places_that_are_unknown(scene):
    env, _, _, objects = scene
    oracle = OracleTokenizer(2, env.attribute_names)
    tokens = oracle.encode(objects).slots_BTSD
    assert places_in_pixels(oracle, tokens, None, 64) is None
    lossy = OracleTokenizer(2, env.attribute_names, 3)
    assert places_in_pixels(lossy, lossy.encode(objects).slots_BTSD, 512.0, 64) is None
    assert OracleTokenizer(2, ("x", "angle")).places(torch.zeros(1, 1, 2, 3)) is None


def test_markers_have_the_colours_of_the_bodies_and_stand_at_the_places(scene):
    _, frame, labels, _ = scene
    masks = np.stack([labels == 1, labels == 2])[None]
    places = np.array([[12.5, 50.0], [37.5, 25.0]])
    colours = place_colours(frame, places)
    np.testing.assert_array_equal(colours, body_colours(frame[None], masks))
    moved = places[None] + [[[20.0, 0.0], [0.0, 20.0]]]
    marked = mark_places(frame[None], moved, colours)[0]
    np.testing.assert_array_equal(marked[50, 32], colours[0])
    np.testing.assert_array_equal(marked[45, 37], colours[1])
    assert marked[50, 12].min() > 150  # the real agent is pale


def test_the_path_of_the_plan_is_drawn_above_those_of_other_candidates():
    white, colours = np.full((40, 40, 3), 255, np.uint8), np.array([[230, 75, 53], [0, 114, 206]])
    straight, bent = [[[5, 10], [5, 30]], [[35, 10], [35, 30]]], [[[5, 10], [5, 30]], [[15, 20], [35, 20]]]
    drawn = draw_paths(white, np.array([straight, bent], float), colours)
    for y, colour in zip((10, 30), colours, strict=True):
        np.testing.assert_array_equal(drawn[y, 20], colour)
    pale = drawn[15:16, 10].astype(int)
    assert (drawn[2, 20] == 255).all() and (pale > colours[0]).any() and (pale < 255).any()
    assert (white == 255).all()
