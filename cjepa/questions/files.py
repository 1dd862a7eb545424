"""Question files: CLEVRER's own, those of :mod:`cjepa.questions.generate`, and those of `cjepa convert`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.configuration.plain_values import check_mapping
from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.files import parse_json, read_text

_SOURCE = {"episodes_fingerprint": (str,), "removal_env_step": (int,), "seen_env_steps": (int,)}
TYPES = ("descriptive", "explanatory", "predictive", "counterfactual")


class Choice(NamedTuple):
    """An option of a question."""

    text: str
    program: list[str]
    correct: bool


class Question(NamedTuple):
    """A question about one episode."""

    episode: int
    number: int
    kind: str
    """One of ``TYPES``."""
    text: str
    program: list[str]
    answer: str | None
    """Of a descriptive question."""
    choices: tuple[Choice, ...]
    """Of the others."""


class QuestionFile(NamedTuple):
    """Questions, and what is known of the episodes that they are about."""

    path: Path
    questions: list[Question]
    source: dict[str, Any]
    """``episodes_fingerprint``, ``removal_env_step`` and ``seen_env_steps``; empty for CLEVRER's own files."""


def read_questions(path: Path) -> QuestionFile:
    """All questions of a file: ``*.jsonl`` of `cjepa convert`, or a JSON list whose scenes are episodes by index.

    Questions without answers, as those of CLEVRER's test videos, are left out.

    Raises:
        UserError: it is not such a file.
    """
    try:
        text = read_text(path)
    except UserError as error:
        raise UserError(f"{error}; `cjepa questions` makes question files") from None
    if path.suffix == ".jsonl":
        lines = [(f"{path}, line {number}", line) for number, line in enumerate(text.splitlines(), start=1)]
        scenes = [("episode", where, parse_json(where, line)) for where, line in lines]
    else:
        entries = parse_json(str(path), text)
        if not isinstance(entries, list):
            raise UserError(f"{path}: expected a list of scenes with their questions")
        scenes = [("scene_index", f"{path}, entry {number}", entry) for number, entry in enumerate(entries)]
    questions = [question for key, where, scene in scenes for question in _questions(key, where, scene)]
    if not questions:
        raise UserError(f"{path}: contains no questions with answers")
    source = check_mapping(f"{scenes[0][1]}: source", scenes[0][2].get("source", {}), _SOURCE)
    return QuestionFile(path, questions, source)


def check_source(questions: QuestionFile, file: Episodes) -> None:
    """Whether questions are about these episodes, as far as they say.

    Raises:
        UserError: they are not.
    """
    said, found = questions.source.get("episodes_fingerprint"), file.fingerprint
    if file.attributes.get("format") == "cjepa-tokens":
        found = file.attributes.get("episodes_fingerprint", found)
    if said not in (None, found):
        raise UserError(
            f"{questions.path} is about episodes {said}, but {file.path} has {found}; give the episodes that the "
            "questions were made of"
        )
    if (last := max(question.episode for question in questions.questions)) >= len(file):
        raise UserError(f"{questions.path} asks about episode {last}, but {file.path} has 0 to {len(file) - 1}")
    shortest = int(min(file.lengths))
    removal, seen = (questions.source.get(name) for name in ("removal_env_step", "seen_env_steps"))
    if removal is not None and seen is not None and not 0 < removal + 1 < seen < shortest:
        raise UserError(
            f"{questions.path}: removal_env_step is {removal}, seen_env_steps {seen}; expected removal + 1 < seen < "
            f"{shortest} env steps of an episode; make it again with `cjepa questions`"
        )


def _questions(key: str, where: str, scene: Any) -> Iterator[Question]:
    check_mapping(where, scene, {key: (int,), "questions": (list,)}, (key, "questions"))
    for entry in scene["questions"]:
        try:
            choices = tuple(
                Choice(_text(choice["choice"]), _program(choice), choice["answer"] == "correct")
                for choice in entry.get("choices", [])
                if "answer" in choice
            )
            kind, number, text = entry["question_type"], entry["question_id"], _text(entry["question"])
            program = _program(entry)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: not a CLEVRER question ({type(error).__name__}: {error})") from None
        if kind not in TYPES:
            raise UserError(f"{where}: question_type is {kind!r}, expected one of {list(TYPES)}")
        if choices or entry.get("answer") is not None:
            yield Question(scene[key], number, kind, text, program, _word(entry.get("answer")), choices)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{repr(value)[:60]} is not text")
    return value


def _program(entry: dict[str, Any]) -> list[str]:
    return [_text(word) for word in entry.get("program", [])]


def _word(answer: Any) -> str | None:
    return None if answer is None else str(answer)
