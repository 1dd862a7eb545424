"""Studies: what is run, what is kept, and what a failure leaves; stages are faked, but for the smoke study."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

import cjepa.studies.study as study_module
from cjepa.cli import execute, main
from cjepa.command_result import CommandResult
from cjepa.errors import UserError
from cjepa.studies.study import load_study, run_study
from tests.conftest import EXPERIMENTS

STAGES = {
    "data": {"command": "make", "args": {"out": "${self}/data.txt", "size": 3}},
    "left": {"command": "make", "positional": ["${data}/data.txt"], "args": {"out": "${self}/left.txt"}},
    "right": {"command": "make", "positional": ["${data}/data.txt"], "configs": ["right.yaml"]},
    "both": {"command": "join", "args": {"a": "${left}", "b": "${right}", "options": {"deep": [1, 2]}}},
}


class Study:
    """A study in a folder, whose commands are counted instead of run."""

    def __init__(self, home: Path):
        self.home = home
        self.path = home / "study.yaml"
        self.root = home / "runs"
        self.stages = json.loads(json.dumps(STAGES))
        self.ran: list[list[str]] = []
        self.failing: dict[str, BaseException] = {}
        (home / "right.yaml").write_text("lr: 1\n")

    def run(self) -> list[str]:
        """Run it; the names of the stages that were not re-used."""
        self.path.write_text(yaml.safe_dump({"name": "toy", "stages": self.stages}, sort_keys=False))
        self.ran = []
        self.said: list[str] = []
        self.done = run_study(self.path, self.root, self.execute, self.said.append)
        return self.new()

    def new(self) -> list[str]:
        return [argv[-1] for argv in self.ran]

    def execute(self, argv: list[str]) -> CommandResult:
        # the stage is the one whose stage.json was just begun
        begun = [p.parent for p in (self.root / "toy").glob("*/stage.json") if "seconds" not in p.read_text()]
        (folder,) = begun
        self.ran.append([*argv, folder.name])
        (folder / "made.txt").write_text(" ".join(argv))
        if folder.name in self.failing:
            raise self.failing[folder.name]
        row = {"metric": "success", "model": folder.name, "value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "unit": "rate"}
        (folder / "results.json").write_text(json.dumps([row]))
        return CommandResult([])

    def folder(self, name: str) -> Path:
        return self.root / "toy" / name

    def record(self, name: str) -> dict:
        return json.loads((self.folder(name) / "stage.json").read_text())


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path)


def test_the_command_lines(study):
    assert study.run() == ["data", "left", "right", "both"]
    home = study.root / "toy"
    data, left, right, both = (argv[:-1] for argv in study.ran)
    assert data == ["make", "--out", f"{home}/data/data.txt", "--size", "3"]
    assert left == ["make", f"{home}/data/data.txt", "--out", f"{home}/left/left.txt"]
    assert right == ["make", f"{home}/data/data.txt", "-c", f"{study.home}/right.yaml"]
    assert both == ["join", "--a", f"{home}/left", "--b", f"{home}/right", "--options", '{"deep": [1, 2]}']


def test_what_a_study_leaves(study):
    study.run()
    home = study.root / "toy"
    stages = json.loads((home / "study.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == list(STAGES)
    assert [stage["depends_on"] for stage in stages] == [[], ["data"], ["data"], ["left", "right"]]
    assert [row["model"] for row in json.loads((home / "results.json").read_text())] == list(STAGES)
    assert (home / "report.html").is_file()
    assert str(home / "report.html") in " ".join(study.done.lines)


def test_a_second_run_does_nothing(study):
    study.run()
    before = {name: (study.folder(name) / "stage.json").stat().st_mtime_ns for name in STAGES}
    assert study.run() == []
    assert {name: (study.folder(name) / "stage.json").stat().st_mtime_ns for name in STAGES} == before
    stages = json.loads((study.root / "toy" / "study.json").read_text())["stages"]
    assert all(stage["cached"] for stage in stages)
    assert all("done before" in line for line in study.said)
    assert "0 s of new work" in study.done.lines[0]


def test_a_changed_argument_runs_what_depends_on_it(study):
    study.run()
    key = study.record("left")["key"]
    study.stages["left"]["args"]["size"] = 4
    assert study.run() == ["left", "both"]
    aside = study.folder(f"left.{key[:8]}")
    assert json.loads((aside / "stage.json").read_text())["key"] == key
    assert "--size" not in (aside / "made.txt").read_text()
    assert "--size 4" in (study.folder("left") / "made.txt").read_text()


def test_back_and_forth_between_two_configurations(study):
    for size in (3, 4, 3, 4):
        study.stages["data"]["args"]["size"] = size
        assert study.run() == ["data", "left", "right", "both"]
    assert len(list((study.root / "toy").glob("data*"))) == 3


def test_a_changed_config_runs_what_reads_it(study):
    study.run()
    (study.home / "right.yaml").write_text("# a comment changes nothing\nlr: 1\n")
    assert study.run() == []
    (study.home / "right.yaml").write_text("lr: 2\n")
    assert study.run() == ["right", "both"]


def test_a_new_stage_leaves_the_others_alone(study):
    study.run()
    study.stages["more"] = {"command": "make", "positional": ["${left}"]}
    assert study.run() == ["more"]


@pytest.mark.parametrize("error", [UserError("no\nluck"), RuntimeError("out of memory")])
def test_a_failure_names_its_stage_and_keeps_the_others(study, error):
    study.failing["right"] = error
    with pytest.raises(UserError, match=r"stage right failed: [\s\S]*(luck|RuntimeError: out of memory)") as failure:
        study.run()
    assert study.new() == ["data", "left", "right"]
    if isinstance(error, RuntimeError):
        log = study.folder("right") / "traceback.txt"
        assert str(log) in str(failure.value) and "Traceback" in log.read_text()
    study.failing.clear()
    assert study.run() == ["right", "both"]
    assert not (study.folder("right") / "traceback.txt").exists()


@pytest.mark.parametrize("kill", [KeyboardInterrupt(), SystemExit(137)])
def test_a_kill_runs_the_stage_again(study, kill):
    study.failing["left"] = kill
    with pytest.raises(type(kill)):
        study.run()
    assert "seconds" not in study.record("left")
    (study.folder("left") / "half").mkdir()
    study.failing.clear()
    assert study.run() == ["left", "right", "both"]
    assert not (study.folder("left") / "half").exists()


def test_finished_parts_of_a_killed_collection_stay(study):
    study.failing["data"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study.run()
    part = study.folder("data") / "data.h5.parts" / "0.h5"
    part.parent.mkdir()
    part.write_text("finished")
    study.failing.clear()
    study.run()
    assert part.read_text() == "finished"


def test_what_a_kill_left_of_another_configuration_goes(study):
    study.failing["data"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study.run()
    parts = study.folder("data") / "data.h5.parts"
    parts.mkdir()
    study.failing.clear()
    study.stages["data"]["args"]["size"] = 4
    study.run()
    assert not parts.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages: {a: {comand: fit}}", "stage a: unknown key 'comand'"),
        ("stages: {a: {args: {}}}", "stage a: the key 'command' is missing"),
        ("stages: {a: 3}", "stage a is not a mapping"),
        ("stages: 3", "stages is not a mapping"),
        ("stage: {}", "unknown key 'stage'"),
        ("description: nothing else", "'stages' is missing"),
        ("stages: {a: {command: fit, configs: [nowhere.yaml]}}", "stage a: no such config .*nowhere.yaml"),
        ("stages: {a: {command: fit, args: {path: '${b}/x'}}}", r"stage a refers to \$\{b\}"),
        ("stages: {a: {command: fit, args: {p: '${b}'}}, b: {command: fit}}", r"\$\{b\}, which is not a stage above"),
        ("stages: {a: [}", "not valid YAML"),
    ],
)
def test_mistakes_in_a_study(change, message, tmp_path, capsys):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: wrong\n{change}\n")
    with pytest.raises(UserError, match=message):
        load_study(path)
    assert main(["study", str(path), "--root", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(path) in err
    assert not (tmp_path / "runs").exists()


def test_a_config_that_is_not_yaml(study):
    (study.home / "right.yaml").write_text("lr: [\n")
    with pytest.raises(UserError, match="right.yaml: not valid YAML"):
        study.run()


@pytest.mark.parametrize("wrong", ["--episods", "--episodes=many"])
def test_a_stage_with_a_wrong_call(wrong, tmp_path, capfd):
    """Errors of both parsers, ours and Lightning's, name the stage."""
    key, _, value = wrong.lstrip("-").partition("=")
    for command, configs in (("collect", "collect.yaml"), ("fit", "tokenizer.yaml")):
        path = tmp_path / "study.yaml"
        configs = [str(EXPERIMENTS / "pusht" / configs)]
        stage = {"command": command, "configs": configs, "args": {key: value or "3"}}
        path.write_text(yaml.safe_dump({"name": "wrong", "stages": {"bad": stage}}))
        capfd.readouterr()
        assert main(["study", str(path), "--root", str(tmp_path / "runs")]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and "stage bad failed: " in err and key in err


def test_an_interrupted_study_is_130(study, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module, "_run_stage", interrupted)
    study.path.write_text(yaml.safe_dump({"name": "toy", "stages": STAGES}, sort_keys=False))
    assert main(["study", str(study.path), "--root", str(study.root)]) == 130
    assert "goes on from here" in capsys.readouterr().err


@pytest.mark.slow
def test_the_smoke_study(tmp_path, monkeypatch):
    """The whole pipeline for real, twice; then one argument is changed."""
    monkeypatch.chdir(tmp_path)
    os.symlink(EXPERIMENTS, tmp_path / "experiments")
    path, root, home = Path("experiments/smoke/study.yaml"), Path("root"), Path("root/smoke")
    done = run_study(path, root, execute, lambda line: None)
    stages = load_study(path).stages
    records = {stage.name: (home / stage.name / "stage.json").stat().st_mtime_ns for stage in stages}
    check_results(json.loads((home / "results.json").read_text()))
    check_page((home / "report.html").read_text())
    assert done.table is not None and len(done.table) > 4
    again = run_study(path, root, execute, lambda line: None)
    assert {name: (home / name / "stage.json").stat().st_mtime_ns for name in records} == records
    assert again.table == done.table
    for stage in json.loads((home / "study.json").read_text())["stages"]:
        assert stage["cached"] and stage["peak_memory_mb"] > 100


def check_results(rows: list[dict]) -> None:
    success = {row["model"]: row for row in rows if row["metric"] == "success"}
    assert set(success) == {"cjepa-1", "patch-4x4", "random", "simulator-cem"}
    for row in success.values():
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] == 4
    errors = [row for row in rows if row["metric"] in ("rollout_error@1", "rollout_error@5")]
    assert {row["model"] for row in errors} == {"cjepa-1", "patch-4x4"} and len(errors) == 4
    timed = {row["model"]: row for row in rows if row["metric"] == "seconds_per_plan"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in (*timed.values(), *errors))
    assert timed["patch-4x4"]["tokens"] == 16 and timed["cjepa-1"]["tokens"] < 16
    assert {row["metric"] for row in rows} >= {"fg_ari", "mean_iou", "skipped_trivial_pairs"}


def check_page(page: str) -> None:
    assert re.findall(r"(?:src|href)=[\"']?(?!data:|#)([^\s\"'>]+)", page) == []
    assert "data:video/mp4;base64," in page and "data:image/png;base64," in page
    assert all(name in page for name in ("cjepa-1", "patch-4x4", "random", "simulator-cem"))
