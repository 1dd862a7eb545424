"""Numbers that describe episodes, against values computed by hand."""

import json

import numpy as np
import pytest

from cjepa.artifacts.data_card import data_card
from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter

ENV_STEPS = 50


def sliding_block(speed_px: float, turn: float = 0.0) -> dict[str, np.ndarray]:
    """The agent rests at (100, 100), reported at 30, 40 px/s; the block slides right and turns, both per env step."""
    step = np.arange(ENV_STEPS)
    block_x, angle = 150 + speed_px * step, turn * step
    still, hundred = np.zeros(ENV_STEPS), np.full(ENV_STEPS, 100.0)
    agent = np.stack([hundred, hundred, still, still + 30, still + 40, still], axis=1)
    block = np.stack([block_x, still + 200, angle, still + 10 * speed_px, still, still], axis=1)
    state = np.stack([hundred, hundred, block_x, still + 200, angle % (2 * np.pi), still + 30, still + 40], axis=1)
    contacts = np.zeros((ENV_STEPS, 2, 2), np.uint8)
    contacts[:15, 0, 1] = contacts[:15, 1, 0] = 1  # env steps 0 to 13 touch; the first row knows of no env step
    action = np.stack([np.where(step % 2, 0.3, -0.1), still + 0.5], axis=1)
    columns = {"action": action, "state": state, "objects": np.stack([agent, block], axis=1)}
    return {**{name: values.astype(np.float32) for name, values in columns.items()}, "contacts": contacts}


def written(path, episodes, **attributes) -> EpisodeFile:
    with EpisodeWriter(path, "cjepa-episodes", {"env_id": "cjepa/PushT-v0", "env_kwargs": {}, **attributes}) as writer:
        for episode in episodes:
            writer.append(episode)
    return EpisodeFile(path)


def test_a_card_by_hand(tmp_path):
    """Two episodes: the block rests at (150, 200), or gets 2 px farther and turns by 0.02 each env step."""
    card = data_card(written(tmp_path / "two.h5", [sliding_block(0.0), sliding_block(2.0, 0.02)]))
    assert (card["episodes"], card["of_episodes"], card["env_steps"]) == (2, 2, 100)
    assert card["action_mean"] == pytest.approx([0.1, 0.5]) and card["action_std"] == pytest.approx([0.2, 0], abs=1e-6)
    assert card["agent_place_std"] == [0, 0] and card["agent_speed"] == 50 and card["agent_velocity_std"] == [0, 0]
    assert card["agent_displacement"] == [0, 0, 0]
    assert card["block_speed"] == 10 and card["block_velocity_std"] == [10, 0]
    assert card["block_displacement"] == pytest.approx([0, 25, 50])  # half of the windows rest: 50 % is in between
    assert card["block_rotation_degrees"] == pytest.approx(np.degrees([0, 0.25, 0.5]), rel=1e-4)
    places = np.concatenate([np.full(50, 150.0), 150 + 2.0 * np.arange(50)])
    assert card["block_place_std"] == pytest.approx([places.std(), 0])
    angles = np.concatenate([np.zeros(50), 0.02 * np.arange(50)])
    assert card["block_angle_std"] == pytest.approx(angles.std(), rel=1e-4)
    # cells of 64 px and 45 degrees: x from 150 to 248 is cell 2 (to 192, at angle 0.42 < 0.785) and cell 3; the angle
    # passes 0.785 at x = 228.5, so (2, 0), (3, 0) and (3, 1) of 512 are visited
    assert card["block_pose_coverage"] == 3 / 512
    assert card["contact_share"] == 14 / 49
    assert card["trivial_pairs"] == 0.5  # all of the resting block, none of the moving one (50 px of 20)


def test_a_turn_past_a_full_circle_is_short(tmp_path):
    """25 env steps x 0.3 radians = 7.5 = 1.217 beyond a full turn."""
    card = data_card(written(tmp_path / "turns.h5", [sliding_block(0.0, 0.3)]))
    assert card["block_rotation_degrees"] == pytest.approx([np.degrees(7.5 - 2 * np.pi)] * 3, rel=1e-4)


def test_large_files_are_sampled_and_short_episodes_have_no_windows(tmp_path):
    short = {name: values[:2] for name, values in sliding_block(0.0).items()}
    card = data_card(written(tmp_path / "short.h5", [short] * 301))
    assert (card["episodes"], card["of_episodes"], card["env_steps"]) == (300, 301, 600)
    assert "block_place_std" in card and "block_displacement" not in card and "trivial_pairs" not in card


def test_without_the_environment_only_actions_and_contacts_are_described(tmp_path):
    for number, env_id in enumerate(("", "unknown/Env-v0")):
        card = data_card(written(tmp_path / f"{number}.h5", [sliding_block(2.0)], env_id=env_id))
        assert set(card) == {
            *("episodes", "of_episodes", "env_steps", "action_mean", "action_std", "contact_share"),
        }
    card = data_card(written(tmp_path / "frames.h5", [{"pixels": np.zeros((3, 4, 4, 3), np.uint8)}]))
    assert card == {"episodes": 0, "of_episodes": 1, "env_steps": 0}


def test_bodies_that_are_not_there_do_not_count(tmp_path, collide_episodes_path):
    """Collide pools the bodies other than the agent; rows of zeros are bodies that are not there."""
    file = EpisodeFile(collide_episodes_path)
    card = data_card(file)
    objects = file.read("objects", 0, file.env_steps)
    present = objects[:, 1:][objects[:, 1:, 0] > 0]
    assert card["bodies_place_std"] == pytest.approx(present[:, 1:3].std(axis=0, dtype=np.float64))
    state, task = objects[:, 1, 1:3].astype(np.float64).reshape(len(file), -1, 2), []
    for places in state:
        task += (np.linalg.norm(places[25:] - places[:-25], axis=1) < 20).tolist()
    assert card["trivial_pairs"] == pytest.approx(np.mean(task))
    assert 0 < card["contact_share"] < 1 and 0 < card["bodies_pose_coverage"] < 1


def test_people_and_programs_see_the_card(tmp_path, capsys):
    path = written(tmp_path / "two.h5", [sliding_block(0.0), sliding_block(2.0, 0.02)]).path
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "data card (2 of 2 episodes, 100 env steps; " in shown and "\n  block_displacement: 0, 25, 50\n" in shown
    assert "\ndata_card: " not in shown
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data_card"] == data_card(EpisodeFile(path))
