"""The look of the figures, and figures as text that an HTML page can hold."""

import io
import re
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
"""Okabe and Ito's colours that read on white and on dark grey, then two more."""
INK = "#24292f"
FAINT = "#8b949e"
GRID = "#d5dae0"
_OF_THE_PAGE = {INK: "var(--ink)", GRID: "var(--grid)", "#ffffff": "var(--paper)"}
"""Colours of figures that a page has its own for, light or dark."""
_HOVER = "hover:"
"""Begins the addresses of points that become texts under the pointer."""
_TITLED = r'<g class="hover"><title>\1</title>\2</g>'
_RASTER_DPI = 200
"""Of the parts of a drawing that are pixels, such as thousands of points."""
DASHES = (0, (5, 3))
REFERENCE = {"color": FAINT, "linewidth": 1.2, "linestyle": DASHES}
"""Of lines that other values are compared with."""

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # names are text, whatever dollar signs they have
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
}


def style() -> matplotlib.rc_context:
    """Context in which figures are made; the caller's own matplotlib settings stay as they are."""
    return matplotlib.rc_context(_RC)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, drawn by Agg: no window, no global state of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def series_colours(count: int) -> list[str]:
    """Colours of that many series; more than the palette has start over."""
    return [PALETTE[index % len(PALETTE)] for index in range(count)]


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend of labelled handles below everything else, in as many columns as the width of the figure allows."""
    longest = max(len(handle.get_label()) for handle in handles)
    entry_inches = 0.55 + 0.085 * longest  # line, gaps, and letters of 8.5 points
    columns = max(1, min(len(handles), int(figure.get_figwidth() / entry_inches)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def plain_log_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis, its limits already set, as plain numbers: one per decade, or at 1, 2 and 5."""
    low, high = axis.get_view_interval()
    subs = (1, 2, 5) if high < 100 * low else (1,)  # more labels than one per decade would touch each other
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def hover_points(axes: Axes, x: Iterable[float], y: Iterable[float], texts: Sequence[str]) -> None:
    """Invisible discs that show a text under the pointer, in the pages that :func:`to_svg` writes for.

    Args:
        axes: with the points that the discs lie on.
        x: of the points, in data coordinates.
        y: of the points.
        texts: one per point.
    """
    addresses = [f"{_HOVER}{text}" for text in texts]
    discs = axes.scatter(list(x), list(y), s=90, alpha=0, linewidth=0, zorder=9, urls=addresses, clip_on=False)
    discs.set_in_layout(False)


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element without any address; ink, grid and background are in the page's colours."""
    return for_page(svg_file(figure))


def svg_file(figure: Figure) -> str:
    """The figure as an SVG file, which shows the texts of :func:`hover_points` in a browser."""
    buffer = io.StringIO()
    with style():
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata, dpi=_RASTER_DPI)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(rf'<a xlink:href="{_HOVER}([^"]*)"[^>]*>(.*?)</a>', _TITLED, text, flags=re.DOTALL)


def for_page(svg: str) -> str:
    """What :func:`svg_file` returns, as part of a page."""
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    for colour, variable in _OF_THE_PAGE.items():
        text = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: {variable}", text)
    # Fixed sizes would overflow a phone, and ids of one figure would shadow those of the next.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="width:\2pt"', text, count=1)
    return re.sub(
        r'<g id="(?:figure|axes|patch|line2d|PathCollection|text|matplotlib|xtick|ytick|legend)[^"]*">', "<g>", text
    )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions as little as a left-to-right sweep can so that neighbours are at least ``gap`` apart."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = [float(p) for p in positions]
    for before, after in zip(order, order[1:], strict=False):
        moved[after] = max(moved[after], moved[before] + gap)
    # Half of the shift goes back, so that a cluster stays centred on where it was.
    drift = sum(moved[i] - positions[i] for i in order) / max(len(order), 1)
    return [value - drift for value in moved]


def label_column(
    axes: Axes, x: float, labels: Sequence[tuple[float, str, str]], in_data: bool = False, gap: float = 0.055
) -> None:
    """Write labels one under the other at their heights, pushed apart where they would overlap.

    Of more than fit beside the axes, the highest are written; the pointer tells the others.

    Args:
        axes: with its limits already set.
        x: where, as a fraction of the axes, or in data coordinates with ``in_data``.
        labels: (y in data coordinates, text, colour).
        in_data: what ``x`` counts.
        gap: smallest distance, as a fraction of the height.
    """
    if (left_out := len(labels) - int(1 / gap)) > 0:
        named = sorted(labels, key=lambda label: label[0], reverse=True)[: -left_out - 1]
        below = np.nextafter(named[-1][0], -np.inf)
        labels = [*named, (below, f"and {left_out + 1} more", INK)]
    inverse = axes.transAxes.inverted()
    heights = [inverse.transform(axes.transData.transform((axes.get_xlim()[0], y)))[1] for y, _, _ in labels]
    transform = axes.get_xaxis_transform() if in_data else axes.transAxes
    for height, (_, text, colour) in zip(spread(heights, gap), labels, strict=True):
        label = axes.text(x, height, text, color=colour, transform=transform, va="center", fontsize=8.5)
        # lines and bands end at the label instead of striking it through
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
