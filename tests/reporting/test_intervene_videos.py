"""Scenes as videos: what is in which panel, of a model that is the simulator."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cjepa.evaluation.interventions.card import place_of
from cjepa.reporting import intervene_videos
from cjepa.reporting.intervene_videos import matrix_picture, scene_panels, write_scene_videos
from cjepa.reporting.videos import video_size
from tests.evaluation.simulated import laboratory


@pytest.fixture(scope="module")
def result(collide_table_path) -> SimpleNamespace:
    lab = laboratory(collide_table_path)
    shown_BO = lab.test.slot_BO >= 0
    scene_N, target_N, source_N = (shown_BO[:, :, None] & shown_BO[:, None] & ~np.eye(6, dtype=bool)).nonzero()
    hops_N = lab.test.hops_BOO[scene_N, target_N, source_N]
    pairs = SimpleNamespace(
        scene_N=scene_N, target_N=target_N, source_N=source_N, hops_N=hops_N, scores={"one": 1.0 * (hops_N > 0)}
    )
    return SimpleNamespace(lab=lab, place=place_of(lab), pairs=pairs, best="one")


def test_a_matrix_by_hand():
    colours = np.array([[200, 0, 0], [0, 200, 0]])
    picture = matrix_picture(np.array([[np.nan, 4.0], [0.0, np.nan]]), colours, 10)
    assert picture.shape == (10, 10, 3) and (picture[9] == 255).all()  # cells of 3 x 3 leave a pixel
    assert picture[0, 3].tolist() == picture[3, 0].tolist() == [200, 0, 0]
    assert picture[3, 6].tolist() == [30, 60, 110] and picture[6, 3].tolist() == [255, 255, 255]
    assert picture[3, 3].tolist() == picture[6, 6].tolist() == [225, 225, 225]
    assert (matrix_picture(np.full((2, 2), np.nan), colours, 9)[3:, 3:] == 225).all()


def test_panels_of_the_scene_with_most_edges(result):
    lab = result.lab
    edges = (lab.test.hops_BOO > 0).sum(axis=(1, 2))
    scene = int(edges.argmax())
    body = int((lab.test.hops_BOO[scene] > 0).sum(axis=0).argmax())
    panels = scene_panels(result, scene)
    assert [*panels] == [
        "true",
        "predicted",
        f"true, body {body} removed",
        f"predicted, body {body} removed",
        "contact graph",
        "one",
    ]
    true, predicted, without = (panels[name] for name in [*panels][:3])
    assert true.shape == predicted.shape == without.shape == (9, 64, 64, 3)
    lab.env.set_state(lab.test.state_BF[scene])
    assert np.array_equal(true[0], lab.env.render_pixels()) and not np.array_equal(without[0], true[0])
    assert np.array_equal(panels["contact graph"], panels["one"])


def test_places_are_marked_where_there_is_no_decoder(result, monkeypatch):
    """The model is the simulator: its marks are where the bodies are; a removed body has none."""
    marked = []
    monkeypatch.setattr(intervene_videos, "mark_places", lambda frames, places, _: marked.append(places) or frames)
    lab = result.lab
    scene = int((lab.test.hops_BOO > 0).sum(axis=(1, 2)).argmax())
    scene_panels(result, scene)
    shown = np.flatnonzero(lab.test.slot_BO[scene] >= 0)
    expected = lab.test.objects_BTOF[scene, lab.history - 1 :, shown, 1:3].swapaxes(0, 1) / 8
    np.testing.assert_allclose(marked[0], expected, atol=0.1)
    assert marked[1].shape[1] == len(shown) - 1 and np.isfinite(marked[1]).all()


def test_a_removed_object_is_an_empty_slot(result):
    tokens = torch.ones(1, 2, 3, 14)
    tokens[0, 1, 2] = torch.nan
    filled = intervene_videos._without_nan(result.lab, tokens)
    assert filled.isfinite().all() and (filled[:, :, :2] == 1).all() and not (filled[:, :, 2] == 1).all()


def test_the_files(result, tmp_path):
    write_scene_videos(tmp_path, result, 3)
    videos = sorted(tmp_path.glob("*.mp4"))
    scenes = [int(path.stem.removeprefix("scene")) for path in videos]
    assert len(set(result.lab.test.episode_B[scenes])) == len(videos) == 3
    assert video_size(videos[0]) == (6 * 192 + 5 * 6, 192 + 22 + 22)
