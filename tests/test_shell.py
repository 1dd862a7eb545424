"""What a user copies from the output is read by a shell as the words that were meant."""

import re
import shlex
import sys
from pathlib import Path

import cjepa
from cjepa.cli import LIGHTNING_VERBS, VERBS, main
from cjepa.commands.options import next_fit
from cjepa.reporting.records import command_here, command_line
from cjepa.shell import as_typed


def test_words_come_back():
    words = ["cjepa", "fit", "--run_dir", "my päper/rün 1", "--over.lr", "[1e-3, 2e-2]", "--out", "it's"]
    assert shlex.split(as_typed(*words)) == words
    assert as_typed("cjepa", "test", Path("runs/a_1")) == "cjepa test runs/a_1"


def test_what_comes_next(tmp_path, capsys):
    folder = tmp_path / "my päper"
    assert main(["init", str(folder)]) == 0
    following = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(following)[:3] == ["next:", "cd", str(folder)]
    assert shlex.split(next_fit({"env_id": "cjepa/PushT-v0"}, "a.yaml", "b c.h5"))[-1] == "b c.h5"


def test_a_record_repeats_its_command(monkeypatch):
    words = ["sweep", "a.yaml", "--over.lr", "[1e-3, 2e-2]", "--options.path", "b c.h5"]
    monkeypatch.setattr(sys, "argv", ["cjepa", *words])
    assert shlex.split(command_line()) == ["cjepa", *words]


def test_records_leave_out_folders_elsewhere_and_pages_do_not(monkeypatch):
    words = ["sweep", str(Path("a.yaml").absolute()), "--root", "/elsewhere/runs"]
    monkeypatch.setattr(sys, "argv", ["cjepa", *words])
    assert shlex.split(command_line()) == ["cjepa", "sweep", "a.yaml", "--root", "runs"]
    assert shlex.split(command_here()) == ["cjepa", "sweep", "a.yaml", "--root", "/elsewhere/runs"]


def test_no_command_is_put_together_without_quotes():
    """A path between words of a command, as in ``f"cjepa report {folder}"``."""
    commands = "|".join([*VERBS, *LIGHTNING_VERBS])
    line = re.compile(rf"cjepa ({commands})( [^`\n{{]*)? \{{.*")
    sources = Path(cjepa.__file__).parent.rglob("*.py")
    assert [found[0] for path in sources for found in line.finditer(path.read_text())] == []
