"""One scene, asked what would happen."""

import numpy as np

from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.what_if import HeldOutScenes


def test_places_are_followed_from_the_end_of_the_history(lab, monkeypatch):
    """Of a token that has faded in the first predicted block, that is the last known place."""
    place = place_of(lab)
    monkeypatch.setattr(place, "track", lambda tokens: place.read(tokens[:, :1].expand_as(tokens)))
    scene = HeldOutScenes(lab, place, 4).scene(0)
    body = scene.bodies[0]
    found = scene.what_if("set_velocity", body, (300.0, -200.0)).predicted[:, body]
    last = place.read(lab.test.clip.tokens_BTSD[0, lab.history - 1, scene.slot_O[body]])
    np.testing.assert_allclose(found, last.expand(len(found), 2), rtol=1e-5)
