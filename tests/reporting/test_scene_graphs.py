"""Graphs over scenes: which scenes, which estimates, and what the colours say."""

from types import SimpleNamespace

import numpy as np
from matplotlib.colors import to_rgba

from cjepa.envs import make_env
from cjepa.reporting.scene_graphs import busiest_scenes, scene_graphs, shown_estimates, worst_scenes
from cjepa.reporting.style import to_svg
from tests.reporting.drawn import assert_nothing_is_cut


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
    figure = scene_graphs(SimpleNamespace(test=test, env=env), pairs, ["mask"], [0, 1])
    (legend,) = figure.legends
    names = dict(zip([text.get_text() for text in legend.get_texts()], legend.get_lines(), strict=True))
    true, wrong = (line.get_color() for line in names.values())
    assert list(names) == ["in the contact graph", "only estimated"]
    drawn = [[text.arrow_patch.get_edgecolor() for text in axes.texts] for axes in figure.axes]
    assert drawn == [[to_rgba(true)], [to_rgba(true)], [to_rgba(true)], [to_rgba(wrong)]]
    page = to_svg(figure)
    assert "<title>body 0 on body 1, 1 hop</title>" in page and "<title>body 0 on body 1, mask 0.9</title>" in page
    assert_nothing_is_cut(figure)


def pairs_of(*scenes: tuple[list[int], list[float]]) -> SimpleNamespace:
    """Pairs of scenes, each with the hops and the scores of its pairs."""
    scene_N = np.concatenate([np.full(len(hops), number) for number, (hops, _) in enumerate(scenes)])
    hops_N, score_N = (np.concatenate([np.array(scene[part]) for scene in scenes]) for part in (0, 1))
    return SimpleNamespace(scene_N=scene_N, hops_N=hops_N, scores={"mask": score_N})


def test_scenes_are_chosen_by_edges_and_by_errors():
    """Scene 0 is right, 1 is wrong in one of two couples, 2 in all, 3 has no pair without influence."""
    pairs = pairs_of(([1, 0], [0.9, 0.1]), ([1, 0, 0], [0.5, 0.9, 0.1]), ([0, 2], [0.7, 0.7]), ([1, 1], [0.1, 0.2]))
    assert busiest_scenes(pairs, 5).tolist() == [3, 0, 1, 2, 4]
    assert worst_scenes(pairs, "mask").tolist() == [2, 1]


def test_attention_is_shown_beside_the_best_estimate():
    pairs = SimpleNamespace(scores={"mask_moved": None, "attention": None})
    assert shown_estimates(pairs, "mask_moved") == ["mask_moved", "attention"]
    assert shown_estimates(pairs, "attention") == ["attention"]
    assert shown_estimates(SimpleNamespace(scores={"distance": None}), None) == []
