"""Tables show hand-computed text."""

import pytest

from cjepa.reporting.tables import by_model, results_table, seconds_text


def row(metric, value, model="a", **more):
    return {"metric": metric, "value": value, "model": model, "split": "test"} | more


ROWS = [
    row("success", 0.32, "cjepa-1", n=50, low=0.207, high=0.458, unit="rate", tokens=5, token_dim=52),
    row("seconds_per_plan", 0.4123, "cjepa-1"),
    row("rollout_error@1", 0.305, "cjepa-1", low=0.281, high=0.333),
    row("success", 0.06, "random", n=50, low=0.0206, high=0.1622, unit="rate"),
    row("fg_ari", 0.9134, "slots", split="val"),
    row("skipped_trivial_pairs", 7.0, "cjepa-1"),
]


def test_results_table_by_hand():
    assert results_table(ROWS) == [
        ["model", "tokens x dim", "success % [95 %]", "n", "s/plan", "error@1"],
        ["cjepa-1", "5 x 52 (260)", "32 [21, 46]", "50", "0.41", "0.30 [0.28, 0.33]"],
        ["random", "", "6 [2, 16]", "50", "", ""],
    ]


def test_no_rows_no_tables():
    assert results_table([]) == []
    assert results_table([row("fg_ari", 1.0)]) == []


def test_error_columns_follow_the_blocks_that_were_measured():
    rows = [row("rollout_error@10", 0.9), row("rollout_error@2", None, "b"), row("rollout_error@2", 0.5)]
    assert results_table(rows) == [["model", "error@2", "error@10"], ["a", "0.50", "0.90"], ["b", "", ""]]


def test_seeds_are_averaged_and_share_their_pairs():
    """A second seed on the same pairs makes the interval of a rate no narrower."""
    rows = [row("success", k / 10, n=10, seed=k, low=k / 20, high=k / 5, unit="rate") for k in (3, 5)]
    merged = by_model(rows, "success")["a"]
    assert [merged[k] for k in ("value", "low", "high", "n")] == pytest.approx([0.4, 0.2, 0.8, 20])
    more = row("success", 0.8, n=30, seed=9, low=0.7, high=0.9, unit="rate")  # counts as often as it has trials
    merged = by_model([rows[0], more], "success")["a"]
    assert [merged[k] for k in ("value", "low", "high", "n")] == pytest.approx([0.675, 0.5625, 0.825, 40])
    rows = [row("rollout_error@1", v, seed=v, low=v - 0.1, high=v + 0.1) for v in (0.2, 0.4)]
    merged = by_model(rows, "rollout_error@1")["a"]
    assert [merged[k] for k in ("value", "low", "high")] == pytest.approx([0.3, 0.1, 0.5])


def test_the_table_says_how_many_runs_a_model_has():
    """Where one has several; most of any of its values."""
    rows = [row("success", 0.5, seed=seed) for seed in (0, 1)] + [row("rollout_error@1", 0.5, "b")]
    assert results_table(rows)[0][:2] == ["model", "runs"]
    assert [cells[1] for cells in results_table(rows)[1:]] == ["2", "1"]


def test_rates_of_seeds_of_which_one_has_no_count_are_averaged_without_an_interval():
    rows = [row("success", 0.3, seed=0, unit="rate"), row("success", 0.5, n=10, seed=1, low=0, high=1, unit="rate")]
    merged = by_model(rows, "success")["a"]
    assert (merged["value"], merged["low"], merged["high"], merged["n"]) == (0.4, None, None, None)


def test_a_repeated_run_counts_once_and_the_test_split_goes_first():
    rows = [row("success", 0.1, run="r"), row("success", 0.9, run="r"), row("success", 0.5, split="val")]
    assert by_model(rows, "success")["a"]["value"] == 0.9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (0.098, "98 ms"), (0.854, "0.85 s"), (14.2, "14 s"), (59.9, "1 min 0 s"), (7500, "2 h 5 min")],
)
def test_seconds_text(seconds, text):
    assert seconds_text(seconds) == text
