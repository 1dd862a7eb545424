"""Some stages of a study only, stages that are forced, and what `--dry_run` says of them."""

import json

import pytest

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.studies.stage_folders import StageFolder


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
        "for 1, time and memory are unknown: no stage with such a command has run below this root"
    ]
    assert study.preview((), ("data",))[0] == ["data", "to run (--force)", "1.5 s", "120 MB"]


def test_a_new_study_is_estimated_by_other_studies(study):
    """A stage of the same name counts alone; what is no study is passed over."""
    commands = {name: stage["command"] for name, stage in study.stages.items()}
    for other, seconds in (("few", 10), ("many", 30)):
        stages = [{"name": "right", "command": commands["right"], "seconds": seconds, "peak_memory_mb": 50}]
        stages.append({"name": "x", "command": commands["data"], "seconds": 100, "peak_memory_mb": 5})
        (study.root / other).mkdir(parents=True)
        (study.root / other / "study.json").write_text(json.dumps({"name": other, "stages": stages}))
    (study.root / "none").mkdir()
    (study.root / "none" / "study.json").write_text("[]")
    shown = {row[0]: row[2:] for row in study.preview()}
    assert shown["right"] == ["20 s (as in few, many)", "50 MB"]
    assert shown["data"][0].endswith(" (as in few, many)")


def test_the_options_of_the_command_line(study, capsys, monkeypatch):
    monkeypatch.setattr("cjepa.commands.study.LocalProcesses", lambda: study.executor)
    study.preview()
    words = [str(study.path), "--root", str(study.root), "--dry_run", "--only", "le*", "right", "--force", "right"]
    assert main(["study", *words]) == 0
    shown = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert shown == [
        ["data", "to", "run", "(new)"],
        ["left", "to", "run", "(new)"],
        ["right", "to", "run", "(--force)"],
    ]


def test_names_with_commas_are_told_from_unknown_ones(study):
    with pytest.raises(UserError, match="^--only left,right: type spaces between names: --only left right$"):
        study.preview(["left,right"])


def test_resources_decide_when_a_stage_runs_and_not_what_it_makes(study):
    study.run()
    study.stages["left"]["resources"] = {"cpus": 1, "memory_gb": 0.5}
    assert study.run() == []
    study.stages["left"]["args"]["size"] = 4
    rows = study.preview()
    assert [row[-1] for row in rows] == ["", "1 CPU, 0.5 GB", "", ""] and rows[0][1] == "done"
