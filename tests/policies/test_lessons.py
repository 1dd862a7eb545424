"""Files of lessons: what was written comes back, and what does not belong together is refused."""

import pytest
import torch

from cjepa.errors import UserError
from cjepa.policies.lessons import Lessons, StoredLessons, read_lessons, write_lessons


def some(start: int, count: int = 2, width: int = 3, tokenizer: str = "abc", identities=(5,)) -> StoredLessons:
    values = torch.arange(start, start + count, dtype=torch.float32)[:, None]
    tokens = values[:, None].expand(-1, 2, width)
    return StoredLessons(Lessons(tokens, values, tokens + 1, -values), tokenizer, list(identities))


def test_lessons_of_several_files_are_read_in_order(tmp_path):
    write_lessons(tmp_path / "one.pt", some(0, identities=(7, 5)))
    write_lessons(tmp_path / "two.pt", some(2, count=1, identities=(5, 9)))
    lessons, tokenizer, identities = read_lessons([tmp_path / "one.pt", str(tmp_path / "two.pt")])
    assert tokenizer == "abc" and identities == [5, 7, 9]
    assert lessons.actions_NA.tolist() == [[0], [-1], [-2]] and lessons.proprio_NP.tolist() == [[0], [1], [2]]
    torch.testing.assert_close(lessons.goal_NSD, lessons.tokens_NSD + 1)
    assert lessons.tokens_NSD.shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"tokenizer": "xyz"}, "two.pt: its lessons are of tokenizer xyz, those of .*one.pt of abc"),
        ({"width": 4}, r"two.pt: its lessons are of widths \[4, 1, 4, 1\], those of .*one.pt of \[3, 1, 3, 1\]"),
    ],
)
def test_lessons_that_do_not_fit_each_other_are_refused(tmp_path, other, said):
    write_lessons(tmp_path / "one.pt", some(0))
    write_lessons(tmp_path / "two.pt", some(0, **other))
    with pytest.raises(UserError, match=said):
        read_lessons([tmp_path / "one.pt", tmp_path / "two.pt"])


def test_what_is_no_file_of_lessons_is_refused(tmp_path):
    with pytest.raises(UserError, match="none.pt: no such file; make lessons with `cjepa plan"):
        read_lessons([tmp_path / "none.pt"])
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="other.pt: not a file of lessons"):
        read_lessons([tmp_path / "other.pt"])
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(UserError, match="text.pt: not a file of lessons"):
        read_lessons([tmp_path / "text.pt"])
