"""Records of the wrong shape are one line that names the file, for every verb that shows them."""

import pytest

from cjepa.errors import UserError
from cjepa.files import write_json
from cjepa.reporting.reading import read_rows, read_run, read_study

WRONG_STUDIES = {
    "[]": "the study is not a mapping",
    "3": "the study is not a mapping",
    "null": "the study is not a mapping",
    "{}": "stages is None, expected list",
    '{"stages": 3}': "stages is 3, expected list",
    '{"stages": [3]}': "stage 0 is not a mapping",
    '{"stages": [{}]}': "stage 0: name is None, expected str",
    '{"stages": [{"name": 3}]}': "stage 0: name is 3, expected str",
    '{"stages": [{"name": "a", "seconds": "x"}]}': "stage 0: seconds is 'x', expected int or float",
    '{"stages": [{"name": "a", "seconds": true}]}': "stage 0: seconds is True, expected int or float",
    '{"stages": [{"name": "a", "depends_on": [3]}]}': "stage 0: depends_on is not a list of names",
    '{"stages": [{"name": "../../etc"}]}': "not the name of a folder of the study",
    '{"stages": [{"name": "a", "folder": ".."}]}': "not the name of a folder of the study",
    '{"name": 3, "stages": []}': "name is 3, expected str",
    "{": "not valid JSON",
}
WRONG_ROWS = {
    "{}": "not a list of result rows",
    "3": "not a list of result rows",
    "[3]": "row 0 is not a mapping",
    "[{}]": "row 0: metric is None, expected str",
    '[{"metric": "success"}]': "row 0: model is None, expected str",
    '[{"metric": "success", "model": "a", "value": "x"}]': "row 0: value is 'x', expected int or float",
    '[{"metric": "success", "model": "a", "n": [1]}]': r"row 0: n is \[1\], expected int or float",
}
WRONG_RUNS = {"[]": "the record is not a mapping", '{"git": 3}': "git is 3, expected dict"}


@pytest.mark.parametrize(("text", "message"), WRONG_STUDIES.items())
def test_studies(text, message, tmp_path, refused):
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as mistake:
        read_study(path)
    assert str(path) in str(mistake.value)
    assert "study.json" in refused("report", tmp_path)
    assert "study.json" in refused("inspect", tmp_path)


@pytest.mark.parametrize(("text", "message"), WRONG_ROWS.items())
def test_rows(text, message, tmp_path, refused):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_rows(path)
    assert "results.json" in refused("report", tmp_path)


@pytest.mark.parametrize(("text", "message"), WRONG_RUNS.items())
def test_runs(text, message, tmp_path, refused):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_run(tmp_path / "run.json")
    assert "run.json" in refused("report", tmp_path)
    assert "run.json" in refused("inspect", tmp_path)


def test_what_is_of_the_right_shape(tmp_path):
    stage = {"name": "a", "seconds": 1.5, "peak_memory_mb": None, "cached": False, "depends_on": []}
    study = {"name": "x", "stages": [stage], "more": 3}
    assert read_study(write_json(tmp_path / "study.json", study)) == study
    rows = [{"metric": "success", "model": "a", "value": None, "n": 3, "seed": 0}]
    assert read_rows(write_json(tmp_path / "results.json", rows)) == rows
