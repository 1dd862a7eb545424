"""Goals in words: what sentences say, and when they are true."""

from itertools import product

import numpy as np
import pytest
import yaml

from cjepa.envs.collide.env import Collide
from cjepa.envs.pusht.env import PushT
from cjepa.envs.sentences import PREPOSITIONS, REGIONS, VERBS, WORDS, Statement, parse, phrases, said, words_of
from cjepa.errors import UserError
from tests.conftest import EXPERIMENTS

TABLE = (0.0, 300.0)


@pytest.mark.parametrize(
    ("text", "body", "region"),
    [
        ("push the block to the left wall", "block", "left"),
        ("Put the block near the middle.", "block", "middle"),
        ("move the red box to the top right corner", "red square", "upper right"),
        ("bring the pusher towards the bottom of the table", "agent", "lower"),
    ],
)
def test_sentences_by_hand(text, body, region):
    assert parse(text) == Statement(body, region)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 'the sentence is empty; say for example "push the block to the left wall"'),
        ("push the cube left", "unknown word 'cube'; known words: a, agent, at, "),
        ("push it to the left wall", "unknown word 'it'"),
        ("push to the left wall", "names no body"),
        ("push the block", "names no place, or several; say one of: left, right, upper, "),
        ("push the block to the left right wall", "names no place, or several"),
        ("push the block to the left corner", "names no place, or several"),
    ],
)
def test_what_is_no_sentence_is_refused(text, line):
    with pytest.raises(UserError) as error:
        parse(text)
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("region", "place", "error"),
    [
        ("left", (99, 250), 0.99),
        ("left", (150, 0), 1.5),
        ("right", (250, 0), 0.5),
        ("upper", (0, 30), 0.3),
        ("lower", (0, 150), 1.5),
        ("upper right", (250, 150), 1.5),
        ("lower left", (50, 290), 0.5),
        ("middle", (150, 165), 0.5),
        ("middle", (90, 150), 2.0),
        ("left", (-10, 0), 0.0),
    ],
)
def test_errors_by_hand(region, place, error):
    found = Statement("block", region).error({"block": np.array([place, place])}, TABLE)
    np.testing.assert_allclose(found, [error, error])


@pytest.mark.parametrize(
    ("region", "place", "nearest"),
    [
        ("left", (200, 250), (75, 250)),
        ("lower right", (280, 10), (280, 225)),
        ("middle", (10, 152), (127.5, 152)),
    ],
)
def test_the_nearest_place_at_which_it_is_true(region, place, nearest):
    statement, places = Statement("block", region), {"block": np.array(place)}
    found = statement.nearest(places, TABLE)
    np.testing.assert_allclose(found, nearest)
    assert statement.error({"block": found}, TABLE) <= 0.75 + 1e-9 and places["block"].tolist() == list(place)


def test_above_is_above_in_frames():
    env = PushT()
    env.set_state(np.array([256.0, 450.0, 256.0, 100.0, 0.0, 0.0, 0.0]))
    rows, _ = np.nonzero(env.render_labels() == 2)
    assert rows.max() < 32
    places = env.named_places(env.get_state())
    assert (
        Statement("block", "upper").error(places, env.table) < 1 < Statement("block", "lower").error(places, env.table)
    )
    assert Statement("agent", "lower").error(places, env.table) < 1


def test_bodies_of_collide_are_called_by_colour_and_shape():
    env = Collide(agent=True, num_bodies=(4, 4), shapes=("square",), colours=("red", "blue", "green", "cyan"))
    env.reset(seed=0)
    places = env.named_places(state := env.get_state())
    assert len(places) == 4 and set(places) < {"agent", *(f"{name} square" for name in env.starts.colours)}
    np.testing.assert_allclose(places["agent"], env.proprio()[:2])
    places["agent"][:] = 77.0
    assert env.named_places(state)["agent"].tolist() == [77.0, 77.0]
    twins = Collide(num_bodies=(3, 3), shapes=("disc",), colours=("red",), repeat_colours=True)
    twins.reset(seed=0)
    assert twins.named_places(twins.get_state()) == {}


@pytest.mark.parametrize(("body", "region"), product(["block", "red square"], REGIONS))
def test_some_ways_to_say_it_are_held_out_but_no_word_is(body, region):
    statement = Statement(body, region)
    learned, held_out = phrases(statement, False), phrases(statement, True)
    assert held_out and not set(learned) & set(held_out)
    for way in learned + held_out:
        assert parse(said("push", way[0], "near", way[1])) == statement
    for part in (0, 1):
        assert {way[part] for way in held_out} <= {way[part] for way in learned}
    assert {word for way in learned for phrase in way for word in words_of(phrase)} <= set(WORDS)


@pytest.mark.parametrize(
    ("folder", "study", "chance"),
    [
        ("pusht", "relatives", "plan-language-random-0"),
        ("collide", "collide_push", "plan-language-collide-random-0"),
    ],
)
def test_what_is_measured_is_not_learned(folder, study, chance):
    """All sentences of plan_language.yaml are held out, and chance is measured on the same."""
    sentences = yaml.safe_load((EXPERIMENTS / folder / "plan_language.yaml").read_text())["goal_text"]
    for sentence in sentences:
        ways = product(VERBS, PREPOSITIONS, phrases(parse(sentence), held_out=True))
        assert sentence in [said(verb, body, preposition, region) for verb, preposition, (body, region) in ways]
    stages = yaml.safe_load((EXPERIMENTS / "studies" / f"{study}.yaml").read_text())["stages"]
    assert stages[chance]["args"]["goal_text"] == sentences
