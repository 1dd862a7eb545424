"""The figure of docs/results/interventions.md: what predictors know of causes, by what was masked in training."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.reporting.style import DASHES, FAINT, legend_below, new_figure, series_colours, style

Scores = Mapping[str, tuple[float, float, float]]
"""Score -> value, low and high."""
_STYLES = ({"linestyle": DASHES, "markerfacecolor": "white"}, {"linestyle": "-"})
_DODGE = 0.07


def masks_figure(series: Mapping[tuple[str, str], Mapping[int, Scores]], scores: Sequence[str]) -> Figure:
    """One panel a score: values and their 95 % intervals, against masked objects.

    Args:
        series: predictor and kind of mask -> largest number of masked objects -> scores; of two predictors.
        scores: of the panels.
    """
    predictors, kinds = (list(dict.fromkeys(names)) for names in zip(*series, strict=True))
    colours = dict(zip(kinds, series_colours(len(kinds)), strict=True))
    with style():
        figure = new_figure(7.4, 3.6)
        for axes, score in zip(figure.subplots(1, len(scores)), scores, strict=True):
            for (predictor, kind), by_number in series.items():
                shift = _DODGE * (kinds.index(kind) - (len(kinds) - 1) / 2)
                look = {"color": colours[kind], **_STYLES[predictors.index(predictor)]}
                _draw_line(axes, {number: found[score] for number, found in by_number.items()}, shift, look)
            axes.set(title=score, xlabel="objects masked in training, at most", xticks=range(4))
            axes.grid(axis="x", visible=False)
        handles = [Line2D([], [], marker="o", color=colour, label=kind) for kind, colour in colours.items()]
        handles += [
            Line2D([], [], marker="o", color=FAINT, label=predictor, **look)
            for predictor, look in zip(predictors, _STYLES, strict=True)
        ]
        legend_below(figure, handles)
    return figure


def _draw_line(axes: Axes, by_number: Mapping[int, tuple[float, float, float]], shift: float, look: dict) -> None:
    """Of one predictor and kind of mask; every interval stands ``shift`` beside its number."""
    numbers = sorted(by_number)
    value, low, high = zip(*(by_number[number] for number in numbers), strict=True)
    below, above = ([abs(v - e) for v, e in zip(value, end, strict=True)] for end in (low, high))
    x = [number + shift for number in numbers]
    axes.errorbar(x, value, yerr=(below, above), marker="o", markersize=4, linewidth=1, elinewidth=1, **look)
