import subprocess
import sys
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import cjepa
from cjepa import load_tokenizer, load_world_model, plan_to
from cjepa.api import PictureTokenizer, PictureWorldModel
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Clip, Predicted
from cjepa.world_models.dynamics import Dynamics

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


@pytest.mark.parametrize("place", [20, 60, 200])
def test_a_cut_or_damaged_picture_file_is_refused(slots, tmp_path, place):
    path = tmp_path / "now.png"
    Image.fromarray(table((100, 130)).render_pixels()).save(path)
    whole = path.read_bytes()
    for content in (whole[:place], whole[:place] + bytes(8) + whole[place + 8 :]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"now\.png: not a picture, incomplete or damaged"):
            slots.encode(path)


def test_tokens_of_another_shape_are_refused(slots):
    with pytest.raises(UserError, match=r"tokens of shape \(34,\), expected \(2, 34\) or \(T, 2, 34\)"):
        slots.decode(np.zeros(34))


def test_a_tokenizer_that_needs_more_than_pictures_is_refused():
    with pytest.raises(UserError, match="OracleTokenizer needs the simulator's objects"):
        PictureTokenizer(OracleTokenizer(2, ("x", "y")))


class Added(NamedTuple):
    tokens_BSD: Tensor
    proprio_BP: Tensor


class AddsActions(Dynamics):
    """The mean action of a block is added to every token value, its sum to the proprio value, in doubled units."""

    token_dim, proprio_dim, action_dim, history_blocks = 34, 1, 4, 3

    def __init__(self):
        super().__init__()
        self.register_buffer("unused", torch.zeros(1))

    def normalise(self, clip):
        return Clip(2 * clip.tokens_BTSD, 2 * clip.proprio_BTP, clip.actions_BTA)

    def denormalise(self, rollout):
        return rollout.map(lambda values: values / 2)

    def observe(self, clip):
        clip = self.normalise(clip)
        return Added(clip.tokens_BTSD[:, -1], clip.proprio_BTP[:, -1])

    def step(self, state, actions_BA):
        mean_B1 = 2 * actions_BA.mean(dim=1, keepdim=True)
        return Added(state.tokens_BSD + mean_B1[..., None], state.proprio_BP + 4 * mean_B1)

    def predicted(self, state):
        return Predicted(*state)


@pytest.fixture(scope="module")
def model(slots) -> PictureWorldModel:
    return PictureWorldModel(AddsActions(), slots)


def test_a_rollout_takes_blocks_of_actions_in_order(slots, model):
    picture = table((100, 130)).render_pixels()
    actions = [[0.0, 0.5], [0.5, 0.0], [1.0, 1.0], [1.0, -1.0]]  # two blocks with means of 0.25 and 0.5
    future = model.rollout(picture, actions, proprio=[3.0])
    assert future.tokens.shape == (2, 2, 34)
    now_SD = slots.encode(picture)
    np.testing.assert_allclose(future.tokens, [now_SD + 0.25, now_SD + 0.75], atol=1e-5)
    np.testing.assert_allclose(future.proprio, [[4.0], [6.0]])


def test_predicted_places_are_in_px(slots, model):
    env = table((100, 130))
    future = model.rollout(env.render_pixels(), np.zeros((6, 2)), proprio=[0.0])
    places_HS2 = slots.places(future.tokens)
    assert places_HS2.shape == (3, 2, 2)
    assert all((nearest(places_S2, drawn_at(env))[1] < 1).all() for places_S2 in places_HS2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actions": np.zeros((3, 2))}, r"actions of shape \(3, 2\), expected .* whole blocks of 4 values"),
        ({"actions": np.zeros((4, 3))}, r"actions of shape \(4, 3\)"),
        ({"actions": np.zeros(4)}, r"actions of shape \(4,\)"),
        ({"actions": np.zeros((0, 2))}, r"actions of shape \(0, 2\)"),
        ({"actions": np.full((2, 2), np.nan)}, "actions contain NaN"),
        ({"proprio": None}, "proprio is missing; this model takes 1 finite values"),
        ({"proprio": [1.0, 2.0]}, r"proprio is \[1.0, 2.0\]"),
        ({"picture": np.zeros((2, 64, 64, 3), np.uint8)}, r"\(2, 64, 64, 3\), expected one picture"),
    ],
)
def test_wrong_rollouts_are_refused_in_one_line(model, changes, said):
    right = {"picture": np.zeros((64, 64, 3), np.uint8), "actions": np.zeros((2, 2)), "proprio": [0.0]}
    with pytest.raises(UserError, match=said) as refused:
        model.rollout(**{**right, **changes})
    assert "\n" not in str(refused.value)


def test_a_trained_world_model_imagines_from_a_picture(world_model_run):
    model = load_world_model(world_model_run)
    env = table((100, 130))
    future = model.rollout(env.render_pixels(), np.zeros((10, 2)), env.proprio())
    assert future.tokens.shape == (2, *model.tokenizer.encode(env.render_pixels()).shape)
    assert np.isfinite(future.tokens).all() and future.proprio.shape == (2, 4)


def test_a_plan_follows_the_costs_of_its_goal(slots, model):
    """The proprio value rises by the sum of all actions, tokens by their mean: the goal's proprio value decides."""
    picture = table((100, 130)).render_pixels()
    options = {"bounds": ([-1.0, -0.1], [1.0, 0.1]), "proprio": [0.0], "horizon_blocks": 2}
    options |= {"planner": CEM(64, 8, 8), "objective": LastStepMSE(proprio_weight=1000.0)}
    actions = plan_to(model, picture, picture, proprio_at_goal=[3.0], **options)
    assert actions.shape == (4, 2) and actions.dtype == np.float32
    assert (np.abs(actions) <= np.float32([1.0, 0.1])).all() and abs(actions.sum() - 3.0) < 0.1
    free = plan_to(model, picture, picture, **options)  # the goal is the picture: nothing should be added to tokens
    assert abs(free.sum()) < 0.1
    ignored = plan_to(model, picture, picture, proprio_at_goal=[3.0], goal_proprio=[], **options)
    np.testing.assert_array_equal(ignored, free)
    of_all = options | {"objective": LastStepMSE(proprio_weight=1000.0, position_only=False), "proprio": [2.0]}
    np.testing.assert_array_equal(plan_to(model, picture, picture, **of_all), free)  # nor is it to stay where it is
    np.testing.assert_array_equal(plan_to(model, picture, picture, seed=0, **options), free)
    assert not np.array_equal(plan_to(model, picture, picture, seed=1, **options), free)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bounds": ([-1.0] * 3, [1.0] * 3)}, r"\(3,\) and \(3,\), .* takes 4 action values per block"),
        ({"bounds": ([-1.0], [1.0, 1.0])}, r"\(1,\) and \(2,\)"),
        ({"bounds": ([1.0, 1.0], [-1.0, 1.0])}, "expected finite values, low <= high"),
        ({"bounds": ([-np.inf, -1.0], [1.0, 1.0])}, "expected finite values, low <= high"),
        ({"bounds": ([-100.0, -1.0], [100.0, 1.0])}, "trained on actions in other units"),
        ({"proprio_at_goal": [1.0, 2.0]}, "proprio_at_goal is .*; this model takes 1 finite values"),
        ({"proprio": None}, "proprio is missing"),
        ({"horizon_blocks": 0}, "horizon_blocks is 0"),
        ({"goal": np.zeros((96, 96, 3), np.uint8)}, "96 x 96 px, but this tokenizer needs 64 x 64"),
    ],
)
def test_wrong_goals_are_refused_in_one_line(model, changes, said):
    blank = np.zeros((64, 64, 3), np.uint8)
    right = {"picture": blank, "goal": blank, "bounds": ([-1.0, -1.0], [1.0, 1.0]), "proprio": [0.0]}
    with pytest.raises(UserError, match=said) as refused:
        plan_to(model, **{**right, "proprio_at_goal": [0.0], **changes})
    assert "\n" not in str(refused.value)


def test_a_trained_world_model_plans_to_a_picture(world_model_run):
    now, goal = table((100, 130)), table((160, 130))
    proprio = {"proprio": now.proprio(), "proprio_at_goal": goal.proprio(), "goal_proprio": now.goal_proprio}
    parts = (load_world_model(world_model_run), now.render_pixels(), goal.render_pixels(), now.action_bounds())
    actions = plan_to(*parts, **proprio, planner=CEM(8, 2, 3))
    assert actions.shape == (25, 2) and (np.abs(actions) <= 1).all()


def test_a_tokenizer_is_no_world_model():
    with pytest.raises(UserError, match="not a world model"):
        load_world_model("zoo:pusht-slots")


def test_loading_says_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_tokenizer("zoo:pusht-slots")
    assert capfd.readouterr() == ("", "")
