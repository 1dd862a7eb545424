"""What lies in the place of a stage or of a study: left by a kill, of another study, or not ours at all."""

import json
import os
import shutil

import pytest

from cjepa.errors import UserError
from cjepa.studies.keys import MadeFrom
from cjepa.studies.stage_folders import StageFolder
from tests.studies.fakes import FakeExecutor
from tests.studies.toy import STAGES, Study


def test_what_an_interrupted_stage_has_shown_goes_when_it_runs_again(tmp_path):
    folder = StageFolder(tmp_path / "left", "toy", MadeFrom("settings", {}, {}, {}))
    folder.begin()
    (folder.path / "output.txt").write_text("step 3")
    assert folder.begin() is None and not (folder.path / "output.txt").exists()


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
