"""Programs give the answers that one reads off the events."""

import pytest

from cjepa.questions.executor import Unanswerable, answer, is_correct, told_apart
from tests.questions.stories import EXIT, HIT, STORY, WORDS, named

RED = ["objects", "red", "filter_color", "unique"]
BLUE = ["objects", "blue", "filter_color", "square", "filter_shape", "unique"]
GREEN = ["objects", "green", "filter_color", "unique"]
PINK = ["objects", "pink", "filter_color", "unique"]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (["objects", "disc", "filter_shape", "count"], "2"),
        (["objects", "disc", "filter_shape", "rubber", "filter_material", "count"], "1"),
        (["events", "objects", "filter_collision", "count"], "2"),
        (["events", *RED, "filter_collision", *BLUE, "filter_collision", "exist"], "yes"),
        (["events", *RED, "filter_collision", *GREEN, "filter_collision", "exist"], "no"),
        (["events", *BLUE, "filter_out", "exist"], "yes"),
        (["events", "objects", "filter_in", "first", "filter_order", "get_object", "query_color"], "red"),
        (
            ["events", *BLUE, "filter_collision", "last", "filter_order", *BLUE, "get_col_partner", "query_color"],
            "green",
        ),
        (
            ["events", *BLUE, "filter_collision", "first", "filter_order", *BLUE, "get_col_partner", "query_shape"],
            "disc",
        ),
        (
            [
                "unseen_events",
                "objects",
                "filter_collision",
                "first",
                "filter_order",
                *PINK,
                "get_col_partner",
                "query_material",
            ],
            "rubber",
        ),
    ],
)
def test_descriptive_programs(program, expected):
    assert answer(program, STORY) == expected


@pytest.mark.parametrize(
    "program",
    [
        ["objects", "disc", "filter_shape", "unique", "query_color"],  # two discs
        ["events", *PINK, "filter_collision", "first", "filter_order", *PINK, "get_col_partner", "query_color"],
        ["events", "objects", "filter_out", "second", "filter_order", "get_object", "query_color"],
        ["count"],
        ["objects", "objects"],
        [],
    ],
)
def test_what_has_no_answer(program):
    with pytest.raises(Unanswerable):
        answer(program, STORY)


def test_causes_are_traced_back_through_shared_objects():
    question = ["events", *BLUE, "filter_collision", *GREEN, "filter_collision", "unique", "filter_ancestor"]
    assert is_correct(RED, question, STORY)  # it hit what hit the green disc
    assert not is_correct(PINK, question, STORY)
    assert is_correct(["events", *RED, "filter_in"], question, STORY)
    assert not is_correct(["events", *BLUE, "filter_out"], question, STORY)  # which comes later
    assert is_correct(GREEN, ["events", *BLUE, "filter_out", "unique", "filter_ancestor"], STORY)


def test_futures():
    of_pink_and_green = ["all_events", *PINK, "filter_collision", *GREEN, "filter_collision"]
    of_red_and_blue = ["all_events", *RED, "filter_collision", *BLUE, "filter_collision"]
    assert is_correct(of_pink_and_green, ["unseen_events"], STORY)
    assert not is_correct(of_red_and_blue, ["unseen_events"], STORY)
    assert is_correct(of_red_and_blue, [*PINK, "get_counterfact"], STORY)
    assert not is_correct(of_red_and_blue, [*RED, "get_counterfact"], STORY)
    leaves = ["all_events", *RED, "filter_out"]
    assert is_correct(leaves, [*BLUE, "get_counterfact"], STORY) and not is_correct(leaves, ["unseen_events"], STORY)
    with pytest.raises(Unanswerable, match="removal"):
        is_correct(leaves, [*GREEN, "get_counterfact"], STORY)


def test_objects_are_named_by_few_words():
    twin = STORY._replace(words=WORDS | {4: named("blue", "square", "rubber"), 5: WORDS[3], 6: named("red", "square")})
    assert told_apart(twin) == {
        0: ["color", "shape"],
        6: ["color", "shape"],
        2: ["color"],
        1: ["color", "shape", "material"],
        4: ["color", "shape", "material"],
    }


def test_events_are_compared_without_their_time():
    assert HIT.what == ("collision", (0, 1)) and EXIT._replace(env_step=99).what == EXIT.what


@pytest.mark.parametrize(
    "program", [["red", "query_shape"], ["all_events", "query_color"], ["objects", "filter_counterfact"]]
)
def test_a_program_that_takes_one_kind_for_another_has_no_answer(program):
    with pytest.raises(Unanswerable):
        answer(program, STORY)
