import numpy as np
import pytest

from cjepa.reporting.pareto import success_by_features, success_by_gigaflops, success_by_seconds, undominated


def rows(metric, values):
    found = []
    for model, (cost, success) in values.items():
        size = {"model": model, "tokens": 2, "token_dim": 34}
        found.append({"metric": "success", "value": success, "low": success - 0.1, "high": success + 0.2} | size)
        found.append({"metric": metric, "value": cost, "low": cost / 2, "high": cost * 3} | size)
    return found


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ({"a": (1, 50), "b": (2, 40), "c": (3, 60)}, ["a", "c"]),
        ({"a": (1, 50), "b": (1, 60)}, ["b"]),  # as cheap, and better
        ({"a": (2, 50), "b": (1, 50)}, ["b"]),  # as good, and cheaper
    ],
)
def test_what_no_other_beats_at_less_cost(points, front):
    assert undominated(points) == front


@pytest.mark.parametrize(
    ("draw", "metric"), [(success_by_seconds, "seconds_per_plan"), (success_by_gigaflops, "gigaflops_per_plan")]
)
def test_points_stand_at_their_cost_and_success_with_both_intervals(draw, metric):
    axes = draw(rows(metric, {"small": (0.5, 0.4), "large": (8.0, 0.6)})).axes[0]
    assert axes.get_xscale() == "log"
    for container, (x, y) in zip(axes.containers, [(0.5, 40), (8.0, 60)], strict=True):
        points, _, (across, up) = container
        np.testing.assert_allclose(points.get_xydata(), [[x, y]])
        np.testing.assert_allclose(across.get_segments()[0], [[x / 2, y], [3 * x, y]])
        np.testing.assert_allclose(up.get_segments()[0], [[x, y - 10], [x, y + 20]])


def test_of_many_models_the_highest_are_named():
    """As many as fit beside the axes; the pointer tells the others."""
    models = {f"m{number}": (1 + number, 0.1 + number / 50) for number in range(30)}
    figure = success_by_seconds(rows("seconds_per_plan", models))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert list(labels)[:2] == ["m29", "m28"] and list(labels)[-1] == "and 13 more" and len(labels) == 18
    assert min(labels.values()) > -0.1 and max(labels.values()) < 1.1
    assert len(axes.containers) == 30


def test_one_model_is_no_comparison():
    assert success_by_seconds(rows("seconds_per_plan", {"small": (0.5, 0.4)})) is None


def test_published_points_are_hollow_and_do_not_take_part():
    ours = [
        row | {"tokens": size} for row, size in zip(rows("x", {"a": (1, 0.4), "b": (1, 0.6)})[::2], (2, 4), strict=True)
    ]
    axes = success_by_features(ours, {"theirs": (75264, 91.33)}).axes[0]
    assert [tuple(container.lines[0].get_xydata()[0]) for container in axes.containers] == [(68, 40), (136, 60)]
    (hollow,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert tuple(hollow.get_xydata()[0]) == (75264, 91.33)
    front = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert max(front.get_ydata()) == 60 and "theirs" in {text.get_text() for text in axes.texts}
