"""Charts of interventions: areas of influence graphs, surprise and influence by time, effects true and predicted."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cjepa.evaluation.agent_influence import InfluenceByTime
from cjepa.evaluation.effects import Effects
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.violations import Surprise, Violations
from cjepa.reporting.style import DASHES, FAINT, PALETTE, new_figure, plain_log_ticks, style
from cjepa.reporting.tables import Row


def influence_areas(rows: Iterable[Row]) -> Figure:
    """AUROC of every estimate with its interval, best first."""
    found = [row for row in rows if row["metric"] == "influence_auroc" and row["value"] is not None]
    found = sorted(found, key=lambda row: -row["value"])
    with style():
        figure = new_figure(6.2, 1.0 + 0.32 * max(1, len(found)))
        axes = figure.subplots()
        axes.axvline(0.5, color=FAINT, linestyle=DASHES, linewidth=1.2)
        for place, row in enumerate(found):
            low, high = (row[key] if row[key] is not None else row["value"] for key in ("low", "high"))
            reach = np.clip([[row["value"] - low], [high - row["value"]]], 0, None)
            axes.errorbar(row["value"], place, xerr=reach, fmt="o", color=PALETTE[0], elinewidth=1.4)
        axes.set_yticks(range(len(found)), [row["model"] for row in found])
        axes.set_ylim(max(1, len(found)) - 0.5, -0.5)
        axes.set_xlabel("AUROC against the contact graph, 95 % interval; dashed: chance")
        axes.grid(axis="y", visible=False)
    return figure


def surprise_by_time(found: Violations) -> Figure:
    """Mean surprise by blocks since the event, with its 95 % interval, on logarithmic scales: tokens, places."""
    with style():
        figure = new_figure(8.6, 3.2)
        for axes, part in zip(figure.subplots(1, 2), Surprise._fields, strict=True):
            axes.axvline(0, color=FAINT, linewidth=1.2)
            for colour, (event, of_event) in zip(PALETTE, found.surprise.items(), strict=False):
                surprise_NT = getattr(of_event, part)
                since_T = np.arange(surprise_NT.shape[1]) - found.event
                _mean_line(axes, since_T, surprise_NT, found.episode_N, colour, event)
            axes.set_title(part.removesuffix("_NT"))
            axes.set_yscale("log")
            plain_log_ticks(axes.yaxis)
            axes.set_xlabel("blocks since the event")
            axes.set_ylabel("surprise, mean squared error")
        axes.legend()
    return figure


def influence_by_contact(found: InfluenceByTime) -> Figure:
    """Mean influence between agent and other body by time since their first contact, with its 95 % interval.

    Scenes without contact are averaged over all blocks and drawn as dashed lines.
    """
    touched_M = found.touched_MH.any(axis=1)
    since_MH = np.arange(found.touched_MH.shape[1]) - found.touched_MH.argmax(axis=1)[:, None]
    with style():
        figure = new_figure(5.4, 3.2)
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
        axes.set_xlabel("blocks since the first contact; dashed: scenes without contact")
        axes.set_ylabel(f"influence, {found.name}")
        axes.legend()
    return figure


def effect_sizes(effects: Sequence[Effects]) -> Figure:
    """True against predicted size of the effect on each other body, a panel for each way of intervening."""
    with style():
        figure = new_figure(2.6 * max(1, len(effects)), 2.8)
        for axes, one in zip(figure.subplots(1, max(1, len(effects)), squeeze=False)[0], effects, strict=False):
            true_N, predicted_N = (
                np.linalg.norm(values, axis=1) for values in (one.true_effects, one.predicted_effects)
            )
            most = max(float(true_N.max(initial=1.0)), float(predicted_N.max(initial=1.0)))
            axes.plot([0, most], [0, most], color=FAINT, linestyle=DASHES, linewidth=1.2)
            axes.scatter(true_N, predicted_N, s=8, color=PALETTE[0], alpha=0.5, linewidth=0)
            axes.set_title(one.way, fontsize=9)
            axes.set_xlabel("true effect, units")
            axes.set_ylabel("predicted effect, units")
    return figure


def _mean_line(
    axes: Axes, x_T: np.ndarray, values_NT: np.ndarray, episode_N: np.ndarray, colour: str, label: str
) -> None:
    """Means over rows, NaN left out, with their intervals over episodes."""
    means = [
        bootstrap_of_clusters(column_N[known_N], episode_N[known_N])
        for column_N, known_N in zip(values_NT.T, ~np.isnan(values_NT.T), strict=True)
    ]
    axes.plot(x_T, [mean.value for mean in means], color=colour, label=label, marker="o")
    axes.fill_between(x_T, [mean.low for mean in means], [mean.high for mean in means], color=colour, alpha=0.2, lw=0)
