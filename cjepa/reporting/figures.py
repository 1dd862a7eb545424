"""The figures of a report; each takes result rows or a metrics file and returns None when there is nothing to draw."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from cjepa.reporting.records import read_metrics
from cjepa.reporting.style import FAINT, INK, PALETTE, label_column, new_figure, style
from cjepa.reporting.tables import ERROR_PREFIX, Row, by_model, error_blocks, features, seconds_text

_SCORES = ("fg_ari", "fg_ari_video", "ari", "ari_video", "mbo", "mbo_video", "mean_iou", "mean_iou_video")
_SCORES += ("clip_consistency", "slot_consistency", "empty_slots", "accuracy", "auroc", "average_precision")
_LOSSES = ("loss", "future", "masked", "proprio", "reconstruction")
_PANELS_A_ROW = 4
_DODGE = 1.09
_SAME_SIZE = 1.3
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values of one logged quantity."""


def training_curves(metrics_csv: Path) -> Figure | None:
    """Small panels over optimizer steps from a CSVLogger file: training loss, validation losses, errors, scores."""
    groups = _group_curves(_read_curves(metrics_csv))
    if not groups:
        return None
    columns = min(len(groups), _PANELS_A_ROW)
    rows = -(-len(groups) // columns)
    with style():
        figure = new_figure(0.8 + 2.8 * columns, 2.3 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, curves) in zip(panels, groups.items(), strict=False):
            _draw_curves(axes, title, curves)
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
        for axes in panels[max(len(groups) - columns, 0) : len(groups)]:
            axes.set_xlabel("optimizer steps")
    return figure


def success_by_tokens(rows: Iterable[Row]) -> Figure | None:
    """Planning success against features per frame, one labelled point a model; models without tokens as lines."""
    success = by_model(rows, "success")
    if not success:
        return None
    points = {model: row for model, row in success.items() if features(row)}
    lines = {model: row for model, row in success.items() if not features(row)}
    with style():
        figure = new_figure(7.2, 4.0)
        axes = figure.subplots()
        axes.set_ylim(-2, 102)
        axes.set_ylabel("success, %  (95 % interval)")
        axes.set_xlabel("features per frame  (tokens x dimension)")
        axes.grid(axis="x", visible=False)
        colours = dict(zip(points, _colours(len(points)), strict=True))
        _draw_points(axes, points, colours)
        for row in lines.values():
            axes.axhline(100 * row["value"], color=FAINT, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
            low, high = _bounds(row)
            axes.axhspan(100 * low, 100 * high, color=FAINT, alpha=0.14, linewidth=0, zorder=0)
        label_column(axes, 1.01, [(100 * row["value"], model, INK) for model, row in lines.items()])
    return figure


def rollout_errors(rows: Iterable[Row]) -> Figure | None:
    """Prediction error per model and horizon as a fraction of the error of copying the last frame."""
    rows = list(rows)
    series = {block: by_model(rows, f"{ERROR_PREFIX}{block}") for block in error_blocks(rows)}
    models = list(dict.fromkeys(model for found in series.values() for model in found))
    if not models:
        return None
    with style():
        figure = new_figure(7.2, 3.4)
        axes = figure.subplots()
        axes.axhline(1.0, color=FAINT, linewidth=1.2, linestyle=(0, (5, 3)))
        shifts = (np.arange(len(series)) - (len(series) - 1) / 2) * 0.18
        labels = []
        for (block, found), shift, colour in zip(series.items(), shifts, _colours(len(series)), strict=True):
            places = [models.index(model) + shift for model in found]
            _draw_intervals(axes, places, list(found.values()), colour)
            name = f"after {block} block{'s' if block > 1 else ''}"
            last = found.get(models[-1], list(found.values())[-1])
            labels.append((last["value"], name, colour))
        axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylabel("rollout error / copying error")
        axes.grid(axis="x", visible=False)
        crowded = len(models) > 6
        axes.set_xticks(range(len(models)), models, rotation=30 if crowded else 0, ha="right" if crowded else "center")
        label_column(axes, 1.01, [*labels, (1.0, "copying the last frame", INK)], gap=0.065)
    return figure


def time_per_plan(rows: Iterable[Row]) -> Figure | None:
    """Seconds of one planning call per model, log scale, with the value at each bar."""
    seconds = {model: row for model, row in by_model(rows, "seconds_per_plan").items() if row["value"] > 0}
    if not seconds:
        return None
    values = [row["value"] for row in seconds.values()]
    with style():
        figure = new_figure(7.2, 0.7 + 0.32 * len(seconds))
        axes = figure.subplots()
        axes.barh(list(seconds), values, color=PALETTE[0], height=0.62)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 3)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds per plan")
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.xaxis.set_minor_locator(NullLocator())
        for place, value in enumerate(values):
            axes.annotate(seconds_text(value), (value, place), (4, 0), textcoords="offset points", va="center")
    return figure


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
            _draw_intervals(axes, [place], [points[model]], colours[model], factor=100)
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


def _draw_intervals(axes: Axes, places: list[float], rows: list[Row], colour: str, factor: float = 1.0) -> None:
    values = factor * np.array([row["value"] for row in rows])
    bounds = factor * np.array([_bounds(row) for row in rows]).T
    reach = np.clip([values - bounds[0], bounds[1] - values], 0, None)
    axes.errorbar(places, values, reach, fmt="o", color=colour, markersize=6, elinewidth=1.4, capsize=0)


def _bounds(row: Row) -> tuple[float, float]:
    if row.get("low") is None or row.get("high") is None:
        return row["value"], row["value"]
    return row["low"], row["high"]


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _read_curves(metrics_csv: Path) -> dict[str, Curve]:
    """Column -> curve; a logger leaves most cells of a row empty, and so do we."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in read_metrics(metrics_csv):
        step = _float(row.get("step"))
        for name, cell in row.items():
            value = _float(cell)
            if step is not None and value is not None and name.startswith(("train/", "val/")):
                points.setdefault(name, []).append((step, value))
    return {name: tuple(np.array(found).T) for name, found in points.items()}


def _float(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _group_curves(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Panel title -> short name -> curve, panels in the order in which they should be read."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in sorted(curves.items(), key=lambda item: _order(item[0])):
        groups.setdefault(_panel(name), {})[name.split("/", 1)[1]] = curve
    return groups


def _panel(name: str) -> str:
    stage, quantity = name.split("/", 1)
    if stage == "train":
        return "training loss"
    if quantity.startswith(ERROR_PREFIX):
        return "rollout error / copying error"
    if "error@" in quantity:
        return "token error"
    if quantity.startswith(_LOSSES):
        return "validation loss"
    return "scores" if quantity in _SCORES else quantity


def _order(name: str) -> tuple[int, str]:
    titles = ("training loss", "validation loss", "token error", "rollout error / copying error", "scores")
    title = _panel(name)
    return (titles.index(title) if title in titles else len(titles), name)


def _draw_curves(axes: Axes, title: str, curves: dict[str, Curve]) -> None:
    axes.set_title(title)
    ends = []
    for (name, (steps, values)), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        axes.plot(steps, values, color=colour, marker="o" if len(steps) < 3 else None, markersize=4)
        ends.append((values[-1], name, colour))
    if "loss" in title and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_PLAIN)
    if title.startswith("rollout error"):
        axes.axhline(1.0, color=FAINT, linewidth=1.0, linestyle=(0, (5, 3)))
    axes.margins(x=0.02)
    if len(curves) > 1:
        label_column(axes, 1.01, ends, gap=0.1)
