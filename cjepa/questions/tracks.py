"""Events read off tracks: who comes, who goes, and who collides, by distance and changed velocity.

File letters: K frames of a track, S slots, N approaches of two slots.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from cjepa.questions.stories import Event

_LEAST_FRAMES = 2
"""A slot that shows an object in fewer frames shows none."""
_SAME_TURN_UNITS = 1e-6
"""Changes of velocity that differ by less are alike: those of a straight track are rounding errors."""
_CHOICES = 30
"""Values that are tried of each threshold."""


class Track(NamedTuple):
    """Where slots are, frame by frame."""

    place_KS2: np.ndarray
    """In the environment's units; not read where ``on_KS`` is false."""
    on_KS: np.ndarray
    """Whether a slot shows an object on the table."""
    env_step_K: np.ndarray

    def cut(self, frames: slice) -> "Track":
        """Some of the frames."""
        return Track(*(values[frames] for values in self))


class Thresholds(NamedTuple):
    """What makes a collision of an approach."""

    distance_units: float
    turn_units: float
    """Least change of both velocities together, in units per frame."""


class Approaches(NamedTuple):
    """Times at which two slots are nearer to each other than before and after."""

    frame_N: np.ndarray
    """At which their velocities change most, of the frame in which they are nearest and its neighbours: bodies that
    go on slowly side by side are nearest some frames after they collide."""
    slot_N2: np.ndarray
    distance_N: np.ndarray
    turn_N: np.ndarray


def spans(track: Track) -> dict[int, tuple[int, int]]:
    """First and last frame of every slot that shows an object; gaps between them are lapses of the tokenizer."""
    found = {}
    for slot in np.flatnonzero(track.on_KS.sum(axis=0) >= _LEAST_FRAMES).tolist():
        frames = np.flatnonzero(track.on_KS[:, slot])
        found[slot] = int(frames[0]), int(frames[-1])
    return found


def approaches(track: Track) -> Approaches:
    """All of a track."""
    last, shown = len(track.env_step_K) - 1, spans(track)
    found: list[tuple[int, tuple[int, int], float, float]] = []
    for pair in combinations(sorted(shown), 2):
        first = max(shown[slot][0] for slot in pair)
        end = min(shown[slot][1] for slot in pair)
        place_K22 = track.place_KS2[first : end + 1, pair]
        if len(place_K22) < 3:
            continue
        distance_K = np.linalg.norm(place_K22[:, 0] - place_K22[:, 1], axis=-1)
        before_K, after_K = np.r_[np.inf, distance_K[:-1]], np.r_[distance_K[1:], np.inf]
        velocity_K22 = np.diff(place_K22, axis=0)
        for frame in np.flatnonzero((distance_K < before_K) & (distance_K <= after_K)).tolist():
            if first + frame in (0, last):  # nothing is known of one of the velocities
                continue
            # not the steps to and from this frame: the collision may be in the middle of either
            old, new = max(frame - 2, 0), min(frame + 1, len(velocity_K22) - 1)
            turn = np.linalg.norm(velocity_K22[new] - velocity_K22[old], axis=-1).sum()
            found.append((first + _turning(velocity_K22, frame), pair, float(distance_K[frame]), float(turn)))
    columns = list(zip(*found, strict=True)) or [[], np.zeros((0, 2), int), [], []]
    return Approaches(*(np.array(values) for values in columns))


def _turning(velocity_K22: np.ndarray, nearest: int) -> int:
    """The frame of the largest change of both velocities, of the nearest one and its neighbours."""
    known = [frame for frame in (nearest, nearest - 1, nearest + 1) if 0 < frame < len(velocity_K22)]
    turns = [np.linalg.norm(velocity_K22[frame] - velocity_K22[frame - 1], axis=-1).sum() for frame in known]
    return known[int(np.argmax(np.divide(turns, _SAME_TURN_UNITS).round()))] if known else nearest


def fit_thresholds(near: Approaches, collided_N: np.ndarray, by_distance: bool = False) -> Thresholds:
    """The thresholds with the largest F1.

    Args:
        near: approaches of tracks whose collisions are known.
        collided_N: whether each is a collision.
        by_distance: whatever velocities do, for tracks that show no change of them.
    """
    if not collided_N.any():
        return Thresholds(0.0, np.inf)
    shares = np.linspace(0, 1, _CHOICES)
    turns = [0.0] if by_distance else np.r_[0.0, np.quantile(near.turn_N[collided_N], shares)]
    best, chosen = -1.0, Thresholds(0.0, np.inf)
    for distance in np.quantile(near.distance_N[collided_N], shares):
        for turn in turns:
            taken_N = (near.distance_N <= distance) & (near.turn_N >= turn)
            score = 2 * (taken_N & collided_N).sum() / (taken_N.sum() + collided_N.sum())
            if score > best:
                best, chosen = score, Thresholds(float(distance), float(turn))
    return chosen


def events_of_track(track: Track, thresholds: Thresholds) -> list[Event]:
    """Events in order of time; objects are called by their slots."""
    last, found = len(track.env_step_K) - 1, []
    for slot, (start, end) in spans(track).items():
        if start > 0:
            found.append(Event("enter", int(track.env_step_K[start]), (slot,)))
        if end < last:
            found.append(Event("exit", int(track.env_step_K[end + 1]), (slot,)))
    near = approaches(track)
    is_hit_N = (near.distance_N <= thresholds.distance_units) & (near.turn_N >= thresholds.turn_units)
    for frame, pair in zip(near.frame_N[is_hit_N], near.slot_N2[is_hit_N], strict=True):
        found.append(Event("collision", int(track.env_step_K[frame]), tuple(int(slot) for slot in pair)))
    return sorted(found, key=lambda event: event.env_step)


def joined(parts: Sequence[Approaches]) -> Approaches:
    """Approaches of several tracks as one."""
    return Approaches(*(np.concatenate(values) for values in zip(*parts, strict=True)))
