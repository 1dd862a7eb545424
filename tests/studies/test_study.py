"""Studies: what is run, what is kept, and what a failure leaves; no stage has a process of its own here."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from cjepa.errors import UserError
from cjepa.studies.definition import load_study
from cjepa.studies.stage_folders import StageFolder
from cjepa.studies.stages import last_line
from cjepa.studies.study import run_study
from tests.conftest import EXPERIMENTS
from tests.studies.fakes import FakeExecutor, InProcess

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

    def run(self, jobs: int = 1, cores: int = 1) -> list[str]:
        """Run it; the names of the stages that were not re-used."""
        self.path.write_text(yaml.safe_dump({"name": "toy", "stages": self.stages}, sort_keys=False))
        self.executor.ran.clear()
        self.said: list[str] = []
        self.done = run_study(self.path, self.root, self.executor, self.said.append, jobs, cores)
        return self.new()

    def new(self) -> list[str]:
        return list(self.executor.ran)

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
    data, left, right, both = study.executor.ran.values()
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
    assert [(stage["seconds"], stage["peak_memory_mb"]) for stage in stages] == [(1.5, 120)] * 4
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


def files_of(home: Path) -> dict[str, str]:
    """What a study made, without records that have times; the report shows them."""
    files = {str(path.relative_to(home)): path for path in home.rglob("*") if path.is_file()}
    timed = ("stage.json", "study.json", "report.html")
    return {name: "" if path.name in timed else path.read_text() for name, path in files.items()}


def test_side_by_side_leaves_what_one_by_one_leaves(study, tmp_path):
    """The same folders, files and rows; records say what ran at the same time."""
    study.run()
    alone = study.root / "toy"
    shutil.copytree(alone, tmp_path / "alone")
    shutil.rmtree(alone)
    assert study.run(jobs=2, cores=6) == list(STAGES)
    assert files_of(alone) == files_of(tmp_path / "alone")
    stages = json.loads((alone / "study.json").read_text())["stages"]
    assert [(stage["jobs"], stage["cores"], stage["beside"]) for stage in stages] == [
        (2, 6, []),
        (2, 3, ["right"]),
        (2, 3, ["left"]),
        (2, 6, []),
    ]
    assert study.run(jobs=2, cores=6) == []
    again = json.loads((alone / "study.json").read_text())["stages"]
    assert [stage | {"cached": False} for stage in again] == stages


def test_where_stages_show_their_progress(study):
    """Side by side: in files."""
    study.run(jobs=2)
    home = study.root / "toy"
    outputs = {"left": home / "left" / "output.txt", "right": home / "right" / "output.txt"}
    assert study.executor.outputs == {"data": None, **outputs, "both": None}


def test_what_an_interrupted_stage_has_shown_goes_when_it_runs_again(tmp_path):
    folder = StageFolder(tmp_path / "left", "toy", "a key")
    folder.begin()
    (folder.path / "output.txt").write_text("step 3")
    assert folder.begin() is None and not (folder.path / "output.txt").exists()


def test_the_last_line_of_a_stage(tmp_path):
    path = tmp_path / "output.txt"
    for content, line in ((b"", ""), (b"a\nb 3 %\n\n", "b 3 %"), (b"a\rb", "b"), (b"x" * 9000 + b"\n\xff\nend", "end")):
        path.write_bytes(content)
        assert last_line(path) == line


def test_several_failures_are_one_line(study):
    study.failing |= {"left": UserError("no luck"), "right": RuntimeError("out of memory")}
    with pytest.raises(UserError) as failure:
        study.run(jobs=2)
    log = study.folder("right") / "traceback.txt"
    assert str(failure.value) == (
        f"stage left failed: no luck; stage right failed: RuntimeError: out of memory; see {log}; "
        "not run, because they need it: both"
    )
    assert "[2/4] left: failed: no luck" in study.said
    study.failing.clear()
    assert study.run(jobs=2) == ["left", "right", "both"]


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
    ran = []
    for size in (3, 4, 3, 4):
        study.stages["data"]["args"]["size"] = size
        ran.append(study.run())
        assert (study.folder("data") / "made.txt").read_text().endswith(f"--size {size}")
    assert ran == [list(STAGES), list(STAGES), [], []]
    assert len(list((study.root / "toy").glob("data*"))) == 2


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


@pytest.mark.parametrize("error", [UserError("no luck"), RuntimeError("out of memory")])
def test_a_failure_names_its_stage_and_keeps_the_others(study, error):
    study.failing["right"] = error
    with pytest.raises(UserError, match=r"stage right failed: .*(luck|RuntimeError: out of memory)") as failure:
        study.run()
    assert study.new() == ["data", "left", "right"]
    log = study.folder("right") / "traceback.txt"
    assert log.exists() == isinstance(error, RuntimeError)
    if log.exists():
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
    assert (study.folder("left.unfinished") / "half").is_dir()
    assert str(study.folder("left.unfinished")) in " ".join(study.said)


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
    assert (study.folder("data.unfinished") / parts.name).is_dir()


@pytest.mark.parametrize("record", [None, "{", "[]", '{"key": 3}', '{"key": "KEY", "seconds": 3}'])
def test_what_a_study_did_not_make_is_kept(study, record):
    study.run()
    key = study.record("left")["key"]
    shutil.rmtree(study.folder("left"))
    study.folder("left").mkdir()
    (study.folder("left") / "thesis.txt").write_text("mine")
    if record is not None:
        (study.folder("left") / "stage.json").write_text(record.replace("KEY", key))
    assert study.run() == ["left"]
    assert (study.folder("left.set-aside") / "thesis.txt").read_text() == "mine"
    assert not (study.folder("left") / "thesis.txt").exists()


def test_a_finished_stage_of_another_study_is_not_this_ones(study):
    study.run()
    (study.root / "toy").rename(study.root / "other")
    (study.root / "toy").mkdir()
    (study.root / "other" / "left").rename(study.folder("left"))
    study.path.write_text(study.path.read_text().replace("other", "toy"))
    record = study.record("left") | {"study": "other"}
    (study.folder("left") / "stage.json").write_text(json.dumps(record))
    assert study.run() == list(STAGES)
    assert study.folder("left.set-aside").is_dir()


def test_a_file_in_the_place_of_a_stage_is_kept(study):
    study.root.joinpath("toy").mkdir(parents=True)
    study.folder("left").write_text("mine")
    study.run()
    assert study.folder("left.set-aside").read_text() == "mine"


def test_files_of_others_in_the_place_of_a_study_are_kept(study):
    home = study.root / "toy"
    home.mkdir(parents=True)
    names = ("study.json", "results.json", "report.html")
    for name in names:
        (home / name).write_text("mine")
    study.run()
    assert [(home / f"{name}.set-aside").read_text() for name in names] == ["mine"] * 3
    assert json.loads((home / "study.json").read_text())["name"] == "toy"
    assert sum("not made by this study" in line for line in study.said) == 3
    study.run()
    assert not any("not made by this study" in line for line in study.said)


def test_a_second_start_changes_nothing(study):
    """It comes while the first one is in the middle of a stage."""
    second = Study(study.home)
    messages = []

    class Meanwhile(FakeExecutor):
        def start(self, words, *place):
            if not messages:
                with pytest.raises(UserError) as refusal:
                    second.run()
                messages.append(str(refusal.value))
            return super().start(words, *place)

    study.executor = Meanwhile(study.root / "toy")
    assert study.run() == list(STAGES)
    assert f"study toy already runs, process {os.getpid()} on " in messages[0]
    assert second.new() == [] and study.run() == []


@pytest.mark.parametrize("content", ["{", "{}", "[3]"])
def test_results_of_the_wrong_shape(study, content):
    study.run()
    path = study.folder("left") / "results.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: .*not "):
        study.run()


def test_a_config_that_is_not_yaml_is_noticed_before_anything_runs(study):
    (study.home / "right.yaml").write_text("lr: [\n")
    with pytest.raises(UserError, match="right.yaml: not valid YAML"):
        study.run()
    assert study.new() == [] and not study.root.exists()


def test_configs_with_keys_of_any_type(study):
    (study.home / "right.yaml").write_text("1: a\nb: {2024-01-01: c, 2: d}\n")
    assert study.run() == list(STAGES)
    (study.home / "right.yaml").write_text("'1': a\nb: {2024-01-01: c, 2: d}\n")
    assert study.run() == ["right", "both"]


@pytest.mark.parametrize("wrong", ["--episods", "--episodes=many"])
def test_a_stage_with_a_wrong_call(wrong, tmp_path, capfd):
    """Errors of both parsers, ours and Lightning's, name the stage."""
    key, _, value = wrong.lstrip("-").partition("=")
    for command, configs in (("collect", "collect.yaml"), ("fit", "tokenizer.yaml")):
        path = tmp_path / "study.yaml"
        configs = [str(EXPERIMENTS / "pusht" / configs)]
        stage = {"command": command, "configs": configs, "args": {key: value or "3"}}
        path.write_text(yaml.safe_dump({"name": "wrong", "stages": {"bad": stage}}))
        with pytest.raises(UserError, match=f"stage bad failed: .*{key}") as failure:
            run_study(path, tmp_path / "runs", InProcess(), say_nothing)
        assert "\n" not in str(failure.value)
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [["verify", "study.yaml"], ["collect", "--print_config"], ["fit", "--help"]])
def test_a_stage_that_does_no_work_is_not_done(words, tmp_path, monkeypatch):
    """A check that finds a fault, and commands that end before their work: the study hears of no success."""
    monkeypatch.chdir(tmp_path)
    path = Path("study.yaml")
    path.write_text(yaml.safe_dump({"name": "idle", "stages": {"idle": {"command": words[0]}}}))

    class Idle(InProcess):
        def start(self, *_):
            return super().start(words)

    with pytest.raises((UserError, SystemExit)):
        run_study(path, Path("runs"), Idle(), say_nothing)
    assert "seconds" not in json.loads(Path("runs/idle/idle/stage.json").read_text())


@pytest.mark.slow
def test_the_smoke_study(smoke_study, tmp_path, monkeypatch):
    """What the whole pipeline left when it ran for real; then it is asked for again, twice."""
    shutil.copytree(smoke_study, tmp_path / "home", symlinks=True)
    monkeypatch.chdir(tmp_path / "home")
    path, root, home = Path("experiments/smoke/study.yaml"), Path("runs/studies"), Path("runs/studies/smoke")
    stages = load_study(path).stages
    records = {stage.name: (home / stage.name / "stage.json").stat().st_mtime_ns for stage in stages}
    check_results(json.loads((home / "results.json").read_text()))
    check_page((home / "report.html").read_text())
    done, again = (run_study(path, root, InProcess(), say_nothing) for _ in range(2))
    assert done.table is not None and len(done.table) > 4
    assert {name: (home / name / "stage.json").stat().st_mtime_ns for name in records} == records
    assert again.table == done.table
    for stage in json.loads((home / "study.json").read_text())["stages"]:
        assert stage["cached"] and stage["peak_memory_mb"] > 100


def check_results(rows: list[dict]) -> None:
    success = {row["model"]: row for row in rows if row["metric"] == "success"}
    assert set(success) == {"cjepa-1", "patch-4x4", "random", "simulator-cem"}
    for row in success.values():
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] == 2
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
