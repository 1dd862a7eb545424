"""Success against what it costs, with the models that no other beats at less cost."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.reporting.figures import ERRORBAR, interval_handle, model_colours, reach
from cjepa.reporting.style import (
    INK,
    REFERENCE,
    hover_points,
    label_column,
    legend_below,
    new_figure,
    plain_log_ticks,
    style,
)
from cjepa.reporting.tables import Row, by_model, features, success_text, value_with_interval


def success_by_seconds(rows: Iterable[Row]) -> Figure | None:
    """Planning success against the seconds of one plan, one labelled point a model; None without two such models."""
    rows = list(rows)
    return _pareto(rows, by_model(rows, "seconds_per_plan"), "seconds per plan")


def success_by_gigaflops(rows: Iterable[Row]) -> Figure | None:
    """Planning success against the arithmetic of one plan, one labelled point a model; None without two such models."""
    rows = list(rows)
    return _pareto(rows, by_model(rows, "gigaflops_per_plan"), "GFLOP per plan")


def success_by_features(rows: Iterable[Row], published: Mapping[str, tuple[int, float]]) -> Figure | None:
    """Planning success against features per frame, beside published points; None without two models of our own.

    Args:
        rows: of results.
        published: features per frame, and success in %, by name: hollow points, because another protocol gave them.
    """
    rows = list(rows)
    cost = {model: {"value": features(row)} for model, row in by_model(rows, "success").items() if features(row)}
    return _pareto(rows, cost, "features per frame", published)


def undominated(points: dict[str, tuple[float, float]]) -> list[str]:
    """Names of the points (cost, success) of which no other has more success at as little cost, cheapest first."""
    front: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def _pareto(
    rows: list[Row],
    costs: dict[str, Row],
    label: str,
    published: Mapping[str, tuple[int, float]] = MappingProxyType({}),
) -> Figure | None:
    success = by_model(rows, "success")
    cost = {model: row for model, row in costs.items() if row["value"] > 0 and model in success}
    if len(cost) < 2:
        return None
    colours = model_colours(rows)
    points = {model: (row["value"], 100 * success[model]["value"]) for model, row in cost.items()}
    with style():
        figure = new_figure(6.2, 3.9)
        axes = figure.subplots()
        axes.set(xscale="log", ylim=(-2, 102), xlabel=f"{label} (log scale)", ylabel="success, %")
        for model, (x, y) in points.items():
            ends = {"xerr": reach(cost[model]), "yerr": 100 * reach(success[model])}
            axes.errorbar(x, y, **ends, fmt="o", color=colours[model], **ERRORBAR)
            text = f"{model}: {success_text(success[model])} %, {value_with_interval(cost[model])} {label}"
            hover_points(axes, [x], [y], [text])
        for name, (x, y) in published.items():
            axes.plot(x, y, "o", color=INK, markerfacecolor="none")
            hover_points(axes, [x], [y], [f"{name}, as published: {y:g} %"])
        front = [points[model] for model in undominated(points)]
        line = [*front, (axes.get_xlim()[1], front[-1][1])]
        axes.set_xlim(axes.get_xlim())  # stays as the points need it
        plain_log_ticks(axes.xaxis)
        axes.step(*zip(*line, strict=True), where="post", zorder=1, **REFERENCE)
        heights = [(y, model, colours[model]) for model, (_, y) in points.items()]
        label_column(axes, 1.02, [*heights, *((y, name, INK) for name, (_, y) in published.items())])
        handles = [
            interval_handle("o", "model, 95 % intervals"),
            Line2D([], [], label="most success at this cost or less", **REFERENCE),
        ]
        if published:
            hollow = {"linewidth": 0, "marker": "o", "color": INK, "markerfacecolor": "none"}
            handles.append(Line2D([], [], label="published, of another protocol", **hollow))
        legend_below(figure, handles)
    return figure
