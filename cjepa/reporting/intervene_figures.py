"""Pictures of interventions: areas of influence graphs, graphs drawn over scenes, effects true and predicted."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.evaluation.agent_influence import InfluenceByTime
from cjepa.evaluation.counterfactuals import Effects
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.intervention_card import InterventionResult
from cjepa.evaluation.scenes import places
from cjepa.evaluation.violations import Violations
from cjepa.reporting.style import DASHES, FAINT, PALETTE, legend_below, new_figure, style
from cjepa.reporting.tables import Row

_SCENES = 4
_TRUE, _WRONG = PALETTE[2], PALETTE[1]
_EDGES = {"influence, by the contact graph": _TRUE, "estimated, but not in the contact graph": _WRONG}
"""Names of the colours of arrows."""


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


def scene_graphs(result: InterventionResult) -> Figure:
    """The contact graph beside the estimate that is best on validation scenes, over the scenes with most edges.

    As many estimated edges are drawn as there are true ones, the strongest. The legend says which colour is which.
    """
    pairs, lab = result.pairs, result.lab
    edges_B = np.bincount(pairs.scene_N, pairs.hops_N > 0, len(lab.test.episode_B))
    scenes = np.argsort(-edges_B, kind="stable")[:_SCENES]
    with style():
        figure = new_figure(2.5 * max(1, len(scenes)), 5.4)
        grid = figure.subplots(2, max(1, len(scenes)), squeeze=False)
        for column, scene in zip(grid.T, scenes, strict=True):
            of_N = pairs.scene_N == scene
            edge = np.stack([pairs.source_N[of_N], pairs.target_N[of_N]], axis=1)
            true_N = pairs.hops_N[of_N] > 0
            picked_N = np.zeros(len(true_N), bool)
            if result.best is not None:
                picked_N[np.argsort(-pairs.scores[result.best][of_N], kind="stable")[: int(true_N.sum())]] = True
            lab.env.set_state(lab.test.state_BF[scene])
            _draw(column[0], lab, edge[true_N], [_TRUE] * int(true_N.sum()))
            _draw(column[1], lab, edge[picked_N], [_TRUE if hit else _WRONG for hit in true_N[picked_N]])
            episode, start = lab.test.episode_B[scene], lab.test.start_B[scene]
            column[0].set_title(f"episode {episode}, env step {start}", fontsize=8)
        grid[0, 0].set_ylabel("contact graph")
        grid[1, 0].set_ylabel(result.best or "no estimate")
        legend_below(figure, [Line2D([], [], color=colour, label=name) for name, colour in _EDGES.items()])
    return figure


def surprise_by_time(found: Violations) -> Figure:
    """Mean surprise by blocks since the event, with its 95 % interval, on a logarithmic scale."""
    with style():
        figure = new_figure(5.4, 3.2)
        axes = figure.subplots()
        axes.axvline(0, color=FAINT, linewidth=1.2)
        for colour, (event, surprise_NT) in zip(PALETTE, found.surprise_NT.items(), strict=False):
            since_T = np.arange(surprise_NT.shape[1]) - found.event
            _mean_line(axes, since_T, surprise_NT, found.episode_N, colour, event)
        axes.set_yscale("log")
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


def _draw(axes: Axes, lab, edges: np.ndarray, colours: Sequence[str]) -> None:
    """The present scene of the simulator with an arrow from each source to its target."""
    pixels_YXC = lab.env.render_pixels()
    scale = pixels_YXC.shape[1] / lab.env.table[1]
    place_O2 = places(lab.env.objects(), lab.env) * scale - 0.5
    axes.imshow(pixels_YXC)
    for (source, target), colour in zip(edges, colours, strict=True):
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.3, "connectionstyle": "arc3,rad=0.15"}
        axes.annotate("", place_O2[target], place_O2[source], arrowprops=arrow)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
