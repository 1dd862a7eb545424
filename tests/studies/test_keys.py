"""A stage runs again when what it was made from changes: settings, configs, files, code; and only then."""

import json

import pytest

from tests.studies.toy import STAGES


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


def test_configs_with_keys_of_any_type(study):
    (study.home / "right.yaml").write_text("1: a\nb: {2024-01-01: c, 2: d}\n")
    assert study.run() == list(STAGES)
    (study.home / "right.yaml").write_text("'1': a\nb: {2024-01-01: c, 2: d}\n")
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


def test_a_part_of_a_config_is_looked_for_in_the_folder_of_its_file(my_code):
    """As the parser of commands does, whatever the current folder is."""
    (my_code.home / "parts" / "more").mkdir(parents=True)
    (my_code.home / "right.yaml").write_text("model: parts/outer.yaml\n")
    (my_code.home / "parts" / "outer.yaml").write_text("inner: more/inner.yaml\n")
    inner = my_code.home / "parts" / "more" / "inner.yaml"
    inner.write_text("class_path: my_model.Model\n")
    my_code.run()
    inner.write_text("class_path: my_model.Model\nseed: 1\n")
    assert my_code.run() == ["right", "both"]
    (my_code.home / "my_parts.py").write_text("scale = 2\n")
    assert my_code.run() == ["right", "both"]


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


def test_a_new_stage_leaves_the_others_alone(study):
    study.run()
    study.stages["more"] = {"command": "make", "positional": ["${left}"]}
    assert study.run() == ["more"]
