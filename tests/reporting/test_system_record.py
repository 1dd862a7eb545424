"""The record in words has every part, and nothing that is not there."""

from cjepa.files import write_json
from cjepa.reporting.report import build_report
from cjepa.reporting.system_record import in_words, system_record

RECORD = {
    "model": {"class": "WorldModel", "parameters": 810022, "checkpoint": "checkpoints/last.ckpt"},
    "objective": {"terms": {"future": 1.0}, "against_collapse": "fixed tokens", "mask": {"class": "Tube", "n": 1}},
    "data": {"path": "t.h5", "fingerprint": "aa", "episodes": {"train": 8, "test": 1}, "excluded_episodes": []},
    "evaluation": {"held_out": "by episode", "goal_state": None, "warm_start": False},
    "actions": {"planner": {"class": "CEM", "num_samples": 4}, "bounds": [[-1.0], [1.0]], "fallback": "none"},
    "uncertainty": [],
    "failures": ["2 of 9 trials"],
    "versions": {"cjepa": "0.6.0", "numpy": "2"},
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "command": "cjepa fit -c <a>",
    "finished": "2026-11-27T10:00:00",
    "seconds": 90.0,
}


def test_every_part_in_words():
    assert system_record(RECORD) == [
        ("Model identity", "WorldModel (parameters 810022, checkpoint checkpoints/last.ckpt)"),
        ("Objective", "terms (future 1.0), mask Tube (n 1)"),
        ("Collapse guard", "fixed tokens"),
        ("Data lineage", "t.h5, aa, episodes (train 8, test 1)"),
        ("Evaluation boundary", "held_out by episode, warm_start false"),
        ("Action stack", "planner CEM (num_samples 4), bounds ((-1.0), (1.0))"),
        ("Fallback", "none"),
        ("Uncertainty", "no signal"),
        ("Failures", "2 of 9 trials"),
        ("Change control", "0123456789ab with uncommitted changes, cjepa 0.6.0"),
        ("Audit trail", "2026-11-27T10:00:00, 1 min 30 s, cjepa fit -c <a>"),
    ]


def test_parts_that_are_missing_are_left_out():
    assert system_record({}) == []
    assert system_record({"command": "cjepa fit"}) == [("Uncertainty", "no signal"), ("Audit trail", "cjepa fit")]
    assert in_words({"class": "Mask"}) == "Mask" and in_words({"a": {}, "b": None}) == ""


def test_the_report_shows_the_record_and_no_digests_of_code(tmp_path):
    write_json(tmp_path / "run.json", RECORD | {"code": {"cjepa.types": "feedfacefeed"}})
    text = build_report(tmp_path).read_text()
    assert "<dt>Collapse guard</dt><dd>fixed tokens</dd>" in text and "cjepa fit -c &lt;a&gt;</dd>" in text
    assert "feedfacefeed" not in text
