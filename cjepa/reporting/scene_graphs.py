"""Graphs of influence drawn over scenes: the contact graph, estimates of a model, and what its attention says."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.evaluation.bodies import places
from cjepa.evaluation.influence_graphs import Pairs
from cjepa.evaluation.laboratory import Laboratory
from cjepa.reporting.style import PALETTE, legend_below, new_figure, style

_ATTENTION = "attention"
"""The estimate by attention, which is shown whether it is the best or not."""
_TRUE, _WRONG = PALETTE[2], PALETTE[1]
_EDGES = {"influence, by the contact graph": _TRUE, "estimated, but not in the contact graph": _WRONG}
"""Names of the colours of arrows."""


def shown_estimates(pairs: Pairs, best: str | None) -> list[str]:
    """The best estimate, and attention where the model has any."""
    names = [best, _ATTENTION if _ATTENTION in pairs.scores else None]
    return [name for name in dict.fromkeys(names) if name is not None]


def busiest_scenes(pairs: Pairs, scenes: int) -> np.ndarray:
    """All scenes by index, those with most edges in the contact graph first.

    Args:
        pairs: of the scenes.
        scenes: their number.
    """
    return np.argsort(-np.bincount(pairs.scene_N, pairs.hops_N > 0, scenes), kind="stable")


def worst_scenes(pairs: Pairs, estimate: str) -> np.ndarray:
    """Scenes by index in which an estimate is wrong, the worst first.

    It is wrong where a pair with influence has no higher score than a pair without; the worst scene has the largest
    share of such couples, and of equal scenes the most pairs.
    """
    wrong = {}
    for scene in np.unique(pairs.scene_N):
        of_N = pairs.scene_N == scene
        true_N, score_N = pairs.hops_N[of_N] > 0, pairs.scores[estimate][of_N]
        if 0 < true_N.sum() < len(true_N):
            share = (score_N[true_N][:, None] <= score_N[~true_N]).mean()
            wrong[int(scene)] = (share, len(true_N))
    found = [scene for scene, (share, _) in wrong.items() if share > 0]
    return np.array(sorted(found, key=wrong.get, reverse=True), dtype=int)


def scene_graphs(lab: Laboratory, pairs: Pairs, estimates: Sequence[str], scenes: Sequence[int]) -> Figure:
    """A column per scene: the contact graph over the scene, and below it every estimate.

    As many estimated edges are drawn as there are true ones, the strongest. The legend says which colour is which.

    Args:
        lab: the simulator, with its test scenes.
        pairs: of the test scenes.
        estimates: names of scores of the pairs.
        scenes: indices of test scenes, at least one.
    """
    with style():
        figure = new_figure(max(4.4, 2.5 * len(scenes)), 0.4 + 2.5 * (1 + len(estimates)))
        grid = figure.subplots(1 + len(estimates), len(scenes), squeeze=False)
        for column, scene in zip(grid.T, scenes, strict=True):
            of_N = pairs.scene_N == scene
            edge = np.stack([pairs.source_N[of_N], pairs.target_N[of_N]], axis=1)
            true_N = pairs.hops_N[of_N] > 0
            lab.env.set_state(lab.test.state_BF[scene])
            _draw(column[0], lab, edge[true_N], [_TRUE] * int(true_N.sum()))
            for axes, estimate in zip(column[1:], estimates, strict=True):
                picked_N = np.argsort(-pairs.scores[estimate][of_N], kind="stable")[: int(true_N.sum())]
                _draw(axes, lab, edge[picked_N], [_TRUE if hit else _WRONG for hit in true_N[picked_N]])
            episode, start = lab.test.episode_B[scene], lab.test.start_B[scene]
            column[0].set_title(f"episode {episode}, env step {start}", fontsize=8)
        for axes, name in zip(grid[:, 0], ["contact graph", *estimates], strict=True):
            axes.set_ylabel(name)
        legend_below(figure, [Line2D([], [], color=colour, label=name) for name, colour in _EDGES.items()])
    return figure


def _draw(axes: Axes, lab: Laboratory, edges: np.ndarray, colours: Sequence[str]) -> None:
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
