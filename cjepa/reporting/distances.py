"""Success at several distances of goals: names of the rows, a sentence and a figure."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.reporting.figures import ERRORBAR, model_colours, reach
from cjepa.reporting.style import hover_points, legend_below, new_figure, style
from cjepa.reporting.tables import Row, by_model, success_text

DISTANCE = "goal_env_steps"
"""Key of rows that are of one of several distances: env steps from start to goal."""


def named_by_distance(rows: Iterable[Row]) -> list[Row]:
    """Rows of several distances with the distance in the model's name, so that no table takes them for one."""
    return [row | {"model": f"{row['model']}, goal +{row[DISTANCE]:g}"} if row.get(DISTANCE) else row for row in rows]


def of_one_distance(rows: Iterable[Row]) -> list[Row]:
    """The rows that are not of several distances."""
    return [row for row in rows if not row.get(DISTANCE)]


def distances_sentence(rows: Iterable[Row]) -> str:
    """``a reaches goals 25, 50 env steps ahead in 92, 60 [45, 73] %``; empty without several distances."""
    texts = []
    for model, points in _success(rows).items():
        steps = ", ".join(f"{distance:g}" for distance in points)
        success = ", ".join(map(success_text, points.values()))
        texts.append(f"{model} reaches goals {steps} env steps ahead in {success} %")
    return f"{'; '.join(texts)}." if texts else ""


def success_by_distance(rows: Iterable[Row]) -> Figure | None:
    """Success against the distance of goals, one line a model."""
    rows = list(rows)
    lines = _success(rows)
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


def _success(rows: Iterable[Row]) -> dict[str, dict[float, Row]]:
    """Success of each model at each distance, in ascending order."""
    rows = [row for row in rows if row.get(DISTANCE)]
    lines: dict[str, dict[float, Row]] = {}
    for distance in sorted({row[DISTANCE] for row in rows}):
        for model, row in by_model((row for row in rows if row[DISTANCE] == distance), "success").items():
            lines.setdefault(model, {})[distance] = row
    return lines
