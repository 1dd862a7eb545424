"""`cjepa compare` shows one table, writes three files, and refuses in one line."""

from pathlib import Path

import pytest

from cjepa.cli import main
from cjepa.commands.compare import _default_folder
from cjepa.files import write_json


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("a", 0.5), ("b", 0.25)):
        row = {"metric": "rollout_error@1", "value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}
        write_json(tmp_path / "runs" / name / "results.json", [row | {"model": name, "split": "val", "unit": ""}])
    return tmp_path


def test_one_table_and_three_files(runs, capsys):
    assert main(["compare", "runs/a", "runs/b"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].split() == "b 0.25 [0.15, 0.35] 9 -0.25 [-0.39, -0.11] unpaired".split()
    folder = runs / "runs" / "comparisons" / "a-vs-b"
    assert shown[-3:] == [f"{folder.relative_to(runs)}/comparison.{end}" for end in ("html", "md", "csv")]
    assert "| b | 0.25 [0.15, 0.35] |" in (folder / "comparison.md").read_text()
    assert main(["compare", "runs/a", "runs/b", "--against", "b"]) == 0  # over its own files
    assert ",b,0.25,unpaired" not in (folder / "comparison.csv").read_text()
    assert "a,0.5,0.4,0.6,9,b,0.25," in (folder / "comparison.csv").read_text()


def test_results_that_are_out_of_date_are_named(runs, capsys):
    write_json(runs / "runs" / "b" / "run.json", {"code": {"cjepa.envs.base": "0"}, "command": "cjepa fit -c b.yaml"})
    assert main(["compare", "runs/a", "runs/b"]) == 0
    assert "out of date: runs/b: changed since: code of envs: cjepa.envs.base" in capsys.readouterr().out
    page = (runs / "runs" / "comparisons" / "a-vs-b" / "comparison.html").read_text()
    assert "<strong>runs/b</strong>" in page and "<code>cjepa fit -c b.yaml</code>" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/a"], "runs/a: one run alone; give two or more runs, or a study"),
        (["runs/a", "runs/c"], "runs/c: no such run or study folder"),
        (["runs/a", "runs/b", "--out", "mine"], "mine/comparison.csv exists and was not made by this command"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(runs, capsys, words, said):
    (runs / "mine").mkdir()
    (runs / "mine" / "comparison.csv").write_text("mine\n")
    before = sorted(runs.rglob("*"))
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err.strip().startswith(f"cjepa compare: error: {said}")
    assert sorted(runs.rglob("*")) == before and (runs / "mine" / "comparison.csv").read_text() == "mine\n"


def test_long_names_that_begin_alike_have_folders_of_their_own():
    one, two = ([Path(f"{letter * 80}-{number}") for letter in "ab"] for number in (1, 2))
    folders = [_default_folder(paths) for paths in (one, two)]
    assert folders[0] != folders[1] and folders[0] == _default_folder(one)
    assert all(len(folder.name) < 120 for folder in folders)
