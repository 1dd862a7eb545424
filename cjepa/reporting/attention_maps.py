"""What the layers of a transformer attend to in a scene, as matrices of bodies.

File letters: K layers, P bodies that slots show.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.interventions.influence import attention_by_layer
from cjepa.reporting.drawings import WIDTH_INCHES
from cjepa.reporting.scene_graphs import scene_colours, show_scene
from cjepa.reporting.style import INK, PALETTE, hover_points, new_figure, style
from cjepa.tokenizers.encode import device_of
from cjepa.world_models.dynamics import take_rows

_COLUMNS = 3


def attention_maps(lab: Laboratory, scene: int, rollout_OO: np.ndarray) -> Figure:
    """The scene, the attention of every layer between its bodies, and the rollout over layers.

    Row: whose next block is predicted; column: whose past it takes from. The darkest cell of a matrix is its largest;
    the texts under the pointer have the shares.

    Args:
        lab: of a model with attention.
        scene: index of a test scene.
        rollout_OO: the estimate ``attention`` of its bodies, NaN where there is none.
    """
    clip = take_rows(lab.test.clip, slice(scene, scene + 1)).on(device_of(lab.dynamics))
    attended_KSS = attention_by_layer(lab.dynamics, clip)[0].cpu().numpy()
    slot_O = lab.test.slot_BO[scene]
    body_P = np.flatnonzero(slot_O >= 0)
    shown = slot_O[body_P]
    matrices = {f"layer {number}": layer[np.ix_(shown, shown)] for number, layer in enumerate(attended_KSS, start=1)}
    matrices["rollout"] = rollout_OO[np.ix_(body_P, body_P)]
    rows = -(-(1 + len(matrices)) // _COLUMNS)
    with style():
        figure = new_figure(WIDTH_INCHES, 0.3 + 1.35 * rows)
        axes_of = figure.subplots(rows, _COLUMNS, squeeze=False).flat
        for axes in axes_of:
            axes.set_axis_off()
        show_scene(axes_of[0], lab, scene)
        colours = scene_colours(lab, scene)[body_P] / 255
        for number, (title, values) in enumerate(matrices.items(), start=1):
            _matrix(axes_of[number], title, values, colours, body_P)
        axes_of[0].set_title(f"episode {lab.test.episode_B[scene]}", fontsize=8)
    return figure


def _matrix(axes: Axes, title: str, values: np.ndarray, colours: np.ndarray, bodies: Sequence[int]) -> None:
    """Cells, with the colours of the bodies above and on the left."""
    count, places = len(bodies), np.arange(len(bodies))
    most = np.nanmax(values, initial=0) or 1
    faces = np.array([(*to_rgb(PALETTE[0]), share) for share in (np.nan_to_num(values) / most).clip(0, 1).ravel()])
    cells = axes.pcolormesh(np.zeros((count, count)), edgecolor="none")
    cells.set_array(None)
    cells.set_facecolor(faces)
    axes.plot([0, count, count, 0, 0], [0, 0, count, count, 0], color=INK, linewidth=0.6)
    for x, y in ((places + 0.5, np.full(count, -0.5)), (np.full(count, -0.5), places + 0.5)):
        axes.scatter(x, y, c=colours, s=18, marker="s", linewidth=0)
    known = ~np.isnan(values)
    rows, columns = known.nonzero()
    texts = [
        f"{title}: body {bodies[i]} from body {bodies[j]}, {values[i, j]:.3f}"
        for i, j in zip(rows, columns, strict=True)
    ]
    hover_points(axes, columns + 0.5, rows + 0.5, texts)
    axes.set(xlim=(-1, count), ylim=(count, -1), aspect="equal")
    axes.set_title(title, fontsize=8)
