"""Cells are ranked by the mean of their validation values over seeds; test values are never looked at."""

import csv
import re
from io import StringIO

import pytest

from cjepa.errors import UserError
from cjepa.reporting.sweep import Cell, Target, ranked, score_table, target_of, to_csv, value_text, verdict
from cjepa.reporting.sweep_page import parallel_coordinates, sweep_page
from tests.reporting.drawn import assert_nothing_is_cut

ERROR = Target("rollout_error@5", highest=False)


def rows(value, metric="rollout_error@5", split="val"):
    return [{"metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1, "model": "m", "split": split}]


def cell(lr, *values, mask="none"):
    return Cell({"model.lr": lr, "model.mask": mask}, {seed: rows(value) for seed, value in enumerate(values)})


CELLS = [cell(0.001, 0.5, 0.7, 0.6), cell(0.01, 0.2, 0.3, 0.1), cell(0.1, 0.3, 0.1, 0.35, mask="a.b.Tube")]


def test_cells_are_ranked_by_the_mean_over_seeds():
    scores = ranked(CELLS, ERROR)
    assert [score.values["model.lr"] for score in scores] == [0.01, 0.1, 0.001]
    assert scores[0].interval.value == pytest.approx(0.2)
    assert scores[0].interval.low == pytest.approx(0.2 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)  # Student's t, 2 degrees
    assert [score.values["model.lr"] for score in ranked(CELLS, Target(ERROR.metric, True))] == [0.001, 0.1, 0.01]
    cells = score_table(scores, ERROR)
    assert cells[0] == ["lr", "mask", "rollout_error@5 (val) [95 %]", "seeds"]
    assert cells[1] == ["0.01", "none", "0.20 [-0.048, 0.45]", "3"] and cells[2][1] == "Tube"


def test_one_seed_has_the_interval_over_episodes_and_says_so():
    scores = ranked([cell(0.1, 0.5), cell(0.2, 0.55), cell(0.3, 0.9)], ERROR)
    assert scores[0].interval[:3] == pytest.approx((0.5, 0.4, 0.6))
    said = verdict(scores, ERROR)
    assert said[0].startswith("best: lr 0.1, mask none, by the lowest rollout_error@5 of validation episodes; test")
    assert said[1] == "not told apart from the best, at 95 %: 1 of 2 other cells" and said[2].startswith("one seed")


def test_test_values_and_missing_ones_do_not_count():
    cheat = Cell({"lr": 1}, {0: rows(0.0, split="test") + rows(0.9)})
    fair, missing = Cell({"lr": 2}, {0: rows(0.8), 1: []}), Cell({"lr": 3}, {})
    scores = ranked([cheat, fair, missing], ERROR)
    assert [(score.values["lr"], score.interval.value, score.seeds) for score in scores] == [
        (2, 0.8, [0]),
        (1, 0.9, [0]),
    ]


def test_what_cells_are_ranked_by():
    both = [Cell({"lr": 1}, {0: [*rows(1.0, "rollout_error@1"), *rows(2.0, "rollout_error@10"), *rows(3.0, "odd")]})]
    assert target_of(both, None, None) == ("rollout_error@10", False)
    assert target_of([Cell({}, {0: rows(0.5, "success") + rows(1.0)})], None, None) == ("success", True)
    assert target_of(both, "odd", "highest") == ("odd", True)
    with pytest.raises(UserError, match="--metric odd: give --best highest or lowest"):
        target_of(both, "odd", None)
    with pytest.raises(UserError, match="--metric x: no value in the validation results, which have rollout_error@1, "):
        target_of(both, "x", None)
    with pytest.raises(UserError, match="no default metric .* which have none"):
        target_of([Cell({}, {0: rows(0.5, split="test")})], None, None)


def test_values_that_differ_are_shown_differently():
    tube = {"class_path": "a.b.Tube", "init_args": {"share": 0.5, "of": {"class_path": "a.Part"}}}
    values = ["a.h5", "b.h5", "v1.5", "x/y.h5", "a.b.Tube", {"class_path": "a.b.Tube"}, tube, 0.5, None]
    shown = ["a.h5", "b.h5", "v1.5", "x/y.h5", "Tube", "Tube", "Tube(share=0.5, of=Part)", "0.5", "None"]
    assert list(map(value_text, values)) == shown


def test_csv_has_full_names_and_digits():
    (first, *_) = csv.DictReader(StringIO(to_csv(ranked(CELLS, ERROR), ERROR)))
    assert (first["model.lr"], first["model.mask"], first["seeds"]) == ("0.01", "none", "3")
    assert float(first["rollout_error@5"]) == pytest.approx(0.2, abs=1e-12)


def test_lines_meet_each_axis_at_their_values():
    figure = parallel_coordinates(ranked(CELLS, ERROR), ERROR)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "mask", "rollout_error@5 (val)"]
    lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]  # worst first
    assert lines[2] == pytest.approx([0.5, 0.0, 0.0])  # 0.01 is in the middle of a logarithmic axis
    assert lines[0] == pytest.approx([0.0, 0.0, 1.0]) and lines[1][:2] == pytest.approx([1.0, 1.0])
    assert_nothing_is_cut(figure)


def test_texts_of_an_axis_do_not_overlap():
    """0.00121 is drawn so near to 0.00108 that the texts would cover each other."""
    drawn = [cell(lr, error) for lr, error in ((0.00108, 0.9), (0.00121, 0.5), (0.0188, 0.5001))]
    texts = {text.get_text() for text in parallel_coordinates(ranked(drawn, ERROR), ERROR).axes[0].texts}
    assert {"0.00108", "0.0188", "0.5", "0.9"} <= texts and "0.00121" not in texts


def test_the_page_says_how_the_best_was_chosen_and_what_is_missing():
    text = sweep_page("lr", ranked(CELLS, ERROR), ERROR, "cjepa sweep x", ["1 of 9 runs have no value"])
    assert "test episodes were not used." in text and "1 of 9 runs have no value." in text and text.count("<svg") == 1
    assert not re.search(r"https?://", text)


def test_long_names_of_rows_go_on_after_an_underscore():
    """On a phone, where the first column is narrow; what a user writes stays text."""
    scores = ranked([cell("a_b<i>", 0.5)], ERROR)
    assert '<th scope="row">a_<wbr>b&lt;i&gt;</th>' in sweep_page("lr", scores, ERROR, "cjepa sweep x", [])
