"""Training curves: of one run in a few panels, of several runs of one kind in common panels."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.configuration.plain_values import finite_number
from cjepa.data.clip_windows import evenly_spread
from cjepa.reporting.records import read_metrics
from cjepa.reporting.style import (
    REFERENCE,
    hover_points,
    label_column,
    legend_below,
    new_figure,
    plain_log_ticks,
    series_colours,
    style,
)
from cjepa.reporting.tables import ERROR_PREFIX

_SCORES = ("fg_ari", "fg_ari_video", "ari", "ari_video", "mbo", "mbo_video", "mean_iou", "mean_iou_video")
_SCORES += ("clip_consistency", "slot_consistency", "empty_slots", "accuracy", "auroc", "average_precision")
_LOSSES = ("loss", "future", "masked", "proprio", "reconstruction")
_COPYING = "rollout error / copying error"
_TITLES = ("training loss", "validation loss", "token error", _COPYING, "scores")
_PANELS_A_ROW = 4
_HOVER_POINTS = 25
"""Of one curve; each takes 200 bytes of the page."""
_LARGEST = float(np.finfo(np.float32).max)  # training logs nothing above it, and axes cannot be drawn far above it

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values of one logged quantity."""


def training_curves(
    runs: dict[str, Path], colours: dict[str, str] | None = None, models: dict[str, str] | None = None
) -> Figure | None:
    """Small panels over optimizer steps.

    One run: a panel each for training loss, validation losses, errors and scores. Several runs: a panel for every
    logged quantity, with one curve per run.

    Args:
        runs: name of the run -> its ``metrics.csv``; missing and empty files are left out.
        colours: of the models; default the palette, in order.
        models: name of the run -> its model, which several seeds share; default the run itself.
    """
    logged = {name: curves for name, path in runs.items() if (curves := _read_curves(path))}
    if not logged:
        return None
    alone = len(runs) == 1
    panels = _grouped(next(iter(logged.values()))) if alone else _shared(logged)
    models = models or {name: name for name in runs}
    names = list(dict.fromkeys(models[name] for name in logged))
    of_models = colours or dict(zip(names, series_colours(len(names)), strict=True))
    colours = {} if alone else {name: of_models[models[name]] for name in logged}
    columns = min(len(panels), _PANELS_A_ROW)
    rows = -(-len(panels) // columns)
    with style():
        figure = new_figure((0.8 if alone else 0.4) + 2.6 * columns, 2.3 * rows + (0 if alone else 0.3))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, curves) in zip(grid, panels.items(), strict=False):
            _draw(axes, title, curves, colours)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[len(panels) - columns : len(panels)]:
            axes.set_xlabel("optimizer steps")
        if not alone:
            handles = [Line2D([], [], color=of_models[name], label=name) for name in names]
            legend_below(figure, handles)
    return figure


def _grouped(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Panel title -> short name of the quantity -> curve, panels in the order in which they should be read."""
    panels: dict[str, dict[str, Curve]] = {}
    for name in sorted(curves, key=_order):
        panels.setdefault(_panel(name), {})[name.split("/", 1)[1]] = curves[name]
    return panels


def _shared(logged: dict[str, dict[str, Curve]]) -> dict[str, dict[str, Curve]]:
    """Quantity -> run -> curve."""
    names = sorted({name for curves in logged.values() for name in curves}, key=_order)
    return {name: {run: curves[name] for run, curves in logged.items() if name in curves} for name in names}


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
    value = finite_number(cell or "")
    return value if value is not None and abs(value) <= _LARGEST else None


def _panel(name: str) -> str:
    stage, quantity = name.split("/", 1)
    if stage == "train":
        return "training loss"
    if quantity.startswith(ERROR_PREFIX):
        return _COPYING
    if "error@" in quantity:
        return "token error"
    if quantity.startswith(_LOSSES):
        return "validation loss"
    return "scores" if quantity in _SCORES else quantity


def _order(name: str) -> tuple[int, str]:
    title = _panel(name)
    return (_TITLES.index(title) if title in _TITLES else len(_TITLES), name)


def _draw(axes: Axes, title: str, curves: dict[str, Curve], colours: dict[str, str]) -> None:
    """Curves in the colours of their runs; without colours each is labelled at its end."""
    axes.set_title(title)
    shown = colours or dict(zip(curves, series_colours(len(curves)), strict=True))
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, color=shown[name], marker="o" if len(steps) < 3 else None, markersize=4)
        shown_P = evenly_spread(np.arange(len(steps)), _HOVER_POINTS)
        texts = [f"{name}: {values[place]:.3g} at step {steps[place]:,g}" for place in shown_P]
        hover_points(axes, steps[shown_P], values[shown_P], texts)
    is_loss = title.startswith("train/") or "loss" in title
    if is_loss and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    if title == _COPYING or ERROR_PREFIX in title:
        axes.axhline(1.0, zorder=1, **REFERENCE)
    axes.margins(x=0.02)
    if not colours and len(curves) > 1:
        ends = [(values[-1], name, shown[name]) for name, (_, values) in curves.items()]
        label_column(axes, 1.01, ends, gap=0.1)
