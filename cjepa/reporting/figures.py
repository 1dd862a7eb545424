"""The figures of a report; each takes result rows and returns None when there is nothing to draw."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from cjepa.reporting.distances import success_at_distances
from cjepa.reporting.style import (
    FAINT,
    INK,
    REFERENCE,
    hover_points,
    label_column,
    legend_below,
    new_figure,
    plain_log_ticks,
    series_colours,
    style,
)
from cjepa.reporting.tables import (
    ERROR_PREFIX,
    Row,
    by_model,
    error_blocks,
    features,
    numbers_of,
    seconds_text,
    success_text,
    value_with_interval,
)

_DODGE = 1.09
_SAME_SIZE = 1.3
_MARKERS = ("o", "s", "^", "D", "v")
ERRORBAR = {"markersize": 6, "elinewidth": 1.4, "capsize": 0}
_CALIBRATION = ("calibration_disagreement@", "calibration_error@")


def model_colours(rows: Iterable[Row]) -> dict[str, str]:
    """One colour for one model in all figures; models without tokens (random actions, the simulator) are grey."""
    rows = list(rows)
    sized = {row["model"]: bool(features(row)) for row in rows}
    sized |= {row["model"]: True for row in rows if features(row)}
    models = [model for model, has_tokens in sized.items() if has_tokens]
    return dict.fromkeys(sized, FAINT) | dict(zip(models, series_colours(len(models)), strict=True))


def success_by_tokens(rows: Iterable[Row]) -> Figure | None:
    """Planning success against features per frame, one labelled point a model; models without tokens as lines."""
    rows = list(rows)
    success = by_model(rows, "success")
    if not success:
        return None
    points = {model: row for model, row in success.items() if features(row)}
    lines = {model: row for model, row in success.items() if not features(row)}
    with style():
        figure = new_figure(6.2, 3.9)
        axes = figure.subplots()
        axes.set_ylim(-2, 102)
        axes.set_ylabel("success, %")
        axes.set_xlabel("features per frame (tokens x dimension)")
        axes.grid(axis="x", visible=False)
        for row in lines.values():
            axes.axhline(100 * row["value"], zorder=1, **REFERENCE)
            low, high = _bounds(row)
            axes.axhspan(100 * low, 100 * high, color=FAINT, alpha=0.18, linewidth=0, zorder=0)
        label_column(axes, 1.01, [(100 * row["value"], model, INK) for model, row in lines.items()])
        _draw_points(axes, points, model_colours(rows))
        handles = [interval_handle("o", "model, 95 % interval")] if points else []
        if lines:
            handles.append(Line2D([], [], label="without a world model", **REFERENCE))
            handles.append(Patch(color=FAINT, alpha=0.18, linewidth=0, label="its 95 % interval"))
        legend_below(figure, handles)
    return figure


def success_by_distance(rows: Iterable[Row]) -> Figure | None:
    """Success against the distance of goals, one line a model."""
    rows = list(rows)
    lines = success_at_distances(rows)
    if not lines:
        return None
    colours = model_colours(rows)
    with style():
        figure = new_figure(6.2, 3.9)
        axes = figure.subplots()
        axes.set(xlabel="env steps from start to goal", ylabel="success, %", ylim=(-2, 102))
        axes.set_xticks(sorted({distance for points in lines.values() for distance in points}))
        for model, points in lines.items():
            value_P = [100 * row["value"] for row in points.values()]
            reach_2P = 100 * np.concatenate([reach(row) for row in points.values()], axis=1)
            texts = [f"{model}: {success_text(row)} % at {distance:g} env steps" for distance, row in points.items()]
            hover_points(axes, points, value_P, texts)
            axes.errorbar(list(points), value_P, reach_2P, fmt="o-", color=colours[model], **ERRORBAR)
        handles = [Line2D([], [], color=colours[model], marker="o", label=f"{model}, 95 % interval") for model in lines]
        legend_below(figure, handles)
    return figure


def rollout_errors(rows: Iterable[Row]) -> Figure | None:
    """Prediction error per model and horizon as a fraction of the error of copying the last frame."""
    rows = list(rows)
    series = {block: by_model(rows, f"{ERROR_PREFIX}{block}") for block in error_blocks(rows)}
    models = list(dict.fromkeys(model for found in series.values() for model in found))
    if not models:
        return None
    colours = model_colours(rows)
    with style():
        figure, axes = _dot_plot(models, 0.12 * len(series))
        axes.axvline(1.0, zorder=1, **REFERENCE)
        shifts = (np.arange(len(series)) - (len(series) - 1) / 2) * min(0.26, 0.8 / len(series))
        handles = []
        for number, ((block, found), shift) in enumerate(zip(series.items(), shifts, strict=True)):
            marker = _MARKERS[number % len(_MARKERS)]
            for model, row in found.items():
                _draw_across(axes, models.index(model) + shift, row, colours[model], marker)
            handles.append(interval_handle(marker, f"after {block} block{'s' if block > 1 else ''}"))
        handles.append(Line2D([], [], label="copying the last frame", **REFERENCE))
        axes.set_xlim(0, max(1.1, axes.get_xlim()[1]))
        axes.set_xlabel("rollout error / copying error, 95 % interval")
        legend_below(figure, handles)
    return figure


def time_per_plan(rows: Iterable[Row]) -> Figure | None:
    """Seconds of one planning call per model, log scale, with the value beside each point."""
    rows = list(rows)
    seconds = {model: row for model, row in by_model(rows, "seconds_per_plan").items() if row["value"] > 0}
    if not seconds:
        return None
    colours = model_colours(rows)
    with style():
        figure, axes = _dot_plot(list(seconds), 0)
        axes.set_xscale("log")
        ends = [max(bound, row["value"] / 10) for row in seconds.values() for bound in _bounds(row)]
        axes.set_xlim(min(ends) / 2, max(ends) * 3)  # room for the values, which stand on the right
        plain_log_ticks(axes.xaxis)
        axes.set_xlabel("seconds per plan, 95 % interval (log scale)")
        for place, (model, row) in enumerate(seconds.items()):
            _draw_across(axes, place, row, colours[model], "o")
            right = max(row["value"], _bounds(row)[1])
            text = seconds_text(row["value"])
            axes.annotate(text, (right, place), (8, 0), textcoords="offset points", va="center")
    return figure


def calibration(rows: Iterable[Row]) -> Figure | None:
    """Error of predictions against the disagreement of an ensemble about them, one line a model, both log scales."""
    rows = list(rows)
    lines = _calibration_lines(rows)
    if not lines:
        return None
    colours = model_colours(rows)
    with style():
        figure = new_figure(6.2, 4.2)
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel="disagreement / copying error", ylabel="error / copying error")
        handles = []
        for model, points in lines.items():
            places = [x["value"] for x, _ in points]
            errors = [y["value"] for _, y in points]
            ends = np.concatenate([reach(y) for _, y in points], axis=1)
            axes.errorbar(places, errors, ends, fmt="o-", color=colours[model], **ERRORBAR)
            texts = [
                f"{model}: error {value_with_interval(y)}, disagreement {value_with_interval(x)}" for x, y in points
            ]
            hover_points(axes, places, errors, texts)
            handles.append(Line2D([], [], color=colours[model], marker="o", label=f"{model}, 95 % interval"))
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], zorder=1, **REFERENCE)
        axes.set_xlim(low, high)
        for axis in (axes.xaxis, axes.yaxis):
            plain_log_ticks(axis)
        handles.append(Line2D([], [], label="error = disagreement", **REFERENCE))
        legend_below(figure, handles)
    return figure


def _calibration_lines(rows: list[Row]) -> dict[str, list[tuple[Row, Row]]]:
    """Disagreement and error of every bin of each model; a log scale has no place for a 0."""
    lines: dict[str, list[tuple[Row, Row]]] = {}
    for number in numbers_of(rows, _CALIBRATION[0]):
        disagreement, error = (by_model(rows, f"{prefix}{number}") for prefix in _CALIBRATION)
        for model in disagreement:
            point = disagreement[model], error.get(model)
            if point[1] is not None and min(row["value"] for row in point) > 0:
                lines.setdefault(model, []).append(point)
    return lines


def _dot_plot(models: list[str], extra_inches: float) -> tuple[Figure, Axes]:
    """One line a model, from top to bottom."""
    figure = new_figure(6.2, 1.2 + (0.32 + extra_inches) * len(models))
    axes = figure.subplots()
    axes.set_yticks(range(len(models)), [model for model in models])
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return figure, axes


def interval_handle(marker: str, label: str) -> Line2D:
    """Of the legend: a point with its interval."""
    return Line2D([], [], color=INK, linewidth=1.4, marker=marker, markersize=5, label=label)


def _draw_points(axes: Axes, points: dict[str, Row], colours: dict[str, str]) -> None:
    if not points:
        axes.set_xticks([])
        return
    clusters = _clusters(points)
    centres = [float(np.sqrt(low * high)) for low, high, _ in clusters]
    axes.set_xscale("log")
    # Room for the labels, which stand to the right of their points.
    axes.set_xlim(centres[0] / 2, centres[-1] * (4 if len(centres) > 1 else 2))
    axes.xaxis.set_major_locator(FixedLocator(centres))
    axes.xaxis.set_minor_locator(NullLocator())
    names = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high, _ in clusters]
    axes.xaxis.set_major_formatter(FixedFormatter(names))
    for centre, (_, _, models) in zip(centres, clusters, strict=True):
        places = [centre * _DODGE ** (i - (len(models) - 1) / 2) for i in range(len(models))]
        for place, model in zip(places, models, strict=True):
            row = points[model]
            ends = 100 * reach(row)
            axes.errorbar(place, 100 * row["value"], ends, fmt="o", color=colours[model], **ERRORBAR)
        texts = [f"{model}: {success_text(points[model])} %, {features(points[model]):,} features" for model in models]
        hover_points(axes, places, [100 * points[model]["value"] for model in models], texts)
        labels = [(100 * points[model]["value"], model, colours[model]) for model in models]
        label_column(axes, places[-1] * 1.07, labels, in_data=True)


def _clusters(points: dict[str, Row]) -> list[tuple[int, int, list[str]]]:
    """Smallest and largest features, and models, of points too close to tell apart: they are drawn side by side."""
    clusters: list[tuple[int, int, list[str]]] = []
    for model in sorted(points, key=lambda name: features(points[name])):
        size = features(points[model])
        if clusters and size <= _SAME_SIZE * clusters[-1][0]:
            low, _, models = clusters[-1]
            clusters[-1] = (low, size, [*models, model])
        else:
            clusters.append((size, size, [model]))
    return clusters


def _draw_across(axes: Axes, height: float, row: Row, colour: str, marker: str) -> None:
    axes.errorbar(row["value"], height, xerr=reach(row), fmt=marker, color=colour, **ERRORBAR)
    hover_points(axes, [row["value"]], [height], [f"{row['model']}: {row['metric']} {value_with_interval(row)}"])


def reach(row: Row) -> np.ndarray:
    """How far the interval goes down and up from the value, (2, 1)."""
    low, high = _bounds(row)
    return np.clip([[row["value"] - low], [high - row["value"]]], 0, None)


def _bounds(row: Row) -> tuple[float, float]:
    if row.get("low") is None or row.get("high") is None:
        return row["value"], row["value"]
    return row["low"], row["high"]
