"""Figures draw what the rows say; the report is one file without an address in it."""

import re
from pathlib import Path

import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.reporting import figures, media, report
from cjepa.reporting.records import write_run_record
from cjepa.reporting.style import FAINT, spread, to_svg
from cjepa.reporting.videos import write_png, write_video
from tests.reporting.drawn import assert_nothing_is_cut

MISSING = [{"name": "plan-b", "command": "plan", "depends_on": ["slots"]}]
METRICS = """epoch,step,train/loss,train/future,val/loss,val/rollout_error@1,val/fg_ari
0,9,0.5,0.4,,,
0,19,0.25,0.2,,,
0,19,,,0.3,0.9,0.1
1,39,,,0.2,0.8,nan
"""


def row(metric, value, model, **more):
    return {"metric": metric, "value": value, "model": model, "split": "test"} | more


ROWS = [
    row("success", 0.32, "cjepa-1", n=50, low=0.207, high=0.458, unit="rate", tokens=5, token_dim=52),
    row("success", 0.30, "oc-jepa <&>", n=50, low=0.19, high=0.44, unit="rate", tokens=5, token_dim=52),
    row("success", 0.54, "patch-8x8", n=50, low=0.4, high=0.67, unit="rate", tokens=64, token_dim=64),
    row("success", 0.92, "simulator-cem", n=50, low=0.81, high=0.97, unit="rate"),
    row("seconds_per_plan", 0.41, "cjepa-1"),
    row("rollout_error@1", 0.3, "cjepa-1", low=0.28, high=0.33),
    row("rollout_error@5", 0.6, "cjepa-1", low=0.5, high=0.7),
    row("fg_ari", 0.91, "slots"),
]


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of two stages, to change."""
    return made(tmp_path / "study")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The report of such a study."""
    return report.build_report(made(tmp_path_factory.mktemp("report") / "study")).read_text()


def made(folder: Path) -> Path:
    stages = [
        {"name": "slots", "command": "fit", "seconds": 201.3, "peak_memory_mb": 1200, "folder": "slots"},
        {
            "name": "plan-a",
            "command": "plan",
            "seconds": 2,
            "folder": "plan-a",
            "depends_on": ["slots"],
            "cached": True,
        },
    ]
    write_json(folder / "study.json", {"name": "tokens <script>", "description": "A & B", "stages": stages})
    write_json(folder / "results.json", ROWS)
    (folder / "slots").mkdir()
    (folder / "slots" / "metrics.csv").write_text(METRICS)
    (folder / "slots" / "config.yaml").write_text("seed_everything: 4711\n")
    empty = {name: {} for name in ("model", "objective", "data", "evaluation", "actions")}
    write_run_record(folder / "slots", uncertainty=[], seconds=201.3, **empty)
    write_png(folder / "slots" / "media" / "slots.png", np.zeros((4, 4, 3), np.uint8))
    write_video(folder / "plan-a" / "media" / "episode_0.mp4", np.zeros((2, 16, 16, 3), np.uint8), fps=5)
    return folder


def test_study_report_holds_everything_in_one_file(page):
    assert "<h1>tokens &lt;script&gt;</h1>" in page and "A &amp; B" in page
    assert ">32 [21, 46]</td>" in page and ">0.30 [0.28, 0.33]</td>" in page and ">5 x 52 (260)</td>" in page
    assert "cjepa-1 reaches the goal in 32 % [21, 46] of 50 trials" not in page
    assert "patch-8x8 reaches the goal in 54 % [40, 67] of 50 trials, the highest success" in page
    assert "<dt>Measured</dt>" in page and "<dt>Time</dt><dd>3 min 23 s</dd>" in page
    assert "fg_ari" in page and "3 min 21 s" in page and "2 s (cached)" in page and "1,200 MB" in page
    assert 'src="data:image/png;base64,' in page and 'src="data:video/mp4;base64,' in page
    assert "--width: 16; --height: 16" in page  # the controls need a strip below the frame
    assert "episode 0" in page and "seed_everything: 4711" in page and "&#34;uncertainty&#34;" in page
    assert page.count("<svg") == 4 and "torch 2" in page


def test_a_study_says_how_to_repeat_it(study):
    said = read_json(study / "study.json")
    lines = [f"cjepa {stage['command']} --out {stage['name']}" for stage in said["stages"]]
    stages = [stage | {"typed": line} for stage, line in zip(said["stages"], lines, strict=True)]
    write_json(study / "study.json", said | {"typed": "cjepa study tokens.yaml", "stages": stages})
    write_json(study / "slots" / "run.json", {"code": {"cjepa.envs.base": "0"}})
    text = report.build_report(study).read_text()
    assert "<code>cjepa study tokens.yaml</code>" in text and f"<pre>{lines[0]}\n{lines[1]}</pre>" in text
    assert "<code>cjepa study tokens.yaml --force slots</code>" in text


def test_report_points_nowhere(page):
    assert "http://" not in page and "https://" not in page and "//cdn" not in page
    assert "default-src 'none'" in page and page.count("<script") == 1  # and the browser is told to load nothing
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("data:", "#"))


@pytest.mark.slow
def test_a_run_folder_alone_and_a_study_without_results(study):
    run = report.build_report(study / "slots").read_text()
    assert "<h1>slots</h1>" in run and run.count("<svg") == 1 and "Results</h2>" not in run
    (study / "results.json").unlink()
    write_json(study / "plan-a" / "results.json", ROWS[:1])
    assert ">32 [21, 46]</td>" in report.build_report(study).read_text()


@pytest.mark.slow
def test_runs_of_one_kind_share_axes(study):
    other = study / "plan-a"
    (other / "metrics.csv").write_text(METRICS)
    text = report.build_report(study).read_text()
    assert "<h3>slots</h3>" in text and "<h3>plan-a</h3>" in text
    for folder in (study / "slots", other):
        write_json(folder / "run.json", {"model": {"class": "WorldModel"}})
    assert "<h3>slots, plan-a</h3>" in report.build_report(study).read_text()


def test_more_media_than_fit_are_counted(study, monkeypatch):
    monkeypatch.setattr(media, "MEDIA_A_STAGE", 1)
    for index in range(3):
        write_png(study / "slots" / "media" / f"z{index}.png", np.zeros((2, 2, 3), np.uint8))
    text = report.build_report(study).read_text()
    assert (
        text.count("data:image/png") == 1
        and "slots: 3 more pictures or videos in the folder" in text
        and "run: z0.png, z1.png, z2.png." in text
    )


def test_a_failing_report_leaves_the_old_one(study, monkeypatch):
    old = report.build_report(study).read_bytes()
    (study / "results.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        report.build_report(study)
    assert (study / "report.html").read_bytes() == old


@pytest.mark.parametrize(("name", "message"), [("empty", "no study.json"), ("missing", "no such folder")])
def test_a_folder_without_a_run_is_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        report.build_report(tmp_path / name)


def test_nothing_to_draw_is_none():
    for draw in (figures.success_by_tokens, figures.rollout_errors, figures.time_per_plan):
        assert draw([row("fg_ari", 1.0, "a"), row("success", None, "a")]) is None


def test_success_figure_labels_points_and_lines_at_their_heights():
    axes = figures.success_by_tokens(ROWS).axes[0]
    assert {text.get_text() for text in axes.texts} == {"cjepa-1", "oc-jepa <&>", "patch-8x8", "simulator-cem"}
    places = [container.lines[0].get_xydata()[0] for container in axes.containers]
    assert sorted(round(y) for _, y in places) == [30, 32, 54]
    np.testing.assert_allclose(np.sqrt(places[0][0] * places[1][0]), 260)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["260", "4,096"]
    assert 92 in [line.get_ydata()[0] for line in axes.lines]


def test_rollout_errors_are_points_with_intervals_in_the_line_of_their_model():
    rows = [*ROWS, row("rollout_error@5", 0.4, "a model with a long name, $x^2$", low=0.3, high=0.55)]
    axes = figures.rollout_errors(rows).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["cjepa-1", "a model with a long name, $x^2$"]
    found = sorted((round(float(y)), float(x)) for c in axes.containers for x, y in c.lines[0].get_xydata())
    assert found == [(0, 0.3), (0, 0.6), (1, 0.4)]
    (bar,) = axes.containers[-1].lines[2]
    np.testing.assert_allclose(bar.get_segments()[0][:, 0], [0.3, 0.55])
    assert 1.0 in [line.get_xdata()[0] for line in axes.lines]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == [
        "after 1 block",
        "after 5 blocks",
        "copying the last frame",
    ]


def test_planning_time_is_points_on_a_log_axis():
    rows = [row("seconds_per_plan", 0.41, "cjepa-1", low=0.3, high=0.5), row("seconds_per_plan", 205.0, "slow")]
    axes = figures.time_per_plan(rows).axes[0]
    assert axes.get_xscale() == "log" and [text.get_text() for text in axes.texts] == ["0.41 s", "3 min 25 s"]
    assert [float(c.lines[0].get_xdata()[0]) for c in axes.containers] == [0.41, 205.0] and not axes.patches


CALIBRATION = [
    row(f"calibration_{name}@{number}", value, "ensemble", low=value / 2, high=2 * value)
    for number, values in enumerate([(0.0, 0.0), (0.01, 0.02), (0.1, 0.3)], start=1)
    for name, value in zip(("disagreement", "error"), values, strict=True)
]


def test_calibration_is_a_line_of_bins_beside_the_diagonal():
    axes = figures.calibration([*ROWS, *CALIBRATION]).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    (line,) = axes.containers
    np.testing.assert_allclose(line.lines[0].get_xydata(), [[0.01, 0.02], [0.1, 0.3]])  # 0 has no place
    np.testing.assert_allclose(line.lines[2][0].get_segments()[1][:, 1], [0.15, 0.6])
    diagonal = axes.lines[-1].get_xydata()
    np.testing.assert_allclose(diagonal[:, 0], diagonal[:, 1])
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()][0] == "ensemble, 95 % interval"
    assert_nothing_is_cut(axes.figure)
    assert figures.calibration(CALIBRATION[:2]) is None and figures.calibration(ROWS) is None


@pytest.mark.parametrize("draw", [figures.success_by_tokens, figures.rollout_errors, figures.time_per_plan])
def test_no_label_is_cut(draw):
    long = "a-model-with-quite-a-long-name"
    rows = [*ROWS, *(entry | {"model": long, "value": 900 * entry["value"]} for entry in ROWS[4:5])]
    rows += [entry | {"model": long} for entry in (ROWS[0], ROWS[3], ROWS[5])]
    assert_nothing_is_cut(draw(rows))


def test_labels_interrupt_the_lines_that_they_meet():
    rows = [ROWS[0] | {"value": 0.04, "low": 0.01, "high": 0.1}, row("success", 0.03, "random")]
    axes = figures.success_by_tokens(rows).axes[0]
    label = next(text for text in axes.texts if text.get_text() == "cjepa-1")
    assert label.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)
    assert label.get_zorder() > max(line.get_zorder() for line in axes.lines)


def test_a_model_has_one_colour():
    colours = figures.model_colours(ROWS)
    assert len({colours[name] for name in ("cjepa-1", "oc-jepa <&>", "patch-8x8")}) == 3
    assert colours["simulator-cem"] == FAINT
    points = figures.success_by_tokens(ROWS).axes[0].containers
    assert [c.lines[0].get_color() for c in points][0] == colours["cjepa-1"]
    errors = figures.rollout_errors(ROWS).axes[0].containers
    assert {c.lines[0].get_color() for c in errors} == {colours["cjepa-1"]}


def test_svg_has_no_address_and_escapes_names():
    text = to_svg(figures.success_by_tokens(ROWS))
    assert text.startswith("<svg") and "http" not in text and "oc-jepa &lt;&amp;&gt;" in text


def test_points_carry_their_values_as_titles():
    text = to_svg(figures.success_by_tokens(ROWS))
    titles = re.findall("<title>(.*?)</title>", text)
    assert "oc-jepa &lt;&amp;&gt;: 30 [19, 44] %, 260 features" in titles and len(titles) == 3
    assert "hover:" not in text and "<a " not in text and "</a>" not in text
    assert "<title>cjepa-1: rollout_error@5 0.60 [0.50, 0.70]</title>" in to_svg(figures.rollout_errors(ROWS))


def test_spread_keeps_order_and_distance():
    assert spread([0.5, 0.1], 0.1) == [0.5, 0.1]
    moved = spread([0.5, 0.5, 0.5], 0.1)
    assert moved == pytest.approx([0.4, 0.5, 0.6])


def test_stages_without_a_result_are_marked(study):
    assert "Partial results" not in report.build_report(study).read_text()
    write_json(study / "study.json", {**read_json(study / "study.json"), "missing": MISSING})
    page = report.build_report(study).read_text()
    assert re.search(r"Partial results</strong>: 1 of 3 stages have no\s+result: plan-b\.", page)
    assert re.search(r"plan-b</th>.*no result", page)


def test_many_stages_without_a_result_are_folded(study):
    missing = [{"name": f"plan-{number}", "command": "plan"} for number in range(20)]
    write_json(study / "study.json", {**read_json(study / "study.json"), "missing": missing})
    page = report.build_report(study).read_text()
    shown, folded = re.search(r"Partial results(.*?)<details>(.*?)</details>", page, flags=re.DOTALL).groups()
    assert "20 of 22 stages" in shown and "plan-7" not in shown and "plan-7, plan-8" in folded


def test_a_test_is_no_training(study):
    """It logs one point, at step 0."""
    (study / "plan-a" / "metrics.csv").write_text("step,test/loss,val/loss\n0,0.5,0.5\n")
    assert 'aria-label="training curves of plan-a"' in report.build_report(study).read_text()
    write_json(study / "plan-a" / "run.json", {"evaluation": {"split": "test"}})
    page = report.build_report(study).read_text()
    assert "training curves of plan-a" not in page and "training curves of slots" in page


def test_many_models_are_counted_in_the_heading_of_their_curves(study):
    """Their legend names them."""
    content = read_json(study / "study.json")
    stages = [{"name": f"m-{number}", "command": "fit", "folder": f"m-{number}"} for number in range(7)]
    for stage in stages:
        (study / stage["name"]).mkdir()
        (study / stage["name"] / "metrics.csv").write_text(METRICS)
        write_json(study / stage["name"] / "run.json", {"model": {"class": "Model"}})
    write_json(study / "study.json", {**content, "stages": stages})
    page = report.build_report(study).read_text()
    assert 'aria-label="training curves of 7 models"' in page and ">m-6</text>" in page


def test_seeds_of_a_study_are_one_model(study):
    """In the table, the sentences and the curves."""
    stages = [
        {"name": f"a-{seed}", "command": "fit", "folder": f"a-{seed}", "series": "a", "seconds": 1} for seed in (0, 1)
    ]
    write_json(study / "study.json", {**read_json(study / "study.json"), "stages": stages})
    rates = [row("success", 0.4 + 0.2 * seed, f"a-{seed}", n=50, low=0.3, high=0.7, unit="rate") for seed in (0, 1)]
    write_json(study / "results.json", [rate | {"run": rate["model"], "tokens": 2, "token_dim": 7} for rate in rates])
    for seed in (0, 1):
        (study / f"a-{seed}").mkdir()
        (study / f"a-{seed}" / "metrics.csv").write_text(METRICS)
    page = report.build_report(study).read_text()
    assert ">50 [30, 70]</td>" in page and "a reaches the goal in 50 % [30, 70] of 100 trials" in page
    assert 'aria-label="training curves of a"' in page and "docs" not in page.split("<h2>Results</h2>")[0]


def test_seeds_and_another_model_that_has_the_name_of_their_series_have_curves_of_their_own(study):
    stages = [{"name": "a", "folder": "a"}, *({"name": f"a-{s}", "folder": f"a-{s}", "series": "a"} for s in (0, 1))]
    write_json(study / "study.json", {**read_json(study / "study.json"), "stages": stages})
    for stage in stages:
        (study / stage["name"]).mkdir(exist_ok=True)
        (study / stage["name"] / "metrics.csv").write_text(METRICS)
        write_json(study / stage["name"] / "run.json", {"model": {"class": "Model"}})
    assert 'aria-label="training curves of a, a-0, a-1"' in report.build_report(study).read_text()
