"""Studies: what is run, what is kept, and what a failure leaves; no stage has a process of its own here."""

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.studies.definition import load_study
from cjepa.studies.keys import MadeFrom
from cjepa.studies.selection import Selection
from cjepa.studies.stage_folders import StageFolder
from cjepa.studies.stages import last_line
from cjepa.studies.study import preview_study, run_study
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
        self.done = preview_study(self.path, self.root, Selection(*selection))
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


@pytest.fixture
def study_with_report(tmp_path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def study(study_with_report, monkeypatch) -> Study:
    """Its report is an empty page: to build one takes longer than everything else that is tested here."""

    def empty_page(folder: Path) -> Path:
        (folder / "report.html").touch()
        return folder / "report.html"

    monkeypatch.setattr("cjepa.studies.study.build_report", empty_page)
    return study_with_report


def test_the_command_lines(study):
    assert study.run() == ["data", "left", "right", "both"]
    home = study.root / "toy"
    data, left, right, both = study.executor.ran.values()
    assert data == ["make", "--out", f"{home}/data/data.txt", "--size", "3"]
    assert left == ["make", f"{home}/data/data.txt", "--out", f"{home}/left/left.txt"]
    assert right == ["make", f"{home}/data/data.txt", "-c", f"{study.home}/right.yaml"]
    assert both == ["join", "--a", f"{home}/left", "--b", f"{home}/right", "--options", '{"deep": [1, 2]}']


def test_what_a_study_leaves(study_with_report):
    study = study_with_report
    study.run()
    home = study.root / "toy"
    stages = json.loads((home / "study.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == list(STAGES)
    assert [stage["depends_on"] for stage in stages] == [[], ["data"], ["data"], ["left", "right"]]
    assert [(stage["seconds"], stage["peak_memory_mb"]) for stage in stages] == [(1.5, 120)] * 4
    assert [row["model"] for row in json.loads((home / "results.json").read_text())] == list(STAGES)
    assert all(name in (home / "report.html").read_text() for name in STAGES)
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
    study.run(jobs=2, cores=2)
    home = study.root / "toy"
    outputs = {"left": home / "left" / "output.txt", "right": home / "right" / "output.txt"}
    assert study.executor.outputs == {"data": None, **outputs, "both": None}


def test_what_an_interrupted_stage_has_shown_goes_when_it_runs_again(tmp_path):
    folder = StageFolder(tmp_path / "left", "toy", MadeFrom("settings", {}, {}, {}))
    folder.begin()
    (folder.path / "output.txt").write_text("step 3")
    assert folder.begin() is None and not (folder.path / "output.txt").exists()


def test_the_last_line_of_a_stage(tmp_path):
    path = tmp_path / "output.txt"
    assert last_line(path) == ""
    for content, line in ((b"", ""), (b"a\nb 3 %\n\n", "b 3 %"), (b"a\rb", "b"), (b"x" * 9000 + b"\n\xff\nend", "end")):
        path.write_bytes(content)
        assert last_line(path) == line


def test_failures_are_reported_after_the_results_of_the_others(study):
    study.failing |= {"left": UserError("no luck"), "right": RuntimeError("out of memory")}
    study.run(jobs=2)
    log, home = study.folder("right") / "traceback.txt", study.root / "toy"
    assert study.done.failed and study.done.lines == [
        "1 of 4 stages, 2 s of new work",
        f"results: {home / 'results.json'}",
        f"report: {home / 'report.html'}",
        "stage left failed: no luck",
        f"stage right failed: RuntimeError: out of memory; see {log}",
        "not run, because they read a stage that failed: both",
    ]
    assert [row["model"] for row in json.loads((home / "results.json").read_text())] == ["data"]
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


MY_CLASS = """
from my_parts import scale
class Model:
    factor = 2
"""


@pytest.fixture
def my_code(study, monkeypatch):
    """The config of one stage names a class of the user's own package."""
    monkeypatch.syspath_prepend(study.home)
    (study.home / "my_model.py").write_text(MY_CLASS)
    (study.home / "my_parts.py").write_text("scale = 1\n")
    (study.home / "right.yaml").write_text("model: {class_path: my_model.Model}\n")
    return study


@pytest.mark.parametrize(("file", "before", "after"), [("my_model", "2", "3"), ("my_parts", "1", "2")])
def test_changed_code_runs_what_uses_it(my_code, file, before, after):
    my_code.run()
    path = my_code.home / f"{file}.py"
    path.write_text(path.read_text().replace(before, after))
    assert my_code.run() == ["right", "both"]
    assert f"[3/4] right: runs again; changed: {file}" in my_code.said
    assert "[4/4] both: runs again; changed: right" in my_code.said


def test_a_comment_or_a_docstring_in_code_changes_nothing(my_code):
    my_code.run()
    (my_code.home / "my_model.py").write_text(f'"""Mine."""\n# to do{MY_CLASS}\n    """Doubles."""\n')
    assert my_code.run() == []


def test_code_that_changes_while_the_study_runs_counts_as_it_is_when_its_stage_starts(my_code):
    def edit(name: str) -> None:
        if name == "data":
            (my_code.home / "my_parts.py").write_text("scale = 2\n")

    my_code.executor.meanwhile = edit
    my_code.run()
    assert my_code.run() == []
    (my_code.home / "my_parts.py").write_text("scale = 1\n")
    assert my_code.run() == ["right", "both"]


def test_classes_in_a_yaml_that_a_value_names_are_code_of_the_stage(my_code):
    (my_code.home / "inner.yaml").write_text("class_path: my_model.Model\n")
    (my_code.home / "outer.yaml").write_text(f"model: {my_code.home / 'inner.yaml'}\n")
    my_code.stages["left"]["args"]["model"] = str(my_code.home / "outer.yaml")
    my_code.run()
    (my_code.home / "my_parts.py").write_text("scale = 2\n")
    assert my_code.run() == ["left", "right", "both"]
    (my_code.home / "inner.yaml").write_text("class_path: my_model.Model\nseed: 1\n")
    assert my_code.run() == ["left", "both"]


def test_resources_decide_when_a_stage_runs_and_not_what_it_makes(study):
    study.run()
    study.stages["left"]["resources"] = {"cpus": 1, "memory_gb": 0.5}
    assert study.run() == []
    study.stages["left"]["args"]["size"] = 4
    rows = study.preview()
    assert [row[-1] for row in rows] == ["", "1 CPU, 0.5 GB", "", ""] and rows[0][1] == "done"


def test_a_stage_that_no_machine_can_run_is_noticed_before_anything_runs(study):
    study.stages["right"]["resources"] = {"gpus": 1, "cpus": 1}
    with pytest.raises(UserError) as refused:
        study.run(cores=2)
    said = "stage right needs 1 CPU, 1 GPU, but this machine has 2 CPUs, 0 GPUs, 16 GB; lower its resources, or leave"
    assert str(refused.value).startswith(said) and not study.root.exists()
    assert study.run(only=("left",)) == ["data", "left"]


def test_where_nothing_is_done_the_results_of_earlier_stages_do_not_stay(study):
    study.run(only=("data",))
    study.failing["data"] = UserError("no luck")
    study.stages["data"]["args"]["size"] = 4
    study.run()
    home = study.root / "toy"
    assert not (home / "results.json").exists() and not (home / "report.html").exists()
    assert [row["model"] for row in json.loads((home / "results.json.replaced").read_text())] == ["data"]
    assert json.loads((home / "study.json").read_text())["stages"] == []
    assert sum("is of earlier stages; it is now" in line for line in study.said) == 2


def test_a_changed_input_from_outside_runs_what_reads_it(study):
    outside = study.home / "weights.bin"
    outside.write_bytes(b"1")
    study.stages["left"]["args"]["start"] = str(outside)
    study.run()
    outside.write_bytes(b"1")
    assert study.run() == []
    outside.write_bytes(b"2")
    assert study.run() == ["left", "both"]
    assert f"[2/4] left: runs again; changed: {outside}" in study.said


def test_stages_of_an_older_version_run_again_and_say_why(study):
    study.run()
    for name in STAGES:
        record = study.record(name)
        del record["made_from"]
        (study.folder(name) / "stage.json").write_text(json.dumps(record | {"key": "of a version"}))
    assert study.run() == list(STAGES)
    assert "[1/4] data: runs again; made by an older version, which did not record its code" in study.said


def test_only_some_stages_and_what_they_need(study):
    assert study.run(only=("ri*",)) == ["data", "right"]
    assert study.done.lines[0] == "2 of 4 stages, 2 s of new work" and not study.done.failed
    assert [row["model"] for row in json.loads((study.root / "toy" / "results.json").read_text())] == ["data", "right"]
    assert study.run(only=("left", "data")) == ["left"]
    assert study.done.lines[0] == "3 of 4 stages, 2 s of new work"
    assert study.run() == ["both"]


def test_forced_stages_run_again_with_what_reads_them(study):
    study.run()
    assert study.run(force=("right",)) == ["right", "both"]
    assert (study.folder("right.replaced") / "made.txt").is_file()
    assert study.run() == []


def test_what_reads_a_forced_stage_runs_later_if_it_is_not_chosen_or_a_kill_comes(study):
    study.run()
    study.failing["left"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study.run(only=("left",), force=("left",))
    study.failing.clear()
    assert study.run() == ["left", "both"]


def test_a_kill_while_forced_stages_are_renamed_leaves_no_reader_that_counts_as_done(study, monkeypatch):
    study.run()
    replace = StageFolder.replace

    def replace_one(folder: StageFolder) -> None:
        replace(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(StageFolder, "replace", replace_one)
    with pytest.raises(KeyboardInterrupt):
        study.run(force=("left",))
    assert "both" in study.run()


@pytest.mark.parametrize("wrong", [{"only": ("lft",)}, {"only": ("left",), "force": ("right",)}])
def test_a_selection_that_matches_nothing(study, wrong):
    with pytest.raises(UserError, match="no such stage; expected names or patterns of (data, )?left"):
        study.run(**wrong)
    assert not study.root.exists()


def test_a_preview_says_why_stages_run_and_what_they_took_before(study):
    assert study.preview(("right",)) == [[name, "to run (new)", "unknown", "unknown"] for name in ("data", "right")]
    study.failing["right"] = UserError("no luck")
    study.run()
    study.stages["left"]["args"]["size"] = 4
    assert study.preview() == [
        ["data", "done", "", ""],
        ["left", "to run (changed: its settings)", "1.5 s", "120 MB"],
        ["right", "to run (not finished)", "1.5 s", "120 MB"],
        ["both", "to run (new)", "unknown", "unknown"],
    ]
    assert study.done.lines == [
        "1 of 4 stages are done; the others take about 3 s one after another, and up to 120 MB; "
        "for 1, time and memory are unknown: no stage with such a command has run in this study"
    ]
    assert study.preview((), ("data",))[0] == ["data", "to run (--force)", "1.5 s", "120 MB"]


def test_the_options_of_the_command_line(study, capsys):
    study.preview()
    words = [str(study.path), "--root", str(study.root), "--dry_run", "--only", "le*", "right", "--force", "right"]
    assert main(["study", *words]) == 0
    shown = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert shown == [
        ["data", "to", "run", "(new)"],
        ["left", "to", "run", "(new)"],
        ["right", "to", "run", "(--force)"],
    ]


def test_a_new_stage_leaves_the_others_alone(study):
    study.run()
    study.stages["more"] = {"command": "make", "positional": ["${left}"]}
    assert study.run() == ["more"]


@pytest.mark.parametrize("error", [UserError("no luck"), RuntimeError("out of memory")])
def test_a_failure_names_its_stage_and_keeps_the_others(study, error):
    study.failing["right"] = error
    assert study.run() == ["data", "left", "right"] and study.done.failed
    failure = study.done.lines[-2]
    assert re.match(r"stage right failed: .*(luck|RuntimeError: out of memory)", failure)
    log = study.folder("right") / "traceback.txt"
    assert log.exists() == isinstance(error, RuntimeError)
    if log.exists():
        assert str(log) in failure and "Traceback" in log.read_text()
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
        done = run_study(path, tmp_path / "runs", InProcess(), say_nothing)
        assert done.failed and done.table is None
        assert re.fullmatch(f"stage bad failed: .*{key}.*", *done.lines)
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [["verify", "study.yaml"], ["collect", "--print_config"], ["fit", "--help"]])
def test_a_stage_that_does_no_work_is_not_done(words, tmp_path, monkeypatch):
    """A check that finds a fault, and commands that end before their work: the study hears of no success."""
    monkeypatch.chdir(tmp_path)
    path = Path("study.yaml")
    path.write_text(yaml.safe_dump({"name": "idle", "stages": {"idle": {"command": words[0]}}}))

    class Idle(InProcess):
        def start(self, _, *place):
            return super().start(words, *place)

    with suppress(SystemExit):
        assert run_study(path, Path("runs"), Idle(), say_nothing).failed
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
