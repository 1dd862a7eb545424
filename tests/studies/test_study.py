"""Studies: what is run, and what a failure leaves; no stage has a process of its own here."""

import json
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from cjepa.errors import UserError
from cjepa.studies.definition import load_study
from cjepa.studies.stages import last_line
from cjepa.studies.study import run_study
from tests.conftest import EXPERIMENTS
from tests.studies.fakes import InProcess
from tests.studies.toy import STAGES, say_nothing


def test_the_command_lines(study):
    assert study.run() == ["data", "left", "right", "both"]
    home = study.root / "toy"
    data, left, right, both = study.executor.ran.values()
    assert data == ["make", "--out", f"{home}/data/data.txt", "--size", "3"]
    assert left == ["make", f"{home}/data/data.txt", "--out", f"{home}/left/left.txt"]
    assert right == ["make", f"{home}/data/data.txt", "-c", f"{study.home}/right.yaml"]
    assert both == ["join", "--a", f"{home}/left", "--b", f"{home}/right", "--options", '{"deep": [1, 2]}']


def test_what_a_study_leaves(study_with_report, monkeypatch):
    study = study_with_report
    monkeypatch.chdir(study.home)
    study.run()
    home = study.root / "toy"
    said = json.loads((home / "study.json").read_text())
    stages = said["stages"]
    assert said["typed"] == "cjepa study study.yaml --root runs"
    assert [stage["name"] for stage in stages] == list(STAGES)
    assert [stage["depends_on"] for stage in stages] == [[], ["data"], ["data"], ["left", "right"]]
    typed = [f"cjepa {shlex.join(words)}".replace(f"{study.home}/", "") for words in study.executor.ran.values()]
    assert [stage["typed"] for stage in stages] == typed
    assert [(stage["seconds"], stage["peak_memory_mb"]) for stage in stages] == [(1.5, 120)] * 4
    assert [row["model"] for row in json.loads((home / "results.json").read_text())] == list(STAGES)
    assert all(name in (home / "report.html").read_text() for name in STAGES)
    assert str(home / "report.html") in " ".join(study.done.lines)


def test_what_is_to_be_typed_again_names_folders_elsewhere(study, monkeypatch):
    (study.home / "elsewhere").mkdir()
    monkeypatch.chdir(study.home / "elsewhere")
    study.run()
    said = json.loads((study.root / "toy" / "study.json").read_text())
    assert said["typed"] == shlex.join(["cjepa", "study", str(study.path), "--root", str(study.root)])
    assert [stage["typed"] for stage in said["stages"]] == [
        f"cjepa {shlex.join(words)}" for words in study.executor.ran.values()
    ]


def test_a_second_run_does_nothing(study):
    study.run()
    before = {name: (study.folder(name) / "stage.json").stat().st_mtime_ns for name in STAGES}
    assert study.run() == []
    assert {name: (study.folder(name) / "stage.json").stat().st_mtime_ns for name in STAGES} == before
    stages = json.loads((study.root / "toy" / "study.json").read_text())["stages"]
    assert all(stage["cached"] for stage in stages)
    assert all("done before" in line for line in study.said)
    assert "0 s of new work" in study.done.lines[0]


def test_a_wrong_option_is_refused_before_anything_runs(study):
    study.executor.faults = {"make": "--sise: no such option"}
    for run in (study.preview, study.run):
        with pytest.raises(UserError, match="^stages data, left, right: --sise: no such option$"):
            run()
    assert not study.executor.ran and not study.root.exists()
    study.executor.faults = {"join": f"{study.folder('left')}: no such file"}  # it is yet to be made
    assert study.run() == list(STAGES)
    study.executor.faults = {"make": "of stages that are done"}
    assert study.run() == []


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


def test_the_last_line_of_a_stage(tmp_path):
    path = tmp_path / "output.txt"
    assert last_line(path) == ""
    for content, line in ((b"", ""), (b"a\nb 3 %\n\n", "b 3 %"), (b"a\rb", "b"), (b"x" * 9000 + b"\n\xff\nend", "end")):
        path.write_bytes(content)
        assert last_line(path) == line


def missing(home: Path) -> list[str]:
    return [stage["name"] for stage in json.loads((home / "study.json").read_text())["missing"]]


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
    assert missing(home) == ["left", "right", "both"]
    assert "[2/4] left: failed: no luck" in study.said
    study.failing.clear()
    assert study.run(jobs=2) == ["left", "right", "both"]
    assert missing(home) == []


def test_a_stage_that_no_machine_can_run_is_noticed_before_anything_runs(study):
    study.stages["right"]["resources"] = {"gpus": 1, "cpus": 1}
    with pytest.raises(UserError) as refused:
        study.run(cores=2)
    said = "stage right needs 1 CPU, 1 GPU, but this machine has 2 CPUs, 0 GPUs, 16 GB; lower its resources, or leave"
    assert str(refused.value).startswith(said) and not study.root.exists()
    assert study.run(only=("left",)) == ["data", "left"]


def test_a_preview_refuses_what_a_run_would_refuse(study):
    study.stages["right"]["resources"] = {"gpus": 1000}
    with pytest.raises(UserError, match="stage right needs 1000 GPUs, but this machine has"):
        study.preview()
    assert len(study.preview(("left",))) == 2


@pytest.mark.parametrize(("holds_cpus", "beside"), [(True, ["right"]), (False, [])])
def test_a_timed_stage_shares_a_machine_only_where_cpus_are_held(study, holds_cpus, beside):
    study.stages = {
        "left": {"command": "bench", "resources": {"cpus": 1}},
        "right": {"command": "make", "resources": {"cpus": 1}},
    }
    study.executor.holds_cpus = holds_cpus
    assert set(study.run(jobs=2, cores=2)) == {"left", "right"}
    assert study.record("left")["beside"] == beside


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


def test_what_was_deleted_of_a_finished_stage_is_told_by_the_stage_that_reads_it(study):
    study.stages["left"]["positional"] = ["${data}/made.txt"]
    study.run()
    (study.folder("data") / "made.txt").unlink()
    assert study.run() == []  # nothing has to read it
    study.stages["left"]["args"]["size"] = 4
    study.failing["left"] = UserError("no such file")
    assert study.run() == ["left"] and study.done.failed
    folder = study.folder("data")
    mend = f"{folder / 'made.txt'} is gone: delete {folder} too, and the study makes it again"
    assert study.done.lines[-2] == f"stage left failed: no such file; {mend}"
    shutil.rmtree(folder)
    study.failing.clear()
    assert study.run() == ["data", "left", "both"]


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
    """What the whole pipeline left when it ran for real; then it is asked for again."""
    shutil.copytree(smoke_study, tmp_path / "home", symlinks=True)
    monkeypatch.chdir(tmp_path / "home")
    path, root, home = Path("experiments/smoke/study.yaml"), Path("runs/studies"), Path("runs/studies/smoke")
    stages = load_study(path).stages
    records = {stage.name: (home / stage.name / "stage.json").stat().st_mtime_ns for stage in stages}
    check_results(json.loads((home / "results.json").read_text()))
    check_page((home / "report.html").read_text())
    before = (home / "results.json").read_bytes()
    done = run_study(path, root, InProcess(), say_nothing)
    assert done.table is not None and len(done.table) > 4
    assert {name: (home / name / "stage.json").stat().st_mtime_ns for name in records} == records
    assert (home / "results.json").read_bytes() == before
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
