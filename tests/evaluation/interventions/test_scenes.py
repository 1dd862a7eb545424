"""Test scenes: windows of episodes with all that is true of them."""

import numpy as np
import torch

from cjepa.evaluation.bodies import on_table
from cjepa.evaluation.interventions import scenes
from cjepa.evaluation.interventions.contact_graphs import contact_hops
from tests.evaluation.simulated import STRIDE


def test_scenes_are_cut_out_of_their_episodes(lab, collide_table):
    scenes = lab.test
    assert not set(scenes.episode_B) & set(lab.val.episode_B)
    for scene in (0, -1):
        rows = collide_table.episode(int(scenes.episode_B[scene]))
        frames = scenes.start_B[scene] + STRIDE * np.arange(3 + 8)
        assert np.array_equal(scenes.objects_BTOF[scene], rows["objects"][frames])
        last, end = frames[2], frames[-1]
        assert np.array_equal(scenes.state_BF[scene], rows["state"][last])
        hops = contact_hops(rows["contacts"][None, last + 1 : end + 1])[0]
        assert np.array_equal(scenes.hops_BOO[scene], hops)
        shown = on_table(rows["objects"][last][None], lab.env)[0]
        assert np.array_equal(scenes.slot_BO[scene], np.where(shown, np.arange(6), -1))


def test_episodes_are_encoded_as_many_at_once_as_a_gpu_has_memory_for(lab, collide_table, monkeypatch):
    """To the same tokens as many at once."""
    encoded, together = [], [5, 2, 9]
    monkeypatch.setattr(
        scenes, "_encoded", lambda indices, *args, real=scenes._encoded: encoded.append(indices) or real(indices, *args)
    )
    expected = list(scenes.encode_episodes(collide_table, together, lab.tokenizer, lab.env))
    monkeypatch.setattr(scenes, "frames_at_once", lambda device, peak_bytes: 1)
    found = list(scenes.encode_episodes(collide_table, together, lab.tokenizer, lab.env))
    assert encoded == [[5, 2, 9], [5], [2], [9]]
    for one, same in zip(found, expected, strict=True):
        assert one.index == same.index and np.array_equal(one.slot_TO, same.slot_TO)
        assert torch.equal(one.tokens_TSD, same.tokens_TSD)
