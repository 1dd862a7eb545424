"""Files are whole or absent, whatever happens while they are written."""

import math
import os
import re

import numpy as np
import pytest

from cjepa import files
from cjepa.errors import UserError
from tests.processes import ended


def test_json_round_trip_turns_what_json_cannot_hold_into_plain_values(tmp_path):
    path = tmp_path / "deep" / "a.json"
    value = {
        "nan": math.nan,
        "inf": [-math.inf],
        "numpy": np.float32(0.5),
        "rows": np.arange(3),
        "path": path,
        "t": (1,),
    }
    files.write_json(path, value)
    assert files.read_json(path) == {
        "nan": None,
        "inf": [None],
        "numpy": 0.5,
        "rows": [0, 1, 2],
        "path": str(path),
        "t": [1],
    }
    assert path.read_text().startswith('{\n  "nan": null')


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as partial:
        assert partial.suffix == ".json"
        partial.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [None, "{", b"\xff\xfe", "[" * 100_000, "9" * 5_000])
def test_unreadable_json_is_one_clear_line(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_told_without_a_number(tmp_path):
    with pytest.raises(UserError, match=r"not readable \(Is a directory\)$"):
        files.read_text(tmp_path)


def test_what_is_written_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut must not leave a name without its content."""
    happened = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: happened.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda old, new: happened.append(str(new)) or replace(old, new))
    path = files.write_text(tmp_path / "a.txt", "hello")
    partial = str(tmp_path / f".a.{os.getpid()}.partial.txt")
    assert happened == [partial, str(path), str(tmp_path)] and path.read_text() == "hello"


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / f".a.{ended()}.partial.json").write_text("half")
    (tmp_path / f".a.{os.getppid()}.partial.json").write_text("another process is writing it")
    (tmp_path / ".a.mine.partial.json").write_text("of the user")
    files.write_json(tmp_path / "a.json", 1)
    assert {p.name for p in tmp_path.iterdir()} == {
        "a.json",
        f".a.{os.getppid()}.partial.json",
        ".a.mine.partial.json",
    }


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_folder_is_made_where_a_link_leads(exists, tmp_path):
    target, link = tmp_path / "elsewhere", tmp_path / "link"
    if exists:
        target.mkdir()
    link.symlink_to(target)
    with files.new_folder(link, "--out") as made:
        (made / "a").write_text("b")
    assert link.is_symlink() and (target / "a").read_text() == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "link"]


@pytest.mark.parametrize("within", [".", "experiments", "a/b"])
def test_a_new_folder_is_not_made_where_a_file_is(within, tmp_path):
    (tmp_path / "mine.txt").write_text("of the user")
    said = re.escape(f"{tmp_path / 'mine.txt'} is a file, expected a folder; choose another --out")
    with pytest.raises(UserError, match=f"^{said}$"), files.new_folder(tmp_path / "mine.txt" / within, "--out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_new_folder_removes_what_a_killed_process_left(tmp_path):
    names = [
        f".new.v2.{ended()}.partial",
        f".new.v2.{os.getppid()}.partial",
        ".new.v2.mine.partial",
        ".new.1.partial",
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("a")
    with files.new_folder(tmp_path / "new.v2", "--out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "new.v2"])


def test_a_folder_is_as_it_was_before(tmp_path):
    kept, made = tmp_path / "kept", tmp_path / "new" / "deep"
    kept.mkdir()
    (kept / "notes.txt").write_text("of the user")
    before = [files.FolderBefore.of(folder) for folder in (kept, made)]
    for folder in (kept / "checkpoints", made / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / "last.ckpt").write_text("new")
    (kept / ".lock").touch()
    for folder in before:
        folder.restore()
    assert files.names_in(tmp_path) == {"kept"} and files.names_in(kept) == {"notes.txt"}
