"""A sweep as one HTML file, with its cells in parallel coordinates."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cjepa.reporting.page import render, svg
from cjepa.reporting.pivot import plain_table
from cjepa.reporting.records import versions
from cjepa.reporting.style import FAINT, INK, PALETTE, hover_points, new_figure, style
from cjepa.reporting.sweep import Score, Target, score_table, short_names, value_text, verdict

_LOG_SPAN = 20.0
"""Highest over lowest value from which an axis is logarithmic."""
_TICKS = 5
_LEAST_GAP = 0.045
"""Between the texts of an axis: closer ones would overlap."""
_BEST_TO_WORST = LinearSegmentedColormap.from_list("best to worst", [PALETTE[0], PALETTE[4]])


class _Scale(NamedTuple):
    """Where values lie on an axis from 0 to 1."""

    places: list[float]
    """Of the values of all cells."""
    ticks: list[tuple[float, str]]


def sweep_page(name: str, scores: Sequence[Score], target: Target, command: str, notes: Sequence[str]) -> str:
    """The page, as text.

    Args:
        name: of the sweep.
        scores: best first, at least one.
        target: what they are ranked by.
        command: that made it.
        notes: on cells that are missing.
    """
    return render(
        "sweep.html.j2",
        title=name,
        description=command,
        facts=[("Cells", str(len(scores))), ("Chosen by", f"{target.metric}, validation episodes")],
        summary=[f"{line[0].upper()}{line[1:]}." for line in (*verdict(scores, target), *notes)],
        results=plain_table(score_table(scores, target)),
        coordinates=svg(parallel_coordinates(scores, target)),
        versions=versions(),
    )


def parallel_coordinates(scores: Sequence[Score], target: Target) -> Figure:
    """One vertical axis per option and one for the result; one line per cell, blue for good ones, the best on top.

    Args:
        scores: best first, at least one.
        target: what they are ranked by.
    """
    names = short_names(scores[0].values)
    scales = [_scale([score.values[key] for score in scores]) for key in names]
    scales.append(_scale([score.interval.value for score in scores]))
    with style():
        figure = new_figure(1.2 + 1.7 * len(scales), 3.6)
        axes = figure.subplots()
        axes.set(xlim=(-0.2, len(scales) - 0.6), ylim=(-0.04, 1.04), yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(scales)), [*names.values(), f"{target.metric} (val)"])
        for place, scale in enumerate(scales):
            _axis(axes, place, scale)
        for rank in reversed(range(len(scores))):
            heights = [scale.places[rank] for scale in scales]
            shade = 0.0 if len(scores) == 1 else rank / (len(scores) - 1)
            look = {"color": _BEST_TO_WORST(shade), "linewidth": 2.6 if rank == 0 else 1.2}
            axes.plot(range(len(scales)), heights, marker="o", markersize=3.5, **look)
            hover_points(axes, range(len(scales)), heights, [_text(scores[rank], names, target)] * len(scales))
    return figure


def _text(score: Score, names: dict[str, str], target: Target) -> str:
    """A cell in words: its options and its result."""
    options = [f"{name} {value_text(score.values[key])}" for key, name in names.items()]
    return f"{', '.join(options)}: {target.metric} {score.interval.value:.3g}"


def _axis(axes: Axes, place: int, scale: _Scale) -> None:
    axes.plot([place, place], [0, 1], color=FAINT, linewidth=1.0, zorder=1)
    for height, text in _apart(scale.ticks):
        axes.text(place + 0.06, height, text, color=INK, fontsize=8, va="center", zorder=5).set_bbox(
            {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
        )


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks, given in rising order, whose texts do not overlap; the lowest and the highest stay."""
    kept = ticks[:1]
    for tick in ticks[1:-1]:
        if min(tick[0] - kept[-1][0], ticks[-1][0] - tick[0]) >= _LEAST_GAP:
            kept.append(tick)
    return kept + ticks[1:][-1:]


def _scale(values: Sequence[Any]) -> _Scale:
    """Numbers at their height, logarithmic where they span a lot; everything else at equal distances."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        names = list(dict.fromkeys(map(value_text, values)))
        heights = {name: _share(place, 0, len(names) - 1) for place, name in enumerate(names)}
        return _Scale([heights[value_text(value)] for value in values], [(y, name) for name, y in heights.items()])
    low, high = min(values), max(values)
    is_log = low > 0 and high > _LOG_SPAN * low
    of = math.log if is_log else float
    places = [_share(of(value), of(low), of(high)) for value in values]
    shown = sorted(set(values))
    if len(shown) > _TICKS:
        steps = [step / (_TICKS - 1) for step in range(_TICKS)]
        shown = [low * (high / low) ** step if is_log else low + (high - low) * step for step in steps]
    return _Scale(places, [(_share(of(value), of(low), of(high)), f"{value:.3g}") for value in shown])


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)
