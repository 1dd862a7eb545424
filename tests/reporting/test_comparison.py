"""Differences stand beside the values that they are of, to the model that was asked for, with what they are over."""

import csv
import itertools
import re
from io import StringIO
from pathlib import Path

import pytest

from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval
from cjepa.files import write_json
from cjepa.reporting.comparison import compare, table, to_csv, to_markdown
from cjepa.reporting.comparison_figures import difference_figure
from cjepa.reporting.comparison_page import comparison_page
from cjepa.reporting.contestants import read_sources
from tests.reporting.drawn import assert_nothing_is_cut

TRIALS = "model,pair,episode,start_row,success,env_steps_to_success,final_error_position,plans,fallbacks\n"
METRICS = "epoch,step,train/loss,val/loss\n0,9,0.5,0.6\n0,19,0.25,0.3\n"
RECORD = {"data": {"fingerprint": "aa"}, "evaluation": {"seed": 0, "goal_env_steps": 25}}


def row(metric, value, model, **more):
    return {"metric": metric, "value": value, "model": model, "split": "test"} | more


def error(value, model, **more):
    return row("rollout_error@1", value, model, low=value - 0.1, high=value + 0.1, n=100, unit="of copying", **more)


def make_run(folder, model, value, successes):
    """A training with its rollout error, and the plans of four pairs."""
    write_json(folder / "results.json", [error(value, model, split="val")])
    write_json(folder / "run.json", {"model": {"class": "WorldModel"}})
    (folder / "metrics.csv").write_text(METRICS)
    rate = sum(successes) / len(successes)
    planned = row("success", rate, model, n=len(successes), low=rate / 2, high=(1 + rate) / 2, unit="rate")
    write_json(folder / "plan" / "results.json", [planned])
    write_json(folder / "plan" / "run.json", RECORD)
    lines = [f"{model},{i},{i},{10 * i},{int(one)},,0.5,1,0\n" for i, one in enumerate(successes)]
    (folder / "plan" / "trials.csv").write_text(TRIALS + "".join(lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    a = make_run(tmp_path / "a", "a", 0.5, [True, False, False, False])
    return [a, make_run(tmp_path / "b", "b", 0.25, [True, True, True, False, True])]


def test_values_stand_beside_their_differences_to_the_first_run(runs):
    found = compare(read_sources(runs))
    cells = table(found.entries, found.reference)
    assert cells[0] == ["metric", "model", "value [95 %]", "n", "minus a [95 %]", "over"]
    assert cells[1] == ["rollout_error@1 (val)", "a", "0.50 [0.40, 0.60]", "100", "", ""]
    assert cells[2][1:] == ["b", "0.25 [0.15, 0.35]", "100", "-0.25 [-0.39, -0.11]", "unpaired"]
    assert cells[3][:2] == ["success (test)", "a"]
    assert cells[4][1:4:2] == ["b", "5"] and cells[4][4].startswith("+0.50 [") and cells[4][5] == "4 pairs"


def test_the_reference_may_be_another_model_or_run(runs):
    for against in ("b", str(runs[1]), f"{runs[1]}/", f"{runs[1].parent}/./b"):
        found = compare(read_sources(runs), against)
        assert found.reference == "b"
        assert [round(e.difference.interval.value, 6) for e in found.entries if e.difference] == [0.25, -0.5]
    with pytest.raises(UserError, match="--against c: not one of the models that are compared: a, b"):
        compare(read_sources(runs), "c")
    rows = [error(0.1, model, split="val") for model in ("b", "other")]
    write_json(runs[1] / "results.json", rows)
    with pytest.raises(UserError, match="it has several models; give one of b, other"):
        compare(read_sources(runs), str(runs[1]))


def test_other_tasks_are_compared_unpaired_and_said_so(runs):
    write_json(runs[1] / "plan" / "run.json", RECORD | {"evaluation": {"seed": 0, "goal_env_steps": 50}})
    *_, last = compare(read_sources(runs)).entries
    assert last.difference.over == "unpaired: other goal_env_steps" and not last.difference.is_paired


def test_csv_has_every_digit_and_markdown_every_cell(runs):
    found = compare(read_sources(runs))
    lines = list(csv.DictReader(StringIO(to_csv(found))))
    assert [line["model"] for line in lines] == ["a", "b", "a", "b"] and lines[0]["against"] == ""
    assert float(lines[1]["difference"]) == -0.25 and lines[1]["over"] == "unpaired" and lines[3]["difference_n"] == "4"
    assert float(lines[1]["difference_low"]) == pytest.approx(-0.25 - 0.1 * 2**0.5)
    text = to_markdown([["a|b", "c"], ["", "1"]])
    assert text == "| a\\|b | c |\n| --- | --- |\n| – | 1 |\n"


def test_validation_and_test_values_are_never_compared(tmp_path):
    for name, split in (("a", "val"), ("b", "test")):
        write_json(tmp_path / name / "results.json", [error(0.5, name, split=split)])
    with pytest.raises(UserError, match=r"no metric in common: .*a \(rollout_error@1 of val\) and .*of test\)"):
        compare(read_sources([tmp_path / "a", tmp_path / "b"]))


def test_a_run_of_another_kind_is_refused(runs, tmp_path):
    write_json(tmp_path / "slots" / "results.json", [row("fg_ari", 0.9, "slots")])
    with pytest.raises(UserError, match=r"slots \(fg_ari of test\): no metric in common"):
        compare(read_sources([*runs, tmp_path / "slots"]))


def test_models_of_one_name_carry_their_folders(tmp_path):
    folders = [make_run(tmp_path / name / "cjepa", "cjepa", 0.5, [True, False]) for name in ("old", "new")]
    sources = read_sources(folders)
    found = compare(sources)
    assert [entry.row["model"] for entry in found.entries] == ["old/cjepa", "new/cjepa"] * 2
    assert found.entries[-1].difference.over == "2 pairs"
    assert [run.name for source in sources for run in source.curves] == ["old/cjepa", "new/cjepa"]


def test_models_of_a_study_are_compared_and_its_other_stages_left_out(runs, tmp_path):
    stages = [{"name": name, "folder": name} for name in ("a", "b", "slots", "missing")]
    write_json(tmp_path / "study.json", {"name": "s", "stages": stages})
    write_json(tmp_path / "slots" / "results.json", [row("fg_ari", 0.9, "slots")])
    found = compare(read_sources([tmp_path]))
    assert [(entry.metric, entry.row["model"]) for entry in found.entries] == [
        ("rollout_error@1", "a"),
        ("rollout_error@1", "b"),
    ]


def test_distances_of_goals_are_not_mixed(tmp_path):
    for name, value in (("a", 0.5), ("b", 1.0)):
        plan = tmp_path / name / "plan"
        rows = [row("success", value, name, goal_env_steps=25), row("success", 0.0, name, goal_env_steps=50)]
        write_json(plan / "results.json", rows)
        write_json(plan / "study.json", {"stages": [{"name": "goal-25"}, {"name": "goal-50"}]})
        write_json(plan / "goal-25" / "run.json", RECORD)
        write_json(plan / "goal-25" / "results.json", [row("success", value, name)])
        lines = [f"{name},0,1,10,1,,0.5,1,0\n", f"{name},1,2,20,{int(value)},,0.5,1,0\n"]
        (plan / "goal-25" / "trials.csv").write_text(TRIALS + "".join(lines))
    found = {entry.row["model"]: entry for entry in compare(read_sources([tmp_path / "a", tmp_path / "b"])).entries}
    assert list(found) == ["a, goal +25", "a, goal +50", "b, goal +25", "b, goal +50"]
    assert found["b, goal +25"].difference.over == "2 pairs"
    assert found["b, goal +25"].difference.interval.value == 0.5


def test_distances_to_goal_pictures_are_main_where_nobody_measures_success(tmp_path):
    for name, value in (("a", 0.5), ("b", 0.25)):
        measured = ("seconds_per_env_step", 0.1), ("seconds_per_plan", 0.5), ("final_goal_distance", value)
        write_json(tmp_path / name / "results.json", [row(metric, one, name) for metric, one in measured])
    found = compare(read_sources([tmp_path / "a", tmp_path / "b"]))
    assert [(entry.metric, entry.row["model"], entry.row["value"]) for entry in found.main][2:] == [
        ("final_goal_distance", "a", 0.5),
        ("final_goal_distance", "b", 0.25),
    ]
    assert len(found.main) == 4 and found.main[3].difference.interval.value == -0.25


def test_several_planner_seeds_are_one_value_with_their_own_interval(tmp_path):
    """Two seeds of two pairs: three of four trials succeed, and on the pairs 1 and 0.5 of the trials."""
    a = make_run(tmp_path / "a", "a", 0.5, [True, False])
    together = row("success", 0.75, "b", low=0.1, high=0.95, n=4, unit="rate")
    write_json(tmp_path / "b" / "results.json", [together])
    write_json(tmp_path / "b" / "study.json", {"stages": [{"name": "seed-0"}, {"name": "seed-1"}]})
    for seed, (first, second) in enumerate([(1, 0), (1, 1)]):
        part = tmp_path / "b" / f"seed-{seed}"
        record = RECORD | {"evaluation": RECORD["evaluation"] | {"planner_seed": seed}, "code": {"cjepa.gone": "0"}}
        write_json(part / "run.json", record)
        write_json(part / "results.json", [row("success", (first + second) / 2, "b", seed=seed, n=2, unit="rate")])
        (part / "trials.csv").write_text(f"{TRIALS}b,0,0,0,{first},,0.5,1,0\nb,1,1,10,{second},,0.5,1,0\n")
    sources = read_sources([a, tmp_path / "b"])
    (*_, last) = compare(sources).entries
    assert (last.row["low"], last.row["high"], last.row["n"]) == (0.1, 0.95, 4)
    assert last.difference.over == "2 pairs" and last.difference.interval.value == pytest.approx((0 + 0.5) / 2)
    assert [Path(old.name).name for old in sources[1].outdated] == ["seed-0", "seed-1"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "results.json").write_text("{"), "not valid JSON"),
        (lambda run: (run / "plan" / "trials.csv").write_text(TRIALS + "b,0,0,0,x,,0.5,1,0\n"), "success is 'x'"),
        (lambda run: [path.unlink() for path in run.rglob("results.json")], "no results.json; finish it first"),
    ],
)
def test_a_damaged_or_empty_run_is_named(runs, break_it, message):
    break_it(runs[1])
    with pytest.raises(UserError, match=message) as refused:
        compare(read_sources(runs))
    assert str(runs[1]) in str(refused.value) and "\n" not in str(refused.value)


def test_a_run_given_twice_and_a_missing_one(runs, tmp_path):
    with pytest.raises(UserError, match="given twice"):
        read_sources([runs[0], runs[0] / ".." / "a"])
    with pytest.raises(UserError, match="nowhere: no such run or study folder"):
        read_sources([runs[0], tmp_path / "nowhere"])


def test_the_title_counts_models_of_the_main_metrics(runs):
    """Beside them are other ways to read one model, such as those of an influence graph."""
    read = [row("influence_shd", 0.5, name) for name in ("a", "a: masked", "distance")]
    write_json(runs[0] / "intervene" / "results.json", read)
    sources = read_sources(runs)
    assert "<h1>2 models compared</h1>" in comparison_page(compare(sources), sources, "cjepa compare a b")


def test_the_page_holds_tables_curves_and_no_address(runs):
    sources = read_sources(runs)
    text = comparison_page(compare(sources), sources, "cjepa compare a b")
    assert "<h1>2 models compared</h1>" in text and "4 pairs" in text and ">minus a [95 %]<" in text
    assert "rollout_error@1 (val): b is below a." in text and "success (test): b is not told apart from a." in text
    assert "<h3>a, b</h3>" in text and text.count("<svg") == 4  # differences, success, errors, curves over each other
    assert not re.search(r"https?://", text)


def test_the_page_says_what_runs_were_asked_what_they_stand_on_and_how_to_repeat_them(runs):
    for run, depth in zip(runs, (2, 3), strict=True):
        (run / "config.yaml").write_text(f"model: {{depth: {depth}, lr: 0.1}}\nrun_dir: {run}\n")
    write_json(runs[1] / "run.json", {"model": {"class": "WorldModel"}, "command": "cjepa fit -c b.yaml"})
    sources = read_sources(runs)
    text = comparison_page(compare(sources), sources, "cjepa compare a b")
    assert (
        "<h3>b</h3>\n<pre>  a\n- model.depth: 2\n+ model.depth: 3</pre>" in text
        and "lr" not in text.split("records")[0]
    )
    assert "<dt>closed-loop planning</dt><dd>success of 2 models</dd>" in text
    assert (
        '<p class="lead">cjepa compare a b</p>' in text and "<dt>Audit trail</dt><dd>cjepa fit -c b.yaml</dd>" in text
    )
    assert [f"<summary>{run}{part}</summary>" in text for run in runs for part in ("", "/plan")] == [True] * 4


def test_differences_are_points_with_their_intervals(runs):
    found = compare(read_sources(runs))
    figure = difference_figure(found.entries, "a", {"b": "#0072b2"})
    errors, success = figure.axes
    (point,), (paired,) = errors.containers, success.containers
    assert point.lines[0].get_xdata()[0] == -0.25 and point.lines[0].get_markerfacecolor() == "white"
    low, high = point.lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((-0.25 - 0.1 * 2**0.5, -0.25 + 0.1 * 2**0.5))
    assert paired.lines[0].get_markerfacecolor() == "#0072b2"
    assert_nothing_is_cut(figure)
    assert difference_figure([], "a", {}) is None


def test_long_labels_of_small_differences_do_not_touch(runs):
    (entry, *_) = [entry for entry in compare(read_sources(runs)).entries if entry.difference is not None]
    small = Interval(2.1e-4, -7.6e-4, 5.4e-4, 2)
    entry = entry._replace(difference=entry.difference._replace(interval=small))
    figure = difference_figure([entry._replace(metric=name) for name in "wxyz"], "a", {})
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert all(left.x1 + 4 < right.x0 for left, right in itertools.pairwise(boxes))
