"""An agent that nothing else moves: the true graph has a direction, and so should the model's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cjepa.evaluation.bodies import unpushed
from cjepa.evaluation.interventions import agent_influence
from cjepa.evaluation.interventions.agent_influence import influence_by_time, score_agent
from cjepa.evaluation.interventions.influence_graphs import Pairs
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.progress import NoProgress
from cjepa.types import Clip

PUSHING = SimpleNamespace(body_names=("block", "agent"), unpushed_names=("agent",))


def pairs(hops, scores) -> Pairs:
    """Four scenes of two bodies; the first rows are of the agent, body 1, on the block, the others in reverse order."""
    scene, back = np.arange(4), np.arange(4)[::-1]
    return Pairs(
        np.concatenate([scene, back]),
        np.concatenate([scene, back]) + 10,
        np.repeat([0, 1], 4),
        np.repeat([1, 0], 4),
        np.array([*hops, 0, 0, 0, 0]),
        scores,
    )


def test_which_bodies_nobody_moves():
    assert unpushed(PUSHING).tolist() == [False, True]


def test_scores_by_hand():
    found = pairs([1, 1, 0, 0], {"remove_moved": np.array([3.0, 1, 2, 0.5, 9, 9, 1, 0]), "random": np.ones(8)})
    measured = {one.metric: one for one in score_agent(SimpleNamespace(env=PUSHING), found)["remove_moved"]}
    assert measured["influence_agent_auroc"].value == 3 / 4 and measured["influence_agent_auroc"].n == 4
    # of the scenes with contact, 0 and 1: 3 and 1 against 0 and 1
    assert measured["influence_agent_asymmetry"].value == pytest.approx((4 - 1) / (4 + 1))
    of_random = score_agent(SimpleNamespace(env=PUSHING), found)["random"]
    assert [one.metric for one in of_random] == ["influence_agent_auroc"] and of_random[0].value == 0.5


def test_without_an_agent_there_is_nothing_to_score():
    env = SimpleNamespace(body_names=("one", "other"), unpushed_names=())
    assert score_agent(SimpleNamespace(env=env), pairs([1, 1, 0, 0], {"random": np.ones(8)})) == {}


def test_influence_by_time(monkeypatch):
    """Slot 1 shows the block and slot 0 the agent, but for a scene without the block."""
    values = torch.arange(3 * 2 * 4.0).reshape(3, 2, 2, 2)
    monkeypatch.setattr(agent_influence, "influence_of", lambda *_: lambda *_: {"one": values})
    monkeypatch.setattr(agent_influence, "device_of", lambda _: "cpu")
    touched = np.zeros((3, 2, 2, 2), bool)
    touched[2, 1] = True
    known = {
        "clip": Clip(*(torch.zeros(3, 1, 2, 2),) * 3),
        "slot_BO": np.array([[1, 0], [-1, 0], [1, 0]]),
        "touched_BHOO": touched,
        "episode_B": np.array([4, 5, 6]),
    }
    scenes = Scenes(**dict.fromkeys(Scenes._fields) | known)
    found = influence_by_time(SimpleNamespace(env=PUSHING, dynamics=None), scenes, "one", "remove", NoProgress())
    assert found.acts_MH.tolist() == values[[0, 2], :, 1, 0].tolist()
    assert found.reacts_MH.tolist() == values[[0, 2], :, 0, 1].tolist()
    assert found.touched_MH.tolist() == [[False, False], [False, True]] and found.episode_M.tolist() == [4, 6]
