"""Questions about a scene by hand, and what a guesser can learn from how options are chosen."""

import numpy as np

from cjepa.questions.executor import answer, is_correct
from cjepa.questions.templates import counterfactual, descriptive, explanatory, predictive
from tests.questions.stories import STORY


def test_descriptive_questions_and_answers():
    asked = {draft.question["question"]: draft.question for draft in descriptive(STORY, np.random.default_rng(0))}
    assert asked["How many collisions are there?"]["answer"] == "2"
    assert asked["How many discs are there?"]["answer"] == "2"
    assert asked["Does the blue object exit the scene?"]["answer"] == "yes"
    assert asked["What is the shape of the last object to collide with the blue object?"]["answer"] == "disc"
    assert asked["What is the color of the first object to enter the scene?"]["question_subtype"] == "query_color"
    for question in asked.values():
        assert answer(question["program"], STORY) == question["answer"]
        word = question["question_subtype"].partition("query_")[2]
        colors = ("red", "blue", "green", "pink")
        assert word != "color" or not set(colors) & set(question["question"].split())  # would rule out an answer


def check_options(question):
    correct = [choice["answer"] == "correct" for choice in question["choices"]]
    assert 2 * sum(correct) == len(correct) in (2, 4)
    for choice, expected in zip(question["choices"], correct, strict=True):
        assert is_correct(choice["program"], question["program"], STORY) == expected, choice


def test_explanatory():
    """Of the first collision no two options are of one kind."""
    (question,) = (draft.question for draft in explanatory(STORY, np.random.default_rng(0)))
    assert question["question"] == (
        "Which of the following is responsible for the collision between the blue object and the green object?"
    )
    check_options(question)
    said = {choice["choice"]: choice["answer"] for choice in question["choices"]}
    assert said == {"the presence of the red object": "correct", "the presence of the pink object": "wrong"}


def test_predictive():
    (draft,) = predictive(STORY, [0, 2, 3], np.random.default_rng(0))
    check_options(draft.question)
    texts = [choice["choice"] for choice in draft.question["choices"] if choice["answer"] == "correct"]
    assert texts == ["the green object and the pink object collide"]


def test_counterfactual_options_are_alike_in_what_happened():
    """Nothing is to be learned from the shown events alone: without red, of two exits of the past neither happens."""
    happened = {event.what for event in STORY.seen}
    story = STORY._replace(without=STORY.without | {2: [STORY.seen[1]]})
    drafts = list(counterfactual(story, 0, np.random.default_rng(0)))
    assert {draft.question["question"] for draft in drafts} == {"If the blue object is removed, what will happen?"}
    texts = {choice["choice"]: choice["answer"] for choice in drafts[0].question["choices"]}
    assert texts["the red object exits the scene"] == "correct" and ("exit", (0,)) not in happened
    assert len(texts) == 2 and set(texts.values()) == {"correct", "wrong"}
