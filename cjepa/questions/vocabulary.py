"""Words and answers as numbers."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cjepa.questions.files import Question


class Vocabulary(NamedTuple):
    """What training questions are made of, each in alphabetical order."""

    words: list[str]
    answers: list[str]

    @classmethod
    def of(cls, questions: Sequence[Question]) -> "Vocabulary":
        """All words of questions and options, and all answers to descriptive questions."""
        texts = [text for question in questions for text in (question.text, *(one.text for one in question.choices))]
        answers = {question.answer for question in questions if question.answer is not None}
        return cls(sorted({word for text in texts for word in split(text)}), sorted(answers))

    def words_of(self, text: str) -> list[int]:
        """Counted from 1; unknown words are left out."""
        place = {word: number for number, word in enumerate(self.words, start=1)}
        return [place[word] for word in split(text) if word in place]

    def answer_of(self, question: Question) -> int:
        """Counted from 0; -1 for an answer that is unknown."""
        return self.answers.index(question.answer) if question.answer in self.answers else -1


def split(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())
