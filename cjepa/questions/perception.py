"""What frozen probes read from tokens: which slots show an object, where it is, and what it looks like."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import MATERIAL_NAMES, SHAPE_NAMES
from cjepa.evaluation.interventions.scenes import EncodedEpisode
from cjepa.evaluation.probes import Task, fit_linear, fit_mlp
from cjepa.interventions.quantities import Quantity
from cjepa.questions.simulated import events_of, on_table
from cjepa.questions.tracks import Approaches, Thresholds, Track, approaches, fit_thresholds, joined

_ATTRIBUTES = {"color": ("colour", COLOUR_NAMES), "shape": ("shape", SHAPE_NAMES)}
_ATTRIBUTES |= {"material": ("material", MATERIAL_NAMES)}
_SAME_FRAMES = 2
"""Frames between a collision and the nearest approach that shows it, at most."""


class Perception(NamedTuple):
    """Probes, fitted once."""

    place: Quantity
    shows: Callable[[Tensor], Tensor]
    """Tokens ``(N, D)`` -> scores of showing no object and one, ``(N, 2)``."""
    looks: Mapping[str, Callable[[Tensor], Tensor]]
    """The same for the words of each kind."""
    side_units: float
    thresholds: Thresholds
    straight: Thresholds
    """For tracks on which no velocity changes: the distance alone."""

    def track(self, tokens_KSD: Tensor, env_step_K: np.ndarray) -> Track:
        """Where every slot is; a slot whose tokens are NaN shows nothing."""
        known_KS = tokens_KSD.isfinite().all(dim=-1).numpy()
        tokens_KSD = tokens_KSD.nan_to_num()
        place_KS2 = self.place.read(tokens_KSD).double().numpy()
        inside_KS = ((place_KS2 > 0) & (place_KS2 < self.side_units)).all(axis=-1)
        shows_KS = self.shows(tokens_KSD.flatten(0, 1).double()).argmax(dim=-1).bool().view(known_KS.shape).numpy()
        return Track(place_KS2, known_KS & inside_KS & shows_KS, env_step_K)

    def words(self, tokens_ND: Tensor) -> dict[str, str]:
        """What an object looks like, by all of its tokens together."""
        return {
            name: _ATTRIBUTES[name][1][int(probe(tokens_ND.double()).softmax(dim=-1).mean(dim=0).argmax())]
            for name, probe in self.looks.items()
        }


def fit_perception(
    episodes: Sequence[EncodedEpisode], place: Quantity, attribute_names: Sequence[str], side_units: float, stride: int
) -> Perception:
    """Fit all probes, and the thresholds of collisions.

    Args:
        episodes: none of which is asked about.
        place: where tokens hold it.
        attribute_names: of the columns of ``objects``.
        side_units: of the table.
        stride: env steps from frame to frame of a track.
    """
    slot_TO = np.concatenate([episode.slot_TO[::stride] for episode in episodes])
    tokens_TSD = torch.cat([episode.tokens_TSD[::stride] for episode in episodes]).double()
    objects_TOF = np.concatenate([episode.rows["objects"][::stride] for episode in episodes])
    frames = [len(range(0, episode.env_steps, stride)) for episode in episodes]
    episode_T = torch.from_numpy(np.repeat(np.arange(len(episodes)), frames))
    shows_TS = (slot_TO[:, :, None] == np.arange(tokens_TSD.shape[1])).any(axis=1)
    of_slots = tokens_TSD.flatten(0, 1), torch.from_numpy(shows_TS.ravel()).long()
    shows = fit_linear(Task(*of_slots, episode_T.repeat_interleave(tokens_TSD.shape[1])), is_class=True)
    row_N, body_N = (slot_TO >= 0).nonzero()
    seen_ND, seen_NF = tokens_TSD[row_N, slot_TO[row_N, body_N]], objects_TOF[row_N, body_N]
    looks = {}
    for name, (attribute, _) in _ATTRIBUTES.items():
        truth_N = torch.from_numpy(seen_NF[:, list(attribute_names).index(attribute)]).long()
        looks[name] = fit_mlp(Task(seen_ND, truth_N, episode_T[row_N]), is_class=True)
    blind = Perception(place, shows, looks, side_units, *[Thresholds(0.0, np.inf)] * 2)
    near, collided = zip(*(_known_approaches(blind, episode, stride) for episode in episodes), strict=True)
    known = joined(near), np.concatenate(collided)
    return blind._replace(thresholds=fit_thresholds(*known), straight=fit_thresholds(*known, by_distance=True))


def _known_approaches(blind: Perception, episode: EncodedEpisode, stride: int) -> tuple[Approaches, np.ndarray]:
    """Approaches of an episode, and which of them are collisions."""
    env_step_K = np.arange(0, episode.env_steps, stride)
    near = approaches(blind.track(episode.tokens_TSD[::stride], env_step_K))
    happened = events_of(on_table(episode.rows["objects"]), episode.rows["contacts"].astype(bool))
    collisions = [event for event in happened if event.kind == "collision"]
    collided = []
    for frame, pair in zip(near.frame_N, near.slot_N2, strict=True):
        step, slot_O = env_step_K[frame], episode.slot_TO[env_step_K[frame]]
        bodies = tuple(sorted(int(body) for slot in pair for body in np.flatnonzero(slot_O == slot)))
        close = [event for event in collisions if abs(event.env_step - step) <= _SAME_FRAMES * stride]
        collided.append(any(event.bodies == bodies for event in close))
    return near, np.array(collided, bool)
