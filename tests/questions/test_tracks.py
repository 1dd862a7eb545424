"""Tracks by hand: a ball that hits a resting one, and one that passes it by."""

import numpy as np

from cjepa.questions.stories import Event
from cjepa.questions.tracks import Approaches, Thresholds, Track, approaches, events_of_track, fit_thresholds


def track(hit: bool) -> Track:
    """Slot 0 comes from the left at 30 units per frame; slot 1 rests at (200, 200) until it is hit in frame 5."""
    frame_K = np.arange(10)
    place_KS2 = np.zeros((10, 2, 2))
    place_KS2[:, 0] = np.stack([30.0 * frame_K, np.full(10, 200.0)], axis=1)
    place_KS2[:, 1] = 200.0
    if hit:
        place_KS2[5:, 0, 0] = 140.0
        place_KS2[5:, 1, 0] = 200.0 + 30 * (frame_K[5:] - 5)
    else:
        place_KS2[:, 0, 1] = 110.0
    return Track(place_KS2, np.ones((10, 2), bool), 2 * frame_K)


def test_a_collision_is_near_and_changes_velocities():
    thresholds = Thresholds(distance_units=95.0, turn_units=20.0)
    assert events_of_track(track(hit=True), thresholds) == [Event("collision", 10, (0, 1))]
    assert events_of_track(track(hit=False), thresholds) == []
    passed = approaches(track(hit=False))
    assert passed.frame_N.tolist() == [7] and passed.turn_N[0] == 0


def test_a_collision_is_timed_where_velocities_change():
    """After frame 3 the ball pushes the other one along; they are nearest in frame 4."""
    place_KS2 = np.zeros((8, 2, 2))
    place_KS2[:, 0, 0] = [0, 30, 60, 90, 100, 110, 120, 130]
    place_KS2[:, 1, 0] = [150, 150, 150, 150, 159, 171, 183, 195]
    near = approaches(Track(place_KS2, np.ones((8, 2), bool), 2 * np.arange(8)))
    assert near.frame_N.tolist() == [3] and near.distance_N.tolist() == [59.0]


def test_enter_and_exit():
    came = track(hit=False)
    came.on_KS[:3, 0] = came.on_KS[8:, 0] = False
    came.on_KS[4, 0] = False  # a lapse of the tokenizer
    events = events_of_track(came, Thresholds(0.0, np.inf))
    assert events == [Event("enter", 6, (0,)), Event("exit", 16, (0,))]


def test_thresholds_are_fitted():
    distance_N, turn_N = np.array([60.0, 80, 60, 200]), np.array([50.0, 40, 1, 60])
    near = Approaches(np.arange(4), np.zeros((4, 2), int), distance_N, turn_N)
    found = fit_thresholds(near, np.array([True, True, False, False]))
    taken_N = (near.distance_N <= found.distance_units) & (near.turn_N >= found.turn_units)
    assert taken_N.tolist() == [True, True, False, False]
    assert fit_thresholds(near, np.zeros(4, bool)).distance_units == 0
