"""The influence graph benchmark: estimates from a world model, and simple rivals, against the contact graph.

docs/interventions.md defines every number. Thresholds are chosen on validation scenes.

File letter: N ordered pairs of different bodies that are both shown by slots.
"""

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from cjepa.errors import UserError
from cjepa.evaluation.binary_scores import best_threshold, binary_scores
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.interventions.contact_graphs import closest_approach
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.evaluation.interventions.tracks import extrapolated_tracks
from cjepa.evaluation.measurements import Measurement
from cjepa.interventions.influence import (
    ByAttention,
    ByEmptying,
    ByGradient,
    ByMasking,
    ByPath,
    ByRemoving,
    Influence,
)
from cjepa.interventions.quantities import Quantity, empty_token
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of
from cjepa.world_models.dynamics import rollout_clip, take_rows

Estimate = Literal["mask", "remove", "empty", "gradient", "attention", "path"]
RIVALS = ("distance", "extrapolated tracks", "predicted tracks", "random")
"""Scores that no intervention makes; the tracks of the third are predicted by the model."""

READ_OFF = ("path",)
"""Graphs of the model itself: every pair above 0 is an edge, and no threshold is chosen."""

_ANY = float(np.nextafter(0, 1))
_MOST_HOPS = 3  # chains of more are counted with those of three

_log = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Scores of all pairs of some scenes."""

    scene_N: np.ndarray
    episode_N: np.ndarray
    target_N: np.ndarray
    """The body that is, or is not, influenced."""
    source_N: np.ndarray
    hops_N: np.ndarray
    """0 for no influence."""
    scores: dict[str, np.ndarray]
    """``(N,)`` by the name of the estimate; higher is more influence."""


class GraphScores(NamedTuple):
    """What is measured of one estimate, by metric."""

    name: str
    threshold: float
    measured: list[Measurement]


def score_pairs(
    lab: Laboratory, scenes: Scenes, estimates: Sequence[Estimate], place: Quantity, seed: int, progress: Progress
) -> Pairs:
    """Every estimate and every rival of every pair.

    Args:
        lab: the model.
        scenes: whose pairs are scored.
        estimates: by which interventions.
        place: where tokens hold it.
        seed: of the random score.
        progress: advanced by scenes.

    Raises:
        UserError: there is no pair.
    """
    scene_N, target_N, source_N = _pairs(scenes.slot_BO)
    if not len(scene_N):
        raise UserError("no scene has two bodies on the table that slots show; give more --scenes, or other tokens")
    slots = scenes.slot_BO[scene_N, target_N], scenes.slot_BO[scene_N, source_N]
    found: dict[str, list[np.ndarray]] = {}
    influences = [influence_of(name, lab) for name in estimates]
    tracks = []
    for clip in scenes.clips(device_of(lab.dynamics)):
        for influence in influences:
            for name, influence_BHSS in influence(lab.dynamics, clip).items():
                found.setdefault(name, []).append(influence_BHSS.mean(dim=1).double().cpu().numpy())
        with torch.no_grad():
            predicted = lab.dynamics.denormalise(rollout_clip(lab.dynamics, clip)[0])
        tracks.append(place.read(predicted.tokens_BHSD).double().cpu().numpy())
        progress.advance(len(clip.tokens_BTSD))
    scores = {name: np.concatenate(parts)[scene_N, *slots] for name, parts in found.items()}
    scores |= _rivals(lab, scenes, np.concatenate(tracks), (scene_N, target_N, source_N), seed)
    hops_N = scenes.hops_BOO[scene_N, target_N, source_N]
    return Pairs(scene_N, scenes.episode_B[scene_N], target_N, source_N, hops_N, scores)


def influence_of(name: Estimate, lab: Laboratory) -> Influence:
    """The estimate of a name.

    Raises:
        UserError: it needs to know an empty slot, and this tokenizer's is unknown.
    """
    if name != "empty":
        plain = {
            "mask": ByMasking,
            "remove": ByRemoving,
            "gradient": ByGradient,
            "attention": ByAttention,
            "path": ByPath,
        }
        return plain[name]()
    if (empty_D := empty_token(lab.tokenizer)) is None:
        raise UserError(
            f"influence by empty slots: what an empty slot of {type(lab.tokenizer).__name__} is, is unknown"
        )
    return ByEmptying(empty_D)


def possible(lab: Laboratory, estimates: Sequence[Estimate]) -> list[Estimate]:
    """Those of the estimates that the model allows; the others are logged."""
    clip = take_rows(lab.val.clip, slice(0, 1)).on(device_of(lab.dynamics))
    left = []
    for name in dict.fromkeys(estimates):
        try:
            influence_of(name, lab)(lab.dynamics, clip)
            left.append(name)
        except UserError as reason:
            _log.warning("%s", reason)
    return left


def score_graphs(val: Pairs, test: Pairs) -> list[GraphScores]:
    """AUROC, average precision and structural Hamming distance of every estimate, then of the empty graph.

    Of all pairs, then of those without influence and those with influence over 1, 2, or 3 and more hops.
    """
    graphs = []
    for name, score_N in test.scores.items():
        threshold = _ANY if name in READ_OFF else best_threshold(val.scores[name], val.hops_N > 0)
        measured = []
        for suffix, asked_N in _by_hops(test.hops_N).items():
            areas = binary_scores(score_N[asked_N], test.hops_N[asked_N] > 0, test.episode_N[asked_N])
            measured += [
                Measurement.of(f"influence_auroc{suffix}", areas.auroc),
                Measurement.of(f"influence_average_precision{suffix}", areas.average_precision),
                _hamming_distance(test, score_N >= threshold, suffix, asked_N),
            ]
        graphs.append(GraphScores(name, threshold, measured))
    nothing_N = np.zeros(len(test.hops_N), bool)
    empty = [_hamming_distance(test, nothing_N, *group) for group in _by_hops(test.hops_N).items()]
    return [*graphs, GraphScores("empty graph", float("inf"), empty)]


def best_estimate(val: Pairs) -> str | None:
    """The estimate from interventions with the largest area on validation scenes; None without any."""
    positive_N = val.hops_N > 0
    names = [name for name in val.scores if name not in RIVALS]
    return max(
        names, key=lambda name: binary_scores(val.scores[name], positive_N, val.episode_N).auroc.value, default=None
    )


def _pairs(slot_BO: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scene, target and source of every pair."""
    shown_BO = slot_BO >= 0
    pair_BOO = shown_BO[:, :, None] & shown_BO[:, None] & ~np.eye(slot_BO.shape[1], dtype=bool)
    return pair_BOO.nonzero()


def _rivals(
    lab: Laboratory, scenes: Scenes, track_BHS2: np.ndarray, pair: tuple[np.ndarray, ...], seed: int
) -> dict[str, np.ndarray]:
    """Minus distances, from the simulator's places but for the model's own tracks; see ``RIVALS``."""
    extrapolated_BHO2 = extrapolated_tracks(lab, scenes, track_BHS2.shape[1])
    last_BO2 = extrapolated_BHO2[:, 0]
    slot_BO = np.where(scenes.slot_BO >= 0, scenes.slot_BO, 0)
    predicted_BHO2 = np.take_along_axis(track_BHS2, slot_BO[:, None, :, None], axis=2)
    predicted_BHO2 = np.concatenate([last_BO2[:, None], predicted_BHO2], axis=1)
    shown_BO = (scenes.slot_BO >= 0)[:, None, :, None]
    tracks = {
        "distance": last_BO2[:, None],
        "extrapolated tracks": extrapolated_BHO2,
        "predicted tracks": predicted_BHO2,
    }
    scores = {name: -closest_approach(np.where(shown_BO, track, np.nan))[pair] for name, track in tracks.items()}
    gap_BOO = np.linalg.norm(last_BO2[:, :, None] - last_BO2[:, None], axis=-1)
    random_N = np.random.default_rng(seed).uniform(size=len(pair[0]))
    return scores | {"distance": -gap_BOO[pair], "random": random_N}


def _by_hops(hops_N: np.ndarray) -> dict[str, np.ndarray]:
    """By the ending of a metric's name, which pairs count, bool ``(N,)``: all, or those of so many hops or none."""
    groups = {"": np.ones(len(hops_N), bool)}
    for hops in range(1, _MOST_HOPS + 1):
        suffix = f"_hops{hops}{'+' if hops == _MOST_HOPS else ''}"
        groups[suffix] = (np.minimum(hops_N, _MOST_HOPS) == hops) | (hops_N == 0)
    return groups


def _hamming_distance(pairs: Pairs, edge_N: np.ndarray, suffix: str, asked_N: np.ndarray) -> Measurement:
    """Wrong directed edges of a scene, among the pairs that count."""
    _, place_N = np.unique(pairs.scene_N, return_inverse=True)
    wrong_C = np.bincount(place_N, asked_N & (edge_N != (pairs.hops_N > 0)))
    episode_C = np.zeros(len(wrong_C), pairs.episode_N.dtype)
    episode_C[place_N] = pairs.episode_N
    return Measurement.of(f"influence_shd{suffix}", bootstrap_of_clusters(wrong_C, episode_C), "edges per scene")
