"""The symbolic reader: with a world model that is the simulator it is mostly right."""

import json

import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import MATERIAL_NAMES, SHAPE_NAMES
from cjepa.evaluation import probes
from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import EncodedEpisode, encode_episodes
from cjepa.questions.files import QuestionFile, read_questions
from cjepa.questions.perception import Perception, fit_perception
from cjepa.questions.scores import score
from cjepa.questions.simulated import true_story
from cjepa.questions.symbolic import Clocks, SymbolicReader, by_world_model, constant_velocity
from tests.evaluation.simulated import STRIDE, laboratory

_COLUMNS = {"color": (7, COLOUR_NAMES), "shape": (6, SHAPE_NAMES), "material": (8, MATERIAL_NAMES)}


@pytest.fixture(scope="module")
def lab(collide_table_path) -> Laboratory:
    return laboratory(collide_table_path)


@pytest.fixture(scope="module")
def episodes(lab, collide_table) -> dict[int, EncodedEpisode]:
    return {one.index: one for one in encode_episodes(collide_table, range(0, 60, 2), lab.tokenizer, lab.env)}


@pytest.fixture(scope="module")
def perception(lab, episodes) -> Perception:
    """Fitted on episodes that are not asked about; words are read as oracle tokens hold them."""
    fitted_on = [episode for index, episode in episodes.items() if index % 4 == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_STEPS", probes._CHECK_EVERY)
        fitted = fit_perception(fitted_on, place_of(lab), lab.env.attribute_names, lab.env.table[1], STRIDE)
    looks = {
        name: lambda tokens_ND, column=column, words=words: (
            100 * torch.nn.functional.one_hot(tokens_ND[:, column].round().long(), len(words)).double()
        )
        for name, (column, words) in _COLUMNS.items()
    }
    return fitted._replace(looks=looks)


@pytest.fixture(scope="module")
def file(question_path) -> QuestionFile:
    return read_questions(question_path)


@pytest.fixture(scope="module")
def clocks(file) -> Clocks:
    return Clocks(STRIDE, file.source["removal_env_step"], file.source["seen_env_steps"])


def test_the_story_of_an_episode(lab, perception, clocks, episodes, collide_table):
    reader = SymbolicReader(episodes, perception, clocks, by_world_model(lab, perception))
    found, true = reader.story(10), true_story(lab.env, collide_table.episode(10), *clocks[1:])
    assert {body: dict(words) for body, words in found.words.items()} == true.words
    assert {event.what for event in found.seen} <= {event.what for event in true.seen}
    assert set(found.without) == set(true.without)


def test_a_removal_from_which_blocks_do_not_fill_the_episode(lab, perception, episodes):
    """Of blocks of two from env step 13 on, the last whole one begins at 37 of 0 to 39."""
    reader = SymbolicReader(episodes, perception, Clocks(STRIDE, 13, 26), by_world_model(lab, perception))
    unseen = [event for index in (2, 6, 10) for event in reader.story(index).unseen]
    assert unseen and all(25 < event.env_step <= 37 for event in unseen)


def test_straight_tracks_collide_where_they_meet(perception, clocks, episodes, collide_table, lab):
    """Nothing bounces there, so that the distance alone tells."""
    reader = SymbolicReader(episodes, perception, clocks, constant_velocity(512.0), perception.straight)
    counts = np.zeros(3)
    for index in (index for index in episodes if index % 4 == 2):
        stories = reader.story(index), true_story(lab.env, collide_table.episode(index), *clocks[1:])
        mine, theirs = ({event.what for event in story.unseen if event.kind == "collision"} for story in stories)
        counts += len(mine & theirs), len(mine), len(theirs)
    assert counts[0] > 0.4 * counts[2]


def test_it_is_mostly_right(lab, perception, clocks, file, episodes):
    asked = [question for question in file.questions if question.episode % 4 == 2]
    rows = {}
    imagined = {"model": (by_world_model(lab, perception), None)}
    imagined["straight"] = constant_velocity(512.0), perception.straight
    for name, future in imagined.items():
        reader = SymbolicReader(episodes, perception, clocks, *future)
        rows[name] = {found.metric: found.value for found in score(asked, reader)}
    assert rows["model"]["question_accuracy@descriptive"] > 0.85
    assert rows["model"]["option_accuracy@explanatory"] > 0.85
    assert rows["model"]["option_accuracy@predictive"] > max(0.8, rows["straight"]["option_accuracy@predictive"])
    assert rows["model"]["question_accuracy@predictive"] > rows["straight"]["question_accuracy@predictive"] + 0.1


def test_a_model_whose_bodies_hardly_turn_gets_thresholds_of_its_own(lab, perception, clocks, episodes, collide_table):
    """On straight tracks the thresholds of what is seen find hardly anything; fitted ones do not ask for a turn."""
    asked = {index: episode for index, episode in episodes.items() if index % 4 == 2}
    reader = SymbolicReader(asked, perception, clocks, constant_velocity(512.0))
    fitted = reader.with_fitted_future([episode for index, episode in episodes.items() if index % 4 == 0])
    assert fitted.future.turn_units < 1e-6 < perception.thresholds.turn_units
    hits = []
    for one in (reader, fitted):
        hits.append(0)
        for index in asked:
            stories = one.story(index), true_story(lab.env, collide_table.episode(index), *clocks[1:])
            mine, theirs = ({event.what for event in story.unseen if event.kind == "collision"} for story in stories)
            hits[-1] += len(mine & theirs)
    assert hits[1] > hits[0] + 3


def test_collisions_without_a_body(lab, perception, clocks, episodes, collide_table):
    """Those of bodies that are there at the removal; a later one that hits them is not in the model's history."""
    reader = SymbolicReader(episodes, perception, clocks, by_world_model(lab, perception))
    counts = np.zeros(3)
    for index in (index for index in episodes if index % 4 == 2):
        found, true = reader.story(index), true_story(lab.env, collide_table.episode(index), *clocks[1:])
        for removed in true.without:
            there = set(true.without) - {removed}
            sides = (found.without[removed], true.without[removed])
            mine, theirs = ({event.what for event in side if set(event.bodies) <= there} for side in sides)
            assert all(removed not in event.bodies for event in found.without[removed])
            counts += len(mine & theirs), len(mine), len(theirs)
    assert counts[2] > 20
    assert 2 * counts[0] / (counts[1] + counts[2]) > 0.8


def test_the_command(collide_model_run, question_path, collide_table_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probes, "_STEPS", probes._CHECK_EVERY)
    words = ["answer", str(collide_model_run), str(question_path), "--episodes", str(collide_table_path)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["model"] for row in rows} == {"table-model", "tokens, constant velocity", "text only"}
    assert {"question_accuracy@descriptive", "option_accuracy@predictive"} <= {row["metric"] for row in rows}
    assert "text only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("episodes_fingerprint", "0", "is about episodes 0"),
        ("seen_env_steps", 900, "seen_env_steps 900; expected removal"),
    ],
)
def test_questions_that_do_not_fit_the_episodes(
    key, value, message, collide_model_run, question_path, collide_table_path, tmp_path, refused
):
    scenes = json.loads(question_path.read_text())
    for scene in scenes:
        scene["source"][key] = value
    (tmp_path / "other.json").write_text(json.dumps(scenes))
    words = ["answer", collide_model_run, tmp_path / "other.json", "--episodes", collide_table_path]
    assert message in refused(*words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
