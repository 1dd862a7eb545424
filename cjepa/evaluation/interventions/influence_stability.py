"""Whether an influence graph stays as it is when a body that takes no part is removed."""

from collections.abc import Sequence

import numpy as np
import torch

from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.interventions.influence_graphs import Estimate, influence_of
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.removal import why_no_removal
from cjepa.evaluation.interventions.scenes import SCENES_A_BATCH, Scenes
from cjepa.evaluation.measurements import Measurement
from cjepa.evaluation.ranking import spearman
from cjepa.interventions.edits import Remove
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of
from cjepa.world_models.dynamics import take_rows

_FEWEST_OTHERS = 3  # so that there are six pairs to rank


def influence_stability(
    lab: Laboratory, scenes: Scenes, estimates: Sequence[Estimate], seed: int, progress: Progress
) -> dict[str, Measurement]:
    """Rank correlation of the influences between all other bodies, with and without a body that takes no part.

    Such a body has no true influence on any body that slots show, nor they on it; one is drawn in each scene that has
    one and at least three others.

    Args:
        lab: the model.
        scenes: test scenes.
        estimates: that the model allows.
        seed: of the bodies.
        progress: advanced by estimates.

    Returns:
        ``influence_stability`` by the name of the estimate; empty without such scenes, or if the model takes no fewer
        objects.
    """
    if why_no_removal(lab) is not None:
        return {}
    drawn = _uninvolved(scenes, np.random.default_rng(seed))
    found: dict[str, list[float]] = {}
    for estimate in estimates:
        influence = influence_of(estimate, lab)
        for part in np.array_split(drawn, max(1, len(drawn) // SCENES_A_BATCH)) if len(drawn) else ():
            clip = take_rows(scenes.clip, torch.from_numpy(part[:, 0])).on(device_of(lab.dynamics))
            slot_B = torch.from_numpy(scenes.slot_BO[part[:, 0], part[:, 1]])
            rest = clip._replace(tokens_BTSD=Remove(slot_B).edit(clip.tokens_BTSD))
            before, after = influence(lab.dynamics, clip), influence(lab.dynamics, rest)
            for name in before:
                matrices = (values[name].mean(dim=1).double().cpu().numpy() for values in (before, after))
                correlations = found.setdefault(name, [])
                for (scene, body), before_SS, after_RR in zip(part, *matrices, strict=True):
                    correlations.append(_rank_correlation(scenes.slot_BO[scene], body, before_SS, after_RR))
        progress.advance(1)
    episode_N = scenes.episode_B[drawn[:, 0]]
    measured = {}
    for name, values in found.items():
        known_N = ~np.isnan(values)
        if known_N.any():
            mean = bootstrap_of_clusters(np.array(values)[known_N], episode_N[known_N])
            measured[name] = Measurement.of("influence_stability", mean, "Spearman")
    return measured


def _uninvolved(scenes: Scenes, rng: np.random.Generator) -> np.ndarray:
    """Scenes, and a body of each that takes no part, int ``(N, 2)``."""
    drawn = []
    for scene, (slot_O, hops_OO) in enumerate(zip(scenes.slot_BO, scenes.hops_BOO, strict=True)):
        shown_O = slot_O >= 0
        between_OO = hops_OO * shown_O[:, None] * shown_O
        alone = np.flatnonzero(shown_O & ~between_OO.any(axis=0) & ~between_OO.any(axis=1))
        if len(alone) and shown_O.sum() > _FEWEST_OTHERS:
            drawn.append((scene, int(rng.choice(alone))))
    return np.array(drawn, int).reshape(-1, 2)


def _rank_correlation(slot_O: np.ndarray, removed: int, before_SS: np.ndarray, after_RR: np.ndarray) -> float:
    """Of all pairs without the removed body; NaN where all influences were the same before."""
    slots = np.delete(slot_O, removed)
    slots = slots[slots >= 0]
    left = slots - (slots > slot_O[removed])  # slots behind the removed one have moved up
    pairs = ~np.eye(len(slots), dtype=bool)
    return float(spearman(after_RR[np.ix_(left, left)][pairs][None], before_SS[np.ix_(slots, slots)][pairs][None])[0])
