"""Whether a model needs the objects that an influence graph calls irrelevant: they are removed.

File letter: R bodies of scenes whose prediction is compared.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, bootstrap_of_clusters
from cjepa.evaluation.interventions.influence_graphs import GraphScores, Pairs
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import SCENES_A_BATCH, Scenes
from cjepa.evaluation.measurements import Measurement
from cjepa.interventions.edits import LatentIntervention, Remove, Replace
from cjepa.interventions.quantities import empty_token
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of
from cjepa.world_models.dynamics import split_clip, take_rows

_log = logging.getLogger(__name__)


def why_no_removal(lab: Laboratory) -> str | None:
    """Why the model cannot do without one of its objects, as models of a fixed number; None if it can."""
    clip = take_rows(lab.val.clip, slice(0, 1)).on(device_of(lab.dynamics))
    history, actions_BHA, _ = split_clip(lab.dynamics, clip)
    try:
        Remove(0).rollout(lab.dynamics, history, actions_BHA[:, :1])
    except UserError as reason:
        return str(reason)
    return None


def removal_test(
    lab: Laboratory, scenes: Scenes, pairs: Pairs, graphs: Sequence[GraphScores], progress: Progress
) -> dict[str, list[Measurement]]:
    """How much the error of a body's prediction grows if all bodies that a graph calls irrelevant to it are removed.

    Args:
        lab: the model.
        scenes: of the pairs.
        pairs: the scored test pairs.
        graphs: with their thresholds.
        progress: advanced by graphs.

    Returns:
        By the name of a graph, the contact graph among them: ``removal_growth`` where the model gets no token of the
        removed bodies, ``removal_growth_empty`` where it gets empty slots in their place, and ``removed_share``. What
        the model does not allow is left out, which is logged.
    """
    edges = {"contact graph": pairs.hops_N > 0}
    edges |= {graph.name: pairs.scores[graph.name] >= graph.threshold for graph in graphs if graph.name in pairs.scores}
    edges |= {"empty graph": np.zeros(len(pairs.hops_N), bool)}
    empty_D = empty_token(lab.tokenizer)
    target_R, place_N = np.unique(np.stack([pairs.scene_N, pairs.target_N]), axis=1, return_inverse=True)
    place_N = place_N.reshape(-1)
    scene_R, episode_R = target_R[0], scenes.episode_B[target_R[0]]
    slot_R = scenes.slot_BO[scene_R, target_R[1]]
    source_slot_N = scenes.slot_BO[pairs.scene_N, pairs.source_N]
    full_R = _errors(lab, scenes, scene_R, slot_R, [[]] * len(slot_R), None)
    ways = {} if empty_D is None else {"removal_growth_empty": empty_D}
    if (reason := why_no_removal(lab)) is None:
        ways = {"removal_growth": None} | ways
    else:
        _log.warning("removal_growth left out: %s", reason)
    measured = {}
    for name, edge_N in edges.items():
        removed: list[list[int]] = [[] for _ in slot_R]
        for place, slot, edge in zip(place_N, source_slot_N, edge_N, strict=True):
            if not edge:
                removed[place].append(int(slot))
        found = []
        for metric, token_D in ways.items():
            error_R = _errors(lab, scenes, scene_R, slot_R, removed, token_D)
            ratio = bootstrap_of_clusters(error_R, episode_R, full_R)
            growth = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)
            found.append(Measurement.of(metric, growth, "of the error"))
        found.append(Measurement.of("removed_share", bootstrap_of_clusters(~edge_N, pairs.episode_N)))
        measured[name] = found
        progress.advance(1)
    return measured


@torch.no_grad()
def _errors(
    lab: Laboratory,
    scenes: Scenes,
    scene_R: np.ndarray,
    slot_R: np.ndarray,
    removed: Sequence[Sequence[int]],
    empty_D: torch.Tensor | None,
) -> np.ndarray:
    """Mean squared error of one object's tokens without some others, row by row; rows that remove equally many go
    together."""
    error_R = np.zeros(len(slot_R))
    count_R = np.array([len(slots) for slots in removed])
    device = device_of(lab.dynamics)
    for count in np.unique(count_R):
        rows = np.flatnonzero(count_R == count)
        for part in np.array_split(rows, max(1, len(rows) // (SCENES_A_BATCH * 6))):
            clip = take_rows(scenes.clip, torch.from_numpy(scene_R[part])).on(device)
            slots = torch.tensor([removed[row] for row in part], dtype=torch.long).reshape(len(part), count)
            history, actions_BHA, followed = split_clip(lab.dynamics, clip)
            predicted = _removal(slots, empty_D).rollout(lab.dynamics, history, actions_BHA)
            at = torch.arange(len(part)), slice(None), torch.from_numpy(slot_R[part])
            error_BHD = predicted.tokens_BHSD[at] - followed.tokens_BHSD[at]
            error_R[part] = error_BHD.square().mean(dim=(1, 2)).double().cpu().numpy()
    return error_R


def _removal(slots: torch.Tensor, empty_D: torch.Tensor | None) -> LatentIntervention:
    return Remove(slots) if empty_D is None else Replace(slots, empty_D)
