import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import cjepa
from cjepa import load_tokenizer
from cjepa.api import PictureTokenizer
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.tokenizers.oracle import OracleTokenizer

AGENT, BLOCK = 1, 2
"""Labels of Push-T."""


@pytest.fixture(scope="module")
def slots() -> PictureTokenizer:
    return load_tokenizer("zoo:pusht-slots")


def table(agent: tuple[float, float], block: tuple[float, float] = (300, 250)) -> PushT:
    """Places in the simulator's 512 x 512; a picture has 64 x 64."""
    env = PushT(image_size=64)
    env.set_state(np.array([*agent, *block, 0.6, 0.0, 0.0]))
    return env


def drawn_at(env: PushT) -> np.ndarray:
    """Mean (x, y) of the pixels of agent and block."""
    labels = env.render_labels()
    return np.array([np.argwhere(labels == body)[:, ::-1].mean(axis=0) for body in (AGENT, BLOCK)])


def nearest(places_S2: np.ndarray, true_O2: np.ndarray) -> np.ndarray:
    """The slot of each object, and how far away it is."""
    distance_OS = np.linalg.norm(true_O2[:, None] - places_S2, axis=-1)
    return np.stack([distance_OS.argmin(axis=1), distance_OS.min(axis=1)])


def test_importing_the_package_stays_light():
    code = "import sys, cjepa; assert 'load_tokenizer' in dir(cjepa); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'load_model'"):
        cjepa.load_model  # noqa: B018


@pytest.mark.parametrize("agent", [(100, 130), (420, 90), (256, 440)])
def test_places_are_where_the_objects_are_drawn(slots, agent):
    env = table(agent)
    tokens_SD = slots.encode(env.render_pixels())
    assert tokens_SD.shape == (2, 34) and tokens_SD.dtype == np.float32
    slot_O, distance_O = nearest(slots.places(tokens_SD), drawn_at(env))
    assert sorted(slot_O) == [0, 1] and (distance_O < 1).all()


def test_a_slot_that_shows_nothing_has_no_place(slots):
    empty = slots.encode(table((100, 130)).render_pixels())
    empty[0] = 0.0
    places_S2 = slots.places(empty)
    assert np.isnan(places_S2[0]).all() and np.isfinite(places_S2[1]).all()


def test_decoded_pixels_and_masks_show_the_picture(slots):
    env = table((100, 130))
    picture, labels = env.render_pixels(), env.render_labels()
    tokens_SD = slots.encode(picture)
    pixels, masks_SYX = slots.decode(tokens_SD)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 and masks_SYX.shape == (2, 64, 64)
    assert np.abs(pixels.astype(float) - picture).mean() < 5
    agent = int(nearest(slots.places(tokens_SD), drawn_at(env))[0][0])
    assert masks_SYX[agent][labels == AGENT].mean() > 0.8 and masks_SYX[agent][labels == 0].mean() < 0.1


def test_a_slot_follows_its_object_through_a_clip(slots):
    envs = [table((100 + 15 * t, 130)) for t in range(8)]
    tokens_TSD = slots.encode(np.stack([env.render_pixels() for env in envs]))
    places_TS2 = slots.places(tokens_TSD)
    found = [nearest(places, drawn_at(env)) for places, env in zip(places_TS2, envs, strict=True)]
    assert all((slot_O == found[0][0]).all() and (distance_O < 2).all() for slot_O, distance_O in found)
    assert slots.decode(tokens_TSD).pixels.shape == (8, 64, 64, 3)


def test_a_picture_file_is_the_same_as_its_array(slots, tmp_path):
    picture = table((100, 130)).render_pixels()
    Image.fromarray(picture).save(tmp_path / "now.png")
    np.testing.assert_array_equal(slots.encode(tmp_path / "now.png"), slots.encode(picture))
    np.testing.assert_array_equal(slots.encode(str(tmp_path / "now.png")), slots.encode(picture))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.zeros((64, 64, 3), np.float32), r"dtype float32, expected uint8"),
        (np.zeros((3, 64, 64), np.uint8), r"shape \(3, 64, 64\), expected \(Y, X, 3\)"),
        (np.zeros((64, 64), np.uint8), r"shape \(64, 64\), expected \(Y, X, 3\)"),
        (np.zeros((0, 64, 64, 3), np.uint8), r"shape \(0, 64, 64, 3\)"),
        (np.zeros((64, 96, 3), np.uint8), r"96 x 64 px, but this tokenizer needs 64 x 64"),
        ("missing.png", r"missing.png: no such file"),
        (__file__, r"test_api.py: not a picture"),
    ],
)
def test_what_is_not_a_picture_is_refused_in_one_line(slots, picture, said):
    with pytest.raises(UserError, match=said) as refused:
        slots.encode(picture)
    assert "\n" not in str(refused.value)


def test_tokens_of_another_shape_are_refused(slots):
    with pytest.raises(UserError, match=r"tokens of shape \(34,\), expected \(2, 34\) or \(T, 2, 34\)"):
        slots.decode(np.zeros(34))


def test_a_tokenizer_that_needs_more_than_pictures_is_refused():
    with pytest.raises(UserError, match="OracleTokenizer needs the simulator's objects"):
        PictureTokenizer(OracleTokenizer(2, ("x", "y")))


def test_loading_says_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_tokenizer("zoo:pusht-slots")
    assert capfd.readouterr() == ("", "")
