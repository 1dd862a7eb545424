"""What the pictures of interventions say in words."""

from types import SimpleNamespace

import numpy as np
from matplotlib.colors import to_rgba

from cjepa.envs import make_env
from cjepa.reporting.intervene_figures import scene_graphs


def test_a_legend_names_the_colours_of_the_arrows():
    """Two scenes of three bodies; in the first one the strongest estimate is right, in the second it is wrong."""
    env = make_env("cjepa/Collide-v0", {})
    env.reset(seed=0)
    states = np.stack([env.get_state()] * 2)
    pairs = SimpleNamespace(
        scene_N=np.array([0, 0, 1, 1]),
        source_N=np.array([0, 1, 0, 1]),
        target_N=np.array([1, 0, 1, 0]),
        hops_N=np.array([1, 0, 0, 1]),
        scores={"mask": np.array([0.9, 0.1, 0.9, 0.1])},
    )
    test = SimpleNamespace(episode_B=np.array([3, 4]), start_B=np.array([5, 6]), state_BF=states)
    figure = scene_graphs(SimpleNamespace(pairs=pairs, lab=SimpleNamespace(test=test, env=env), best="mask"))
    (legend,) = figure.legends
    names = dict(zip([text.get_text() for text in legend.get_texts()], legend.get_lines(), strict=True))
    true, wrong = (line.get_color() for line in names.values())
    assert list(names) == ["influence, by the contact graph", "estimated, but not in the contact graph"]
    drawn = [[text.arrow_patch.get_edgecolor() for text in axes.texts] for axes in figure.axes]
    assert drawn == [[to_rgba(true)], [to_rgba(true)], [to_rgba(true)], [to_rgba(wrong)]]
