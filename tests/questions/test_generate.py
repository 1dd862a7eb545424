"""A question file of simulated episodes: balanced, true, and of no use to a reader of text."""

import json
import re
from collections import Counter, defaultdict

import pytest

from cjepa.cli import main
from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.questions.files import TYPES, read_questions
from cjepa.questions.scores import score
from cjepa.questions.text_only import TextOnly
from tests.conftest import QUESTION_CLOCKS

_NAME = re.compile(rf"the (\w+ )?({'|'.join(COLOUR_NAMES)}) (disc|square|triangle|object)\b")


def test_the_format_is_clevrers(question_path, collide_table):
    scenes = json.loads(question_path.read_text())
    assert len(scenes) <= len(collide_table)
    kinds = {question["question_type"]: question for scene in scenes for question in scene["questions"]}
    assert set(kinds) == set(TYPES)
    common = {"question_id", "question", "question_type", "question_subtype", "program"}
    assert set(kinds["descriptive"]) == common | {"answer"}
    for kind in TYPES[1:]:
        assert set(kinds[kind]) == common | {"choices"}
        assert set(kinds[kind]["choices"][0]) == {"choice_id", "choice", "program", "answer"}
    assert scenes[0]["video_filename"] == f"video_{scenes[0]['scene_index']:05d}.mp4"
    assert scenes[0]["source"]["episodes_fingerprint"] == collide_table.fingerprint


def test_answers_of_a_template_are_equally_frequent(question_path):
    counts = defaultdict(Counter)
    for question in read_questions(question_path).questions:
        if question.kind == "descriptive":
            counts[_NAME.sub("A", question.text)][question.answer] += 1
    assert len(counts) > 5
    assert all(len(set(answers.values())) == 1 and len(answers) > 1 for answers in counts.values()), counts


def test_text_alone_is_at_chance(question_path):
    """Learned from one half of the scenes, a guesser does no better than chance on the other."""
    questions = read_questions(question_path).questions
    answers = defaultdict(set)
    for question in questions:
        answers[_NAME.sub("A", question.text)].add(question.answer)
    chances = [1 / len(answers[_NAME.sub("A", one.text)]) for one in questions if one.kind == "descriptive"]
    even, odd = (TextOnly(half) for half in halves(questions))
    measured = score(questions, lambda question: (even if question.episode % 2 else odd)(question))
    found = {one.metric: one for one in measured}
    # balanced as a whole: an answer that is frequent in one half is rare in the other, so it may do worse
    assert found["question_accuracy@descriptive"].low < sum(chances) / len(chances)
    for kind in TYPES[1:]:
        assert found[f"option_accuracy@{kind}"].low < 0.5 < found[f"option_accuracy@{kind}"].high, kind


def test_the_guesser_would_notice(question_path):
    """Options that say which of them is correct, and a template with one answer in most questions."""
    told = []
    for question in read_questions(question_path).questions:
        options = (one._replace(text=f"{one.text} {'surely' if one.correct else ''}") for one in question.choices)
        told.append(question._replace(choices=tuple(options)))
    counted = [one for one in told if one.text == "How many objects enter the scene?"]
    told += [one._replace(answer="2") for one in counted for _ in range(4)]
    train, test = halves(told)
    found = {measured.metric: measured.value for measured in score(test, TextOnly(train))}
    assert all(found[f"option_accuracy@{kind}"] == 1 for kind in TYPES[1:])
    assert counted and all(TextOnly(train)(one) == "2" for one in counted)


def test_a_guesser_without_questions_to_learn_from_guesses_nothing(question_path):
    asked = {question.kind: question for question in read_questions(question_path).questions}
    guesser = TextOnly([])
    assert guesser(asked["descriptive"]) is None
    assert not any(guesser(asked["predictive"]))


def halves(questions):
    """Questions about even and about odd scenes."""
    return [[question for question in questions if question.episode % 2 == half] for half in (0, 1)]


def test_the_same_seed_gives_the_same_file(question_path, collide_table_path, tmp_path):
    words = [
        "questions",
        str(collide_table_path),
        "--out",
        str(tmp_path / "again.json"),
        "--workers=1",
        *QUESTION_CLOCKS,
    ]
    assert main(words) == 0
    assert (tmp_path / "again.json").read_text() == question_path.read_text()


@pytest.mark.parametrize(
    ("episodes", "more", "message"),
    [
        ("episodes_path", [], "episodes of cjepa/PushT-v0, expected cjepa/Collide-v0"),
        ("collide_table_path", ["--seen_env_steps=40"], "the shortest episode of"),
        ("collide_table_path", ["--removal_env_step=31"], "expected removal_env_step + 1 < seen_env_steps < 40"),
    ],
)
def test_wrong_calls(episodes, more, message, refused, request, tmp_path):
    path = request.getfixturevalue(episodes)
    assert message in refused("questions", path, "--out", tmp_path / "new.json", *more)
    assert not (tmp_path / "new.json").exists()


def test_a_name_of_another_layout_is_refused(refused, collide_table_path, tmp_path):
    assert "ends in .json" in refused("questions", collide_table_path, "--out", tmp_path / "new.jsonl")
    assert not (tmp_path / "new.jsonl").exists()


def test_an_existing_file_is_kept(refused, collide_table_path, tmp_path):
    (tmp_path / "old.json").write_text("mine")
    assert "already exists" in refused("questions", collide_table_path, "--out", tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "mine"
