"""A result is out of date when its data, its model or its code has changed, and only then."""

import json
import shutil
from importlib import import_module

import pytest

from cjepa.files import file_digest, write_json
from cjepa.reporting import code_record
from cjepa.reporting.report import build_report
from cjepa.reporting.staleness import stale

ROW = {"metric": "success", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "unit": "rate", "model": "a"}


@pytest.fixture
def record(tmp_path, episodes_path):
    from cjepa.data.store.shards import open_episodes

    data, checkpoint = tmp_path / "episodes.h5", tmp_path / "last.ckpt"
    shutil.copy(episodes_path, data)
    checkpoint.write_bytes(b"weights")
    return {
        "model": {"checkpoint": str(checkpoint), "checkpoint_digest": file_digest(checkpoint)},
        "data": {"path": str(data), "fingerprint": open_episodes(data).fingerprint},
        "code": code_record.loaded_code(),
        "command": "cjepa plan runs/a",
    }


def test_nothing_changed_and_nothing_known_are_not_out_of_date(record):
    assert record["code"] and stale("a", record) is None and stale("a", {}) is None
    gone = {"path": "nowhere.h5", "fingerprint": "aa"}
    assert stale("a", record | {"data": gone, "model": {"checkpoint": "no.ckpt", "checkpoint_digest": "aa"}}) is None


def test_every_change_is_named(record, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"other weights")
    code = record["code"] | {"cjepa.envs.base": "0" * 12, "cjepa.envs.gone": "1" * 12, "os": "2" * 12}
    found = stale("a", record | {"data": record["data"] | {"fingerprint": "0"}, "code": code})
    assert found.reasons == [
        f"data {tmp_path}/episodes.h5",
        f"model {tmp_path}/last.ckpt (with its tokenizer)",
        "code of envs: cjepa.envs.base, cjepa.envs.gone",
    ]
    assert found.command == "cjepa plan runs/a"


def test_comments_and_docstrings_are_not_code(tmp_path):
    file = tmp_path / "one.py"
    digests = []
    for text in ('"""Said."""\nx = 1\n', "# other\nx = 1\n", "x = 2\n"):
        file.write_text(text)
        digests.append(code_record.code_digest(file, len(digests)))
    assert digests[0] == digests[1] != digests[2]


def test_the_code_that_is_recorded_decides_numbers():
    import_module("cjepa.questions.scores")
    names = code_record.loaded_code()
    assert {"cjepa.evaluation.intervals", "cjepa.questions.scores"} <= names.keys()
    assert not any(name.startswith("cjepa.reporting") for name in names)


def test_code_that_was_edited_while_it_ran_counts_as_changed(monkeypatch):
    monkeypatch.setattr(code_record, "_BEGUN_NS", 0)
    names = code_record.loaded_code()
    assert set(names.values()) == {"edited while it ran"} and code_record.changed_code(names) == list(names)


def test_the_report_marks_what_is_out_of_date(record, tmp_path):
    run = tmp_path / "run"
    write_json(run / "results.json", [ROW, ROW | {"model": "b"}])
    write_json(run / "run.json", record)
    assert "out of date" not in build_report(run).read_text().lower()
    write_json(run / "run.json", record | {"code": {"cjepa.envs.base": "0"}})
    text = build_report(run).read_text()
    assert "changed since it was measured: code of envs: cjepa.envs.base." in text
    assert "<code>cjepa plan runs/a</code>" in text and text.count("<small>out of date</small>") == 2


def test_the_report_says_what_each_claim_stands_on(tmp_path):
    write_json(tmp_path / "run" / "results.json", [ROW, ROW | {"metric": "rollout_error@1"}])
    text = build_report(tmp_path / "run").read_text()
    assert '<span class="rung">closed-loop planning</span>' in text and '<span class="rung">prediction</span>' in text
    assert "<dt>closed-loop planning</dt><dd>success of a</dd>" in text
    assert (
        "<dt>under shift</dt><dd>not measured</dd>" in text and "<dt>representation</dt><dd>not measured</dd>" in text
    )


def test_records_of_runs_have_the_code(tmp_path):
    from cjepa.reporting.records import write_run_record

    empty = {name: {} for name in ("model", "objective", "data", "evaluation", "actions")}
    written = json.loads(write_run_record(tmp_path, uncertainty=[], seconds=1.0, **empty).read_text())
    assert written["code"] == code_record.loaded_code()


def test_a_file_that_is_no_code_has_a_digest_too(tmp_path):
    file, digests = tmp_path / "one.py", []
    for content in (b"x = (", b"x = 1\0"):
        file.write_bytes(content)
        digests.append(code_record.code_digest(file, len(digests)))
    assert digests[0] != digests[1] and all(len(digest) == 12 for digest in digests)
