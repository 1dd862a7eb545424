"""Charts of interventions: areas of influence graphs, surprise and influence by time, effects true and predicted."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.interventions.agent_influence import InfluenceByTime
from cjepa.evaluation.interventions.effects import Effects
from cjepa.evaluation.interventions.violations import Surprise, Violations
from cjepa.reporting.drawings import WIDTH_INCHES
from cjepa.reporting.figures import ERRORBAR, reach
from cjepa.reporting.style import (
    DASHES,
    FAINT,
    PALETTE,
    REFERENCE,
    hover_points,
    legend_below,
    new_figure,
    plain_log_ticks,
    style,
)
from cjepa.reporting.tables import Row, value_with_interval

_BINS = 8
"""Of true effects, as many in each, whose predictions are averaged."""


def influence_areas(rows: Iterable[Row]) -> Figure:
    """AUROC of every estimate with its interval, best first; rivals, which need no model, in grey."""
    found = [row for row in rows if row["metric"] == "influence_auroc" and row["value"] is not None]
    found = [row for row in found if not (row["unit"] or "").startswith("by ")]  # the best estimate, once more
    found = sorted(found, key=lambda row: -row["value"])
    with style():
        figure = new_figure(WIDTH_INCHES, 1.0 + 0.26 * max(1, len(found)))
        axes = figure.subplots()
        axes.axvline(0.5, **REFERENCE)
        names = [row["model"].rpartition(": ")[2] for row in found]
        for place, (row, name) in enumerate(zip(found, names, strict=True)):
            colour = PALETTE[0] if name != row["model"] else FAINT
            axes.errorbar(row["value"], place, xerr=reach(row), fmt="o", color=colour, **ERRORBAR)
        texts = [f"{name}: {value_with_interval(row)}" for row, name in zip(found, names, strict=True)]
        hover_points(axes, [row["value"] for row in found], range(len(found)), texts)
        axes.set_yticks(range(len(found)), names)
        axes.set_ylim(max(1, len(found)) - 0.5, -0.5)
        axes.set_xlabel("AUROC, 95 % interval\n(grey: no model needed; dashed: chance)")
        axes.grid(axis="y", visible=False)
    return figure


def surprise_by_time(found: Violations) -> Figure:
    """Mean surprise by blocks since the event, with its 95 % interval, on logarithmic scales: tokens, places."""
    with style():
        figure = new_figure(WIDTH_INCHES, 4.6)
        panels = figure.subplots(2, 1, sharex=True)
        for axes, part in zip(panels, Surprise._fields, strict=True):
            axes.axvline(0, color=FAINT, linewidth=1.2)
            axes.set_yscale("log")
            for colour, (event, of_event) in zip(PALETTE, found.surprise.items(), strict=False):
                surprise_NT = getattr(of_event, part)
                since_T = np.arange(surprise_NT.shape[1]) - found.event
                _mean_line(axes, since_T, surprise_NT, found.episode_N, colour, event)
            plain_log_ticks(axes.yaxis)
            axes.set_title(part.removesuffix("_NT"))
            axes.set_ylabel("surprise")
        panels[-1].set_xlabel("blocks since the event; bands: 95 % intervals")
        legend_below(figure, _handles(found.surprise))
    return figure


def influence_by_contact(found: InfluenceByTime) -> Figure:
    """Mean influence between agent and other body by time since their first contact, with its 95 % interval.

    Scenes without contact are averaged over all blocks and drawn as dashed lines.
    """
    touched_M = found.touched_MH.any(axis=1)
    since_MH = np.arange(found.touched_MH.shape[1]) - found.touched_MH.argmax(axis=1)[:, None]
    with style():
        figure = new_figure(WIDTH_INCHES, 3.0)
        axes = figure.subplots()
        axes.axvline(0, color=FAINT, linewidth=1.2)
        directions = {"agent on the other body": found.acts_MH, "other body on the agent": found.reacts_MH}
        for colour, (label, influence_MH) in zip(PALETTE, directions.items(), strict=False):
            blocks = np.unique(since_MH[touched_M])
            aligned = [np.where(since_MH == block, influence_MH, 0).sum(axis=1) for block in blocks]
            seen = [(since_MH == block).any(axis=1) & touched_M for block in blocks]
            if len(blocks):
                by_block = np.where(np.stack(seen, axis=1), np.stack(aligned, axis=1), np.nan)
                _mean_line(axes, blocks, by_block, found.episode_M, colour, label)
            if not touched_M.all():
                axes.axhline(influence_MH[~touched_M].mean(), color=colour, linestyle=DASHES, linewidth=1.2)
        axes.set_xlabel("blocks since the first contact\n(dashed: scenes without; bands: 95 % intervals)")
        axes.set_ylabel(f"influence, {found.name}")
        legend_below(figure, _handles(directions))
    return figure


def effect_sizes(effects: Sequence[Effects]) -> Figure:
    """True against predicted size of the effect on each other body, a panel for each way of intervening.

    Dots are bodies; the line joins the means of eight groups of bodies, by how large the true effect is.
    """
    rows = max(1, -(-len(effects) // 2))
    with style():
        figure = new_figure(WIDTH_INCHES, 0.4 + 1.65 * rows)
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes in grid.flat[len(effects) :]:
            axes.set_visible(False)
        for axes, one in zip(grid.flat, effects, strict=False):
            true_N, predicted_N = (
                np.linalg.norm(values, axis=1) for values in (one.true_effects, one.predicted_effects)
            )
            most = max(float(true_N.max(initial=1.0)), float(predicted_N.max(initial=1.0)))
            axes.plot([0, most], [0, most], **REFERENCE)
            axes.scatter(true_N, predicted_N, s=5, color=PALETTE[0], alpha=0.35, linewidth=0, rasterized=True)
            _means_by_size(axes, true_N, predicted_N, one.episode_N)
            axes.set_title(one.way, fontsize=9)
        figure.supxlabel("true effect, units", fontsize=9)
        figure.supylabel("predicted effect, units", fontsize=9)
    return figure


def _means_by_size(axes: Axes, true_N: np.ndarray, predicted_N: np.ndarray, episode_N: np.ndarray) -> None:
    groups = [group for group in np.array_split(np.argsort(true_N, kind="stable"), _BINS) if len(group)]
    at = [float(true_N[group].mean()) for group in groups]
    means = [bootstrap_of_clusters(predicted_N[group], episode_N[group]) for group in groups]
    axes.plot(at, [mean.value for mean in means], "o-", color=PALETTE[1], markersize=3, linewidth=1.2)
    texts = [
        f"true {place:.1f}: predicted {mean.value:.1f} [{mean.low:.1f}, {mean.high:.1f}] (n = {len(group)})"
        for place, mean, group in zip(at, means, groups, strict=True)
    ]
    hover_points(axes, at, [mean.value for mean in means], texts)


def _handles(names: Iterable[str]) -> list[Line2D]:
    """Of the legend of lines in the order of the palette."""
    return [
        Line2D([], [], color=colour, marker="o", markersize=4, label=name)
        for colour, name in zip(PALETTE, names, strict=False)
    ]


def _mean_line(
    axes: Axes, x_T: np.ndarray, values_NT: np.ndarray, episode_N: np.ndarray, colour: str, label: str
) -> None:
    """Means over rows, NaN left out, with their intervals over episodes."""
    means = [
        bootstrap_of_clusters(column_N[known_N], episode_N[known_N])
        for column_N, known_N in zip(values_NT.T, ~np.isnan(values_NT.T), strict=True)
    ]
    values = [mean.value for mean in means]
    axes.plot(x_T, values, color=colour, marker="o", markersize=4)
    axes.fill_between(x_T, [mean.low for mean in means], [mean.high for mean in means], color=colour, alpha=0.2, lw=0)
    texts = [
        f"{label}, {x:+d} blocks: {mean.value:.3g} [{mean.low:.3g}, {mean.high:.3g}]"
        for x, mean in zip(x_T, means, strict=True)
    ]
    hover_points(axes, x_T, values, texts)
