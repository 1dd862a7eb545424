"""Curves draw what was logged: quantities of one run together, runs of one quantity together."""

import numpy as np
import pytest

from cjepa.reporting.curves import training_curves
from tests.reporting.drawn import assert_nothing_is_cut

METRICS = """epoch,step,train/loss,train/future,val/loss,val/rollout_error@1,val/fg_ari
0,9,0.5,0.4,,,
0,19,0.25,0.2,,,
0,19,,,0.3,0.9,0.1
1,39,,,0.2,0.8,nan
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    return path


def test_one_run_has_panels_of_quantities_and_skips_empty_cells(path):
    figure = training_curves({"run": path})
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["training loss", "validation loss", "rollout error / copying error", "scores"]
    future, loss = figure.axes[0].lines
    np.testing.assert_array_equal(loss.get_xydata(), [[9, 0.5], [19, 0.25]])
    assert figure.axes[0].get_yscale() == "log"
    np.testing.assert_array_equal(figure.axes[3].lines[0].get_xydata(), [[19, 0.1]])
    assert_nothing_is_cut(figure)


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e39", "inf"])
def test_numbers_that_no_training_logs_are_left_out(number, path):
    path.write_text(METRICS + f"1,59,{number},,{number},,\n{number},{number},0.1,,,,\n")
    figure = training_curves({"run": path})
    figure.draw_without_rendering()
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xydata(), [[9, 0.5], [19, 0.25]])


@pytest.mark.parametrize(("last", "ticks"), [(0.2, [0.2, 0.5, 1]), (1e-4, [1e-4, 1e-3, 0.01, 0.1, 1])])
def test_a_loss_over_many_decades_has_one_label_per_decade(last, ticks, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,train/loss\n9,1.0\n19,{last}\n")
    axes = training_curves({"run": path}).axes[0]
    low, high = axes.get_ylim()
    np.testing.assert_allclose([tick for tick in axes.get_yticks() if low <= tick <= high], ticks)


def test_runs_share_the_axes_of_a_quantity(path, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("step,train/loss,val/psnr\n9,2.0,30\n19,1.0,31\n")
    names = ["a", "a name with $^$ in it that is longer than a panel is wide, and then some more"]
    figure = training_curves(
        dict(zip(names, (path, other), strict=True)), dict(zip(names, ["red", "blue"], strict=True))
    )
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert {"train/loss", "train/future", "val/psnr"} <= set(panels)
    first, second = panels["train/loss"].lines
    assert (first.get_color(), second.get_color()) == ("red", "blue")
    np.testing.assert_array_equal(first.get_ydata(), [0.5, 0.25])
    np.testing.assert_array_equal(second.get_ydata(), [2.0, 1.0])
    assert [line.get_color() for line in panels["val/psnr"].lines] == ["blue"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert_nothing_is_cut(figure)


def test_seeds_of_a_model_share_its_colour_and_its_line_in_the_legend(path):
    models = {"a-0": "a", "a-1": "a", "b-0": "b"}
    figure = training_curves(dict.fromkeys(models, path), {"a": "red", "b": "blue"}, models)
    assert [line.get_color() for line in figure.axes[0].lines] == ["red", "red", "blue"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_nothing_to_draw_is_none(path, tmp_path):
    assert training_curves({"a": tmp_path / "gone.csv"}) is None
    path.write_text("epoch,step\n0,1\n")
    assert training_curves({"a": path}) is None
