"""Differences to one model, drawn."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cjepa.reporting.comparison import Entry
from cjepa.reporting.style import FAINT, REFERENCE, hover_points, new_figure, style
from cjepa.reporting.tables import difference_text

_MOST_PANELS = 4
_PANEL_WIDTH, _ROW_HEIGHT = 2.7, 0.32


def difference_figure(entries: Sequence[Entry], reference: str, colours: dict[str, str]) -> Figure | None:
    """A panel per metric, a line per model: its difference with the 95 % interval; None without differences.

    Filled points are of the same pairs, hollow ones are unpaired.

    Args:
        entries: of the metrics to show; the first four metrics are drawn.
        reference: what the differences are to.
        colours: by model.
    """
    drawn = [entry for entry in entries if entry.difference is not None]
    metrics = list(dict.fromkeys((entry.metric, entry.split) for entry in drawn))[:_MOST_PANELS]
    if not metrics:
        return None
    drawn = [entry for entry in drawn if (entry.metric, entry.split) in metrics]
    models = list(dict.fromkeys(entry.row["model"] for entry in drawn))
    with style():
        figure = new_figure(1.6 + _PANEL_WIDTH * len(metrics), 1.1 + _ROW_HEIGHT * len(models))
        grid = figure.subplots(1, len(metrics), squeeze=False, sharey=True).ravel()
        for axes, key in zip(grid, metrics, strict=True):
            found = [entry for entry in drawn if (entry.metric, entry.split) == key]
            _panel(axes, found, models, colours)
            axes.set_xlabel(f"minus {reference}")
        grid[0].set_yticks(range(len(models)), models)
        grid[0].set_ylim(len(models) - 0.5, -0.5)
    return figure


def _panel(axes: Axes, entries: Sequence[Entry], models: Sequence[str], colours: dict[str, str]) -> None:
    axes.set_title(entries[0].metric)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))  # labels of small differences are long
    axes.axvline(0.0, zorder=1, **REFERENCE)
    for entry in entries:
        interval, colour = entry.difference.interval, colours.get(entry.row["model"], FAINT)
        low, high = interval.bounds
        reach = None if low is None else [[interval.value - low], [high - interval.value]]
        face = colour if entry.difference.is_paired else "white"
        place = models.index(entry.row["model"])
        axes.errorbar(
            interval.value, place, xerr=reach, fmt="o", color=colour, markerfacecolor=face, markersize=6, elinewidth=1.4
        )
        text = f"{entry.row['model']}: {difference_text(interval)}, {entry.difference.over}"
        hover_points(axes, [interval.value], [place], [text])
