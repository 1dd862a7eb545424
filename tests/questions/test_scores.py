"""Scores of readers whose answers are known."""

import pytest

from cjepa.questions.files import Choice, Question
from cjepa.questions.scores import score

OPTIONS = (Choice("a", [], True), Choice("b", [], False))
QUESTIONS = [
    Question(0, 0, "descriptive", "How many?", [], "2", ()),
    Question(1, 0, "descriptive", "How many?", [], "3", ()),
    Question(0, 1, "predictive", "What?", [], None, OPTIONS),
    Question(1, 1, "predictive", "What?", [], None, OPTIONS[::-1]),
]


def values(reader) -> dict[str, float]:
    return {measured.metric: measured.value for measured in score(QUESTIONS, reader)}


def test_a_question_is_right_if_all_of_its_options_are():
    found = values(lambda question: "2" if question.answer else (True, False))
    assert found == {
        "question_accuracy@descriptive": 0.5,
        "question_accuracy@predictive": 0.5,
        "option_accuracy@predictive": 0.5,
    }
    assert values(lambda question: (True, True))["option_accuracy@predictive"] == 0.5
    assert values(lambda question: (True, True))["question_accuracy@predictive"] == 0


def test_no_answer_takes_no_option():
    found = values(lambda question: None)
    assert found["option_accuracy@predictive"] == 0.5 and found["question_accuracy@descriptive"] == 0


def test_intervals_are_over_scenes():
    many = [question._replace(episode=question.episode) for question in QUESTIONS for _ in range(50)]
    (wide, *_) = score(many, lambda question: "2" if question.answer else (True, False))
    assert wide.n == 100 and wide.high - wide.low > 0.7  # two scenes, however many questions
    assert wide.value == pytest.approx(0.5)
