"""The trained models that come along: they load, say where they are from, and still do what they did."""

import json

import numpy as np
import pytest
import torch

import cjepa.checkpoints as checkpoints
from cjepa import load_world_model
from cjepa.checkpoints import find_checkpoint
from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.pusht.env import PushT
from cjepa.evaluation.metrics import ClipConsistency, ForegroundARI
from cjepa.policies.goal_value import load_goal_value
from cjepa.tokenizers.base import float_frames
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.training import load_tokenizer
from tests.conftest import configs

SLOTS = ["pusht-slots", "collide-slots"]
VALUES = {"pusht-goal-value": "pusht-slots"}
"""Values of goals, and the tokenizers that they are for."""
ERRORS = {"pusht-best": 0.16, "pusht-cjepa": 0.1, "collide-best": 0.35, "collide-bodies": 0.35}
"""World models, and the largest share of copying that the error at five blocks may be."""


def test_every_model_has_its_record():
    folders = [path.parent for path in sorted(checkpoints.ZOO.glob("*/model.safetensors"))]
    assert {folder.name for folder in folders} == {*SLOTS, *VALUES, *ERRORS}
    for folder in folders:
        assert (folder / "model.safetensors").stat().st_size < 10e6
        record = json.loads((folder / "run.json").read_text())
        assert record["git"]["commit"][:12] in (folder / "README.md").read_text()
        for path in folder.glob("*.json"):  # nothing of the machine that trained it
            assert "/home/" not in path.read_text() and "/root/" not in path.read_text()
        tested = {row["metric"]: row for row in json.loads((folder / "results_test.json").read_text())}
        if folder.name in SLOTS:
            assert tested["fg_ari_video"]["low"] > 0.85 and tested["fg_ari_video"]["split"] == "test"
        elif folder.name in VALUES:
            assert tested["blocks_correlation"]["value"] > 0.8 and tested["blocks_correlation"]["split"] == "test"
        else:
            error = tested["rollout_error@5"]
            assert error["high"] < ERRORS[folder.name] and error["split"] == "test"


@pytest.mark.parametrize(("name", "episodes"), zip(SLOTS, ["episodes_path", "collide_episodes_path"], strict=True))
@torch.no_grad()
def test_a_tolerant_background_changes_no_token_of_frames_as_recorded(name, episodes, request):
    """So tokens, and world models, that were made before the zoo was tolerant stay valid."""
    tokenizer = load_tokenizer(f"zoo:{name}")
    episode = EpisodeFile(request.getfixturevalue(episodes)).episode(0, ("pixels",))
    pixels = float_frames(tokenizer, torch.from_numpy(episode["pixels"]))[None]
    assert tokenizer.foreground.tolerant
    found, before = tokenizer.encode(pixels).slots_BTSD, fingerprint(tokenizer)
    tokenizer.foreground.tolerant = False
    assert torch.equal(found, tokenizer.encode(pixels).slots_BTSD)
    assert "tolerant" not in tokenizer.info.options and before == fingerprint(tokenizer)


@torch.no_grad()
def test_a_table_without_its_border_hides_no_agent(episodes_path):
    """Nor does one in another grey, in less light."""
    tokenizer = load_tokenizer("zoo:pusht-slots")
    file = EpisodeFile(episodes_path)
    states = file.episode(0, ("state",))["state"][::8]
    places = []
    for kwargs, gain in (({}, 1.0), ({"wall_colour": [255] * 3}, 1.0), ({"background_colour": [230] * 3}, 0.9)):
        env = PushT(**kwargs)
        frames = []
        for state in states:
            env.set_state(state)
            frames.append((env.render_pixels() * gain).astype(np.uint8))
        pixels = float_frames(tokenizer, torch.from_numpy(np.stack(frames)))[None]
        places.append(tokenizer.encode(pixels).positions_BTS2)
    for others in places[1:]:
        assert (others - places[0]).abs().max() < 1.5 / 32  # one and a half pixels


@pytest.mark.parametrize(
    ("state", "action"),
    [([180, 300, 300, 300, 0.6, 0, 0], [0.2, 0.0]), ([300, 150, 300, 260, 2.0, 0, 0], [0.0, 0.2])],
)
def test_the_world_model_knows_where_a_push_of_five_blocks_leads(state, action):
    model, env = load_world_model("zoo:pusht-best"), PushT()
    env.set_state(np.array(state, float))
    before, actions = drawn_at(env), np.tile(np.array(action, np.float32), (25, 1))
    future = model.rollout(env.render_pixels(), actions, env.proprio())
    for one in actions:
        env.advance(one)
    after = drawn_at(env)
    assert (np.linalg.norm(after - before, axis=1) > 10).all()  # px; agent and block
    predicted = model.tokenizer.places(future.tokens)[-1]
    error_O = np.linalg.norm(predicted[None] - after[:, None], axis=-1).min(axis=1)
    assert error_O[0] < 1.5 and error_O[1] < 3


@torch.no_grad()
def test_the_value_of_goals_knows_places_and_the_way_around_the_block():
    """Its probe reads them from frames; the way to push the block to the right is longer from its right."""
    ((name, tokenizer_name),), env = VALUES.items(), PushT()
    tokenizer = load_tokenizer(f"zoo:{tokenizer_name}")
    value = load_goal_value(find_checkpoint(f"zoo:{name}"), fingerprint(tokenizer))
    block, turn, answers = np.array([256, 230]), 0.0, []
    states = [[x, 256, *block, turn, 0, 0] for x in (156, 356)] + [[256, 256, *(block + [100, 0]), turn, 0, 0]]
    for state in np.array(states, float):
        env.set_state(state)
        pixels = float_frames(tokenizer, torch.from_numpy(env.render_pixels())[None])[None]
        answers.append(value.probe(tokenizer.encode(pixels).slots_BTSD)[0, 0])
        assert (answers[-1][:4] - torch.from_numpy(state[:4])).abs().max() < 25
    left, right, goal = answers
    assert value.blocks(goal, goal) < 1 < value.blocks(left, goal) < value.blocks(right, goal) - 1


def drawn_at(env: PushT) -> np.ndarray:
    """Mean (x, y) of the pixels of agent and block."""
    labels = env.render_labels()
    return np.array([np.argwhere(labels == body)[:, ::-1].mean(axis=0) for body in (1, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOTS)
def test_slots_find_the_objects_of_new_episodes(name, tmp_path):
    path = tmp_path / "episodes.h5"
    words = [*configs(f"{name.removesuffix('-slots')}/collect.yaml"), "--seed=1234", "--episodes=8", "--workers=1"]
    assert main(["collect", *words, "--out", str(path)]) == 0
    file, tokenizer = EpisodeFile(path), load_tokenizer(f"zoo:{name}")
    ari, consistency = ForegroundARI(video=True), ClipConsistency()
    for episode in file.episodes(("pixels", "masks")):
        pixels, labels = (torch.from_numpy(episode[column][:32:2])[None] for column in ("pixels", "masks"))
        with torch.no_grad():
            masks = tokenizer.decode(tokenizer.encode(float_frames(tokenizer, pixels)).slots_BTSD)[1]
        ari.update(masks, labels)
        consistency.update(masks, labels)
    assert ari.compute() > 0.85 and consistency.compute() > 0.95
