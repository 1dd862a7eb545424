"""Graphs of influence drawn over scenes: the contact graph, estimates of a model, and what its attention says."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.influence_graphs import Pairs
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.reporting.drawings import WIDTH_INCHES
from cjepa.reporting.sheets import body_colours
from cjepa.reporting.style import PALETTE, hover_points, legend_below, new_figure, style

ATTENTION = "attention"
"""The estimate by attention, which is shown whether it is the best or not."""
_TRUE, _WRONG = PALETTE[2], PALETTE[1]
_EDGES = {"in the contact graph": _TRUE, "only estimated": _WRONG}
"""Names of the colours of arrows."""
_PANEL_INCHES = WIDTH_INCHES / 2
_BEND = 0.15
"""Of an arrow, so that two between the same bodies can be told apart."""


def shown_estimates(pairs: Pairs, best: str | None) -> list[str]:
    """The best estimate, and attention where the model has any."""
    names = [best, ATTENTION if ATTENTION in pairs.scores else None]
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


def influences_of(pairs: Pairs, estimate: str, scene: int, bodies: int) -> np.ndarray:
    """An estimate of a scene, ``(O, O)``, NaN where there is none."""
    values_OO, of_N = np.full((bodies, bodies), np.nan), pairs.scene_N == scene
    values_OO[pairs.target_N[of_N], pairs.source_N[of_N]] = pairs.scores[estimate][of_N]
    return values_OO


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
        figure = new_figure(_PANEL_INCHES * max(2, len(scenes)), 0.4 + _PANEL_INCHES * (1 + len(estimates)))
        grid = figure.subplots(1 + len(estimates), max(2, len(scenes)), squeeze=False)
        for axes in grid[:, len(scenes) :].flat:
            axes.set_visible(False)
        for column, scene in zip(grid.T, scenes, strict=False):
            of_N = pairs.scene_N == scene
            edge = np.stack([pairs.source_N[of_N], pairs.target_N[of_N]], axis=1)
            true_N, hops_N = pairs.hops_N[of_N] > 0, pairs.hops_N[of_N]
            texts = [f"{hops} hop{'s' if hops > 1 else ''}" for hops in hops_N[true_N]]
            _draw(column[0], lab, scene, edge[true_N], [_TRUE] * int(true_N.sum()), texts)
            for axes, estimate in zip(column[1:], estimates, strict=True):
                score_N = pairs.scores[estimate][of_N]
                picked_N = np.argsort(-score_N, kind="stable")[: int(true_N.sum())]
                texts = [f"{estimate} {score:.3g}" for score in score_N[picked_N]]
                _draw(axes, lab, scene, edge[picked_N], [_TRUE if hit else _WRONG for hit in true_N[picked_N]], texts)
            episode, start = lab.test.episode_B[scene], lab.test.start_B[scene]
            column[0].set_title(f"episode {episode}, env step {start}", fontsize=8, fontweight="normal")
        for axes, name in zip(grid[:, 0], ["contact graph", *estimates], strict=True):
            axes.set_ylabel(name)
        legend_below(figure, [Line2D([], [], color=colour, label=name) for name, colour in _EDGES.items()])
    return figure


def show_scene(axes: Axes, lab: Laboratory, scene: int) -> np.ndarray:
    """Draw the last frame of a test scene's history, ``(Y, X, 3)``, and return it; the simulator is left there."""
    lab.env.set_state(lab.test.state_BF[scene])
    frame_YXC = lab.env.render_pixels()
    axes.imshow(frame_YXC, interpolation="none")
    return frame_YXC


def scene_colours(lab: Laboratory, scene: int) -> np.ndarray:
    """Colours like those of the bodies of a test scene, ``(O, 3)``."""
    lab.env.set_state(lab.test.state_BF[scene])
    labels_YX, bodies = lab.env.render_labels(), np.arange(1, len(lab.env.body_names) + 1)
    masks_OYX = (labels_YX == bodies[:, None, None]).astype(np.float32)
    return body_colours(lab.env.render_pixels()[None], masks_OYX[None])


def _draw(
    axes: Axes, lab: Laboratory, scene: int, edges: np.ndarray, colours: Sequence[str], texts: Sequence[str]
) -> None:
    """A scene with an arrow from each source to its target."""
    scale = show_scene(axes, lab, scene).shape[1] / lab.env.table[1]
    place_O2 = places(lab.env.objects(), lab.env) * scale - 0.5
    for (source, target), colour in zip(edges, colours, strict=True):
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.3, "connectionstyle": f"arc3,rad={_BEND}"}
        axes.annotate("", place_O2[target], place_O2[source], arrowprops=arrow)
    if len(edges):
        source_N2, target_N2 = place_O2[edges[:, 0]], place_O2[edges[:, 1]]
        apart_N2 = (target_N2 - source_N2) * (1, -1)
        middle_N2 = (source_N2 + target_N2) / 2 + _BEND / 2 * apart_N2[:, ::-1]
        said = [f"body {i} on body {j}, {text}" for (i, j), text in zip(edges, texts, strict=True)]
        hover_points(axes, *middle_N2.T, said)
    axes.set_xticks([])
    axes.set_yticks([])
