"""A study of four stages whose commands are counted instead of run."""

import json
from pathlib import Path

import yaml

from cjepa.studies.selection import Selection
from cjepa.studies.study import preview_study, run_study
from tests.studies.fakes import FakeExecutor

STAGES = {
    "data": {"command": "make", "args": {"out": "${self}/data.txt", "size": 3}},
    "left": {"command": "make", "positional": ["${data}/data.txt"], "args": {"out": "${self}/left.txt"}},
    "right": {"command": "make", "positional": ["${data}/data.txt"], "configs": ["right.yaml"]},
    "both": {"command": "join", "args": {"a": "${left}", "b": "${right}", "options": {"deep": [1, 2]}}},
}


def say_nothing(line: str) -> None:
    """For lines that a test does not look at."""


class Study:
    """A study in a folder, whose commands are counted instead of run."""

    def __init__(self, home: Path):
        self.home = home
        self.path = home / "study.yaml"
        self.root = home / "runs"
        self.stages = json.loads(json.dumps(STAGES))
        self.executor = FakeExecutor(self.root / "toy")
        self.failing = self.executor.failing
        (home / "right.yaml").write_text("lr: 1\n")

    def run(self, jobs: int = 1, cores: int = 1, only: tuple[str, ...] = (), force: tuple[str, ...] = ()) -> list[str]:
        """Run it; the names of the stages that were not re-used."""
        self._write()
        self.executor.ran.clear()
        self.executor.cpus = cores
        self.said: list[str] = []
        selection = Selection(only, force)
        self.done = run_study(self.path, self.root, self.executor, self.said.append, jobs, selection)
        return self.new()

    def preview(self, *selection: tuple[str, ...]) -> list[list[str]]:
        """State, time and memory of its stages; nothing is written."""
        self._write()
        before = {path: path.stat().st_mtime_ns for path in self.home.rglob("*")}
        self.done = preview_study(self.path, self.root, self.executor, Selection(*selection))
        assert {path: path.stat().st_mtime_ns for path in self.home.rglob("*")} == before
        return self.done.table[1:]

    def _write(self) -> None:
        self.path.write_text(yaml.safe_dump({"name": "toy", "stages": self.stages}, sort_keys=False))

    def new(self) -> list[str]:
        return list(self.executor.ran)

    def folder(self, name: str) -> Path:
        return self.root / "toy" / name

    def record(self, name: str) -> dict:
        return json.loads((self.folder(name) / "stage.json").read_text())
