"""What the page is told is what the scenes say, for the scene, the change and the time of the address."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cjepa.envs.interventions import Intervention
from cjepa.errors import UserError
from cjepa.evaluation.interventions.counterfactuals import simulated_track
from cjepa.evaluation.interventions.what_if import WhatIf
from cjepa.explorer.settings import TableSettings
from cjepa.explorer.table import effects_of


def pixels(address: str) -> np.ndarray:
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def words(**settings) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items()}


def array(track) -> np.ndarray:
    return np.array(track, float)  # None becomes NaN


@pytest.fixture(scope="module")
def first(explorer) -> dict:
    """The answer to an empty address."""
    return explorer.answer({})


def test_an_empty_address_shows_the_first_scene_with_a_body_removed(first, scenes):
    asked, scene = first["settings"], scenes.scene(0)
    assert (asked["scene"], asked["start"], asked["horizon"], asked["way"]) == (0, scenes.start(0), 8, "remove")
    assert first["bodies"] == scene.bodies and asked["body"] in scene.bodies
    assert first["episode"] == scenes.lab.test.episode_B[0]
    assert first["contacts"] == scene.contact_hops.tolist()
    assert first["about"]["estimates"] == ["remove", "empty"] and asked["by"] == "remove"


@pytest.mark.parametrize(
    ("way", "value"), [("remove", None), ("freeze", None), ("set_velocity", (90, -40)), ("set_position", (200, 300))]
)
def test_tracks_are_those_of_the_scene(explorer, scenes, way, value):
    start, horizon = 3, 6
    scene = scenes.scene(4, start, horizon)
    body = scene.bodies[0]
    more = {} if value is None else {"x": value[0], "y": value[1]}
    answer = explorer.answer(words(scene=4, start=start, horizon=horizon, way=way, body=body, **more))
    expected, others = scene.what_if(way, body, value), [other for other in scene.bodies if other != body]
    for name in ("true_factual", "true", "factual", "predicted"):
        track = array(answer["tracks"][name])[1:]
        np.testing.assert_allclose(track[:, others], getattr(expected, name)[:, others], atol=0.01)
    # the simulator's own answer, and a model that errs by 10 units and in nothing else
    simulator = scenes.lab.env, 2, scene.state_F, scene.action_TA
    track = simulated_track(*simulator, Intervention(way, body, 0, value))
    np.testing.assert_allclose(array(answer["tracks"]["true"])[1:, others], track[:, others], atol=0.01)
    if way != "freeze":
        assert all(
            effect["error"] == pytest.approx(10, abs=0.5) for effect in answer["effects"] if effect["body"] != body
        )
    changed = array(answer["tracks"]["predicted"])[0, body]
    assert np.isnan(changed).all() if way == "remove" else np.isfinite(changed).all()
    if way == "set_position":
        assert changed.tolist() == list(value)


def test_influence_is_that_of_the_scene(explorer, scenes):
    answer = explorer.answer(words(scene=2, by="empty"))
    expected = scenes.scene(2).influence("empty")["empty_moved"]
    np.testing.assert_allclose(array(answer["influence"]), expected, atol=1e-6)
    known = np.isfinite(expected)
    true_N = scenes.scene(2).contact_hops[known] > 0
    strongest_N = np.argsort(-expected[known], kind="stable")[: true_N.sum()]
    assert answer["agreement"] == {"edges": true_N.sum(), "hits": true_N[strongest_N].sum()}


def test_frames_show_the_simulator_with_and_without_the_change(first, scenes):
    history, horizon, body = 3, 8, first["settings"]["body"]
    assert len(first["frames"]) == history + horizon and len(first["counterfactual_frames"]) == horizon + 1
    now, changed = pixels(first["frames"][history - 1]), pixels(first["counterfactual_frames"][0])
    scale = now.shape[1] / 512
    x, y = (round(value * scale) for value in first["tracks"]["true_factual"][0][body])
    empty = pixels(first["background"])
    assert (now[y, x] != empty[y, x]).any() and (changed[y, x] == empty[y, x]).all()
    sprite = first["sprites"][body]
    picture = pixels(sprite["image"])
    assert picture.shape == (round(sprite["height"] * scale), round(sprite["width"] * scale), 4)
    colour = "#{:02x}{:02x}{:02x}".format(*np.median(picture[picture[..., 3] > 0][:, :3], axis=0).astype(int))
    assert sprite["colour"] == colour
    assert (empty.std(axis=(0, 1)) < 1).all()  # no rim of a body is left


def test_masking_changes_nothing_in_the_simulator(explorer, collide_run_explorer):
    answer = collide_run_explorer.answer({"way": "mask"})
    assert answer["tracks"]["true"] == answer["tracks"]["true_factual"] and answer["counterfactual_frames"] == []
    with pytest.raises(UserError, match="takes no masks; remove the object instead"):
        explorer.answer({"way": "mask"})


def test_effects_by_hand():
    at_rest = np.zeros((2, 3, 2))
    found = WhatIf(*(at_rest.copy() for _ in range(4)))
    found.true[-1, 1], found.predicted[-1, 1], found.factual[-1, 1] = (3, 4), (3, 0), (0, 2)
    found.true[0] = 100  # only the last block counts
    found.predicted[:, 0] = np.nan
    gone, moved, still = effects_of(found, [0, 1, 2], TableSettings(body=0, way="remove"))
    assert moved == {"body": 1, "true_effect": 5.0, "predicted_effect": 3.6, "error": 4.0, "factual_error": 2.0}
    assert gone == {"body": 0, "true_effect": None, "predicted_effect": None, "error": None, "factual_error": 0.0}
    assert set(still.values()) == {2, 0.0}


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"scene": "9"}, "scene 9: expected 0..8"),
        ({"scene": "-1"}, "scene -1: expected 0..8"),
        ({"scene": "two"}, "scene 'two': expected an integer"),
        ({"scene": "٣"}, "scene '٣': expected an integer"),
        ({"start": "1000"}, "start 1000: expected 0..18 env steps, after which 8 blocks fit"),
        ({"horizon": "500"}, "horizon 500: expected 1..17 blocks, which fit into the episode"),
        ({"body": "17"}, "body 17: expected one of ["),
        ({"way": "push"}, "way 'push': expected one of remove, set_velocity, set_position, freeze, mask"),
        ({"by": "guess"}, "by 'guess': expected one of mask, remove, empty, gradient, attention"),
        ({"by": "attention"}, "influence by attention: the model is not an EntityTransformer"),
        ({"way": "set_velocity", "x": "1"}, "x and y: expected both or neither"),
        ({"way": "set_velocity", "x": "nan", "y": "1"}, "x 'nan': expected a number"),
        ({"way": "set_velocity", "x": "9e9", "y": "1"}, "x and y: the velocity (9000000000.0, 1.0) is too high"),
        ({"way": "set_position", "x": "-1", "y": "1"}, "x and y: the place (-1.0, 1.0) is not on the table"),
        ({"x": "1", "y": "1"}, "x and y: remove takes no value; leave them out"),
        ({"block": "9"}, "block 9: expected -2..8"),
        ({"arrows": "yes"}, "arrows 'yes': expected one of on, off"),
        ({"path": "/etc/passwd"}, "'path' is no setting; expected scene, start, horizon"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(explorer, query, line):
    with pytest.raises(UserError) as refusal:
        explorer.answer(query)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)
