"""Question files of CLEVRER, of `cjepa convert`, and what is refused."""

import json

import pytest

from cjepa.errors import UserError
from cjepa.questions.files import Choice, Question, read_questions

DESCRIPTIVE = {"question_id": 0, "question": "How many?", "question_type": "descriptive", "program": ["x"], "answer": 2}
CHOICES = [{"choice_id": 0, "choice": "a", "program": ["c"], "answer": "wrong"}]
CHOICES += [{"choice_id": 1, "choice": "b", "program": [], "answer": "correct"}]
PREDICTIVE = {"question_id": 3, "question": "What?", "question_type": "predictive", "program": [], "choices": CHOICES}
UNANSWERED = {"question_id": 4, "question": "How many?", "question_type": "descriptive"}
EXPECTED = [
    Question(7, 0, "descriptive", "How many?", ["x"], "2", ()),
    Question(7, 3, "predictive", "What?", [], None, (Choice("a", ["c"], False), Choice("b", [], True))),
]


def test_both_layouts_are_read(tmp_path):
    asked = [DESCRIPTIVE, PREDICTIVE, UNANSWERED]
    (tmp_path / "q.json").write_text(json.dumps([{"scene_index": 7, "questions": asked, "source": {"seen": 1}}]))
    (tmp_path / "q.jsonl").write_text(json.dumps({"episode": 7, "video": "video_10007", "questions": asked}) + "\n")
    found = read_questions(tmp_path / "q.json")
    assert found.questions == EXPECTED and found.source == {"seen": 1}
    found = read_questions(tmp_path / "q.jsonl")
    assert found.questions == EXPECTED and found.source == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scene_index": 0}, "expected a list of scenes"),
        ([{"scene_index": "0", "questions": []}], "entry 0: scene_index is '0', expected int"),
        ([{"scene_index": 0, "questions": [{}]}], "entry 0: not a CLEVRER question"),
        ([{"scene_index": 0, "questions": [DESCRIPTIVE | {"question_type": "x"}]}], "question_type is 'x'"),
        ([{"scene_index": 0, "questions": [UNANSWERED]}], "no questions with answers"),
        ([{"scene_index": 0, "questions": [DESCRIPTIVE | {"question": 3}]}], "entry 0: .* 3 is not text"),
        ([{"scene_index": 0, "questions": [DESCRIPTIVE | {"program": [{}]}]}], "entry 0: .* {} is not text"),
        ([{"scene_index": 0, "questions": [DESCRIPTIVE], "source": 5}], "entry 0: source is not a mapping"),
        ([{"scene_index": 0, "questions": [DESCRIPTIVE], "source": {"seen_env_steps": "9"}}], "expected int"),
    ],
)
def test_what_is_refused(content, message, tmp_path):
    (tmp_path / "q.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_questions(tmp_path / "q.json")


@pytest.mark.parametrize(("content", "what"), [(None, "no such file"), (b"\x89HDF", "not UTF-8 text")])
def test_another_file_in_its_place_is_told_where_question_files_come_from(content, what, tmp_path):
    if content is not None:
        (tmp_path / "q.json").write_bytes(content)
    with pytest.raises(UserError, match=f"q.json: {what}; `cjepa questions` makes question files"):
        read_questions(tmp_path / "q.json")
