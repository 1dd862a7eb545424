"""What can be answered from the words of questions and options alone: the row that every reader has to beat."""

from collections.abc import Iterable, Sequence

import numpy as np

from cjepa.questions.files import Question
from cjepa.questions.scores import Given

_RIDGE = 10.0
"""Penalty, in questions: words that stand in fewer count for little."""


class TextOnly:
    """A bag of words: ridge regression from the words of a question, and of an option, to the answer.

    Args:
        questions: with answers, to learn from.
    """

    def __init__(self, questions: Sequence[Question]):
        open_ended = [question for question in questions if question.answer is not None]
        options = [(question, number) for question in questions for number in range(len(question.choices))]
        self._answers = sorted({question.answer for question in open_ended})
        truth_NA = np.array([[question.answer == word for word in self._answers] for question in open_ended])
        self._answer = _Bag([_words(question, None) for question in open_ended], truth_NA)
        correct_N1 = np.array([[question.choices[number].correct] for question, number in options])
        self._option = _Bag([_words(*option) for option in options], correct_N1)

    def __call__(self, question: Question) -> Given:
        """The likeliest answer; None where there was none to learn from."""
        if question.answer is not None:
            if not self._answers:
                return None
            return self._answers[int(self._answer.score(_words(question, None)).argmax())]
        scores = [self._option.score(_words(question, number))[0] for number in range(len(question.choices))]
        return tuple(score > 0.5 for score in scores)


class _Bag:
    """Ridge regression on which words there are; the mean of the answers is not penalised."""

    def __init__(self, texts: Sequence[set[str]], truth_NA: np.ndarray):
        self._index = {word: place for place, word in enumerate(sorted(set().union(*texts)))}
        inputs_NW = np.stack([self._inputs(text) for text in texts]) if texts else np.zeros((0, 0))
        self._mean_A = truth_NA.mean(axis=0) if len(texts) else np.zeros(1)
        penalised = inputs_NW.T @ inputs_NW + _RIDGE * np.eye(len(self._index))
        self._weight_WA = np.linalg.solve(penalised, inputs_NW.T @ (truth_NA - self._mean_A)) if len(texts) else None

    def score(self, text: Iterable[str]) -> np.ndarray:
        """How likely each answer is, ``(A,)``."""
        return self._mean_A if self._weight_WA is None else self._mean_A + self._inputs(text) @ self._weight_WA

    def _inputs(self, text: Iterable[str]) -> np.ndarray:
        values_W = np.zeros(len(self._index))
        values_W[[self._index[word] for word in text if word in self._index]] = 1.0
        return values_W


def _words(question: Question, option: int | None) -> set[str]:
    """Words with where they stand; of an option also which of its words, and how many, stand in the question too."""
    asked = question.text.lower().rstrip("?").split()
    if option is None:
        return {*asked, " ".join(word for word in asked[:4])}
    offered = question.choices[option].text.lower().split()
    shared = set(asked) & set(offered)
    return {
        *(f"{question.kind} asks {word}" for word in asked),
        *(f"{question.kind} offers {word}" for word in offered),
        *(f"{question.kind} repeats {word}" for word in shared),
        f"{question.kind} repeats {len(shared)}",
        f"{question.kind} {len(question.choices)} options",
    }
