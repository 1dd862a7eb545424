"""Whether a model knows that an agent moves other bodies, and that they do not move the agent.

For environments with bodies that others cannot move, such as the agent of Push-T. Everything is of the pairs of such a
body, here the agent, and one that can be moved.

File letter: M scenes and pairs of an agent and another body.
"""

from typing import NamedTuple

import numpy as np

from cjepa.evaluation.binary_scores import binary_scores
from cjepa.evaluation.bodies import unpushed
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.interventions.influence_graphs import RIVALS, Estimate, Pairs, influence_of
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes
from cjepa.evaluation.measurements import Measurement
from cjepa.progress import Progress
from cjepa.tokenizers.encode import device_of


class InfluenceByTime(NamedTuple):
    """Influence of an agent on another body and of that body on the agent, in each of H predicted blocks."""

    name: str
    """Of the estimate."""
    acts_MH: np.ndarray
    reacts_MH: np.ndarray
    touched_MH: np.ndarray
    """bool, whether they touched in the block."""
    episode_M: np.ndarray


def score_agent(lab: Laboratory, pairs: Pairs) -> dict[str, list[Measurement]]:
    """By the name of an estimate: ``influence_agent_auroc`` and, but for rivals, ``influence_agent_asymmetry``.

    Empty where others can move every body, or where no scene shows an agent and another body.
    """
    agent_O = unpushed(lab.env)
    acts_N = agent_O[pairs.source_N] & ~agent_O[pairs.target_N]
    reacts_N = agent_O[pairs.target_N] & ~agent_O[pairs.source_N]
    if not acts_N.any():
        return {}
    found = {}
    order_M, back_M = _both_ways(pairs, acts_N, reacts_N)
    contact_M, episode_M = pairs.hops_N[order_M] > 0, pairs.episode_N[order_M]
    for name, score_N in pairs.scores.items():
        auroc = binary_scores(score_N[order_M], contact_M, episode_M).auroc
        found[name] = [Measurement.of("influence_agent_auroc", auroc)]
        acts_M, reacts_M = (np.clip(score_N[rows], 0, None)[contact_M] for rows in (order_M, back_M))
        if name not in RIVALS and (acts_M + reacts_M).any():
            ratio = bootstrap_of_clusters(acts_M - reacts_M, episode_M[contact_M], acts_M + reacts_M)
            found[name].append(Measurement.of("influence_agent_asymmetry", ratio, "-1 to 1"))
    return found


def influence_by_time(
    lab: Laboratory, scenes: Scenes, name: str, estimate: Estimate, progress: Progress
) -> InfluenceByTime:
    """One estimate in every predicted block, of all scenes that show an agent and another body.

    Args:
        lab: the model.
        scenes: test scenes.
        name: of the matrix among those that the estimate gives, such as ``remove_moved``.
        estimate: that the model allows.
        progress: advanced by scenes.

    Returns:
        :class:`InfluenceByTime`; without rows where no scene has such a pair.
    """
    influence, parts = influence_of(estimate, lab), []
    agent_O = unpushed(lab.env)
    shown_BO = scenes.slot_BO >= 0
    scene_M, agent_M, other_M = ((shown_BO & agent_O)[:, :, None] & (shown_BO & ~agent_O)[:, None]).nonzero()
    for clip in scenes.clips(device_of(lab.dynamics)):
        parts.append(influence(lab.dynamics, clip)[name].double().cpu().numpy())
        progress.advance(len(clip.tokens_BTSD))
    influence_BHSS = np.concatenate(parts)
    agent_slot_M, other_slot_M = scenes.slot_BO[scene_M, agent_M], scenes.slot_BO[scene_M, other_M]
    return InfluenceByTime(
        name,
        influence_BHSS[scene_M, :, other_slot_M, agent_slot_M],
        influence_BHSS[scene_M, :, agent_slot_M, other_slot_M],
        scenes.touched_BHOO[scene_M, :, agent_M, other_M],
        scenes.episode_B[scene_M],
    )


def _both_ways(pairs: Pairs, acts_N: np.ndarray, reacts_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of agent on other body and of other body on agent, of the same scenes and bodies in the same order."""
    acts, reacts = np.flatnonzero(acts_N), np.flatnonzero(reacts_N)
    acts = acts[np.lexsort((pairs.target_N[acts], pairs.source_N[acts], pairs.scene_N[acts]))]
    reacts = reacts[np.lexsort((pairs.source_N[reacts], pairs.target_N[reacts], pairs.scene_N[reacts]))]
    return acts, reacts
