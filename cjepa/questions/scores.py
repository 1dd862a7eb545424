"""How many answers are right, by type of question, per option and per question, with intervals over scenes."""

from collections.abc import Callable, Iterable

import numpy as np

from cjepa.evaluation.intervals import wilson_of_clusters
from cjepa.evaluation.measurements import Measurement
from cjepa.questions.files import TYPES, Question

Given = str | tuple[bool, ...] | None
"""A reader's answer: a word, or which options it takes for correct; None if it has none."""
Reader = Callable[[Question], Given]


def score(questions: Iterable[Question], reader: Reader) -> list[Measurement]:
    """See :func:`scores_of`."""
    return scores_of((question, reader(question)) for question in questions)


def scores_of(answered: Iterable[tuple[Question, Given]]) -> list[Measurement]:
    """``question_accuracy@TYPE``, and ``option_accuracy@TYPE`` of types with options.

    A question with options is right if all of them are (Yi et al., 2020).
    """
    options: dict[str, list[tuple[int, bool]]] = {kind: [] for kind in TYPES}
    whole: dict[str, list[tuple[int, bool]]] = {kind: [] for kind in TYPES}
    for question, given in answered:
        right = rights(question, given)
        options[question.kind] += [(question.episode, value) for value in right if question.choices]
        whole[question.kind].append((question.episode, all(right)))
    named = [(f"{of}_accuracy@{kind}", found) for kind in TYPES for of, found in _of(whole[kind], options[kind])]
    return [Measurement.of(name, wilson_of_clusters(*_columns(found))) for name, found in named if found]


def rights(question: Question, given: Given) -> list[bool]:
    """Which answers are right: one per option, or a single one."""
    if question.answer is not None:
        return [given == question.answer]
    taken = given if isinstance(given, tuple) else (False,) * len(question.choices)
    return [one == choice.correct for one, choice in zip(taken, question.choices, strict=True)]


def _of(whole: list, options: list) -> list[tuple[str, list]]:
    return [("question", whole), ("option", options)]


def _columns(found: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    episode_N, right_N = (np.array(values) for values in zip(*found, strict=True))
    return right_N, episode_N
