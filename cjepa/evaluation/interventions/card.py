"""All that interventions say of a world model, on held-out episodes; docs/interventions.md defines every number."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cjepa.configuration.run_config import data_options
from cjepa.envs.interventions import KINDS, InterventionEnv
from cjepa.errors import UserError
from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.agent_influence import InfluenceByTime, influence_by_time, score_agent
from cjepa.evaluation.interventions.counterfactuals import measure_effects
from cjepa.evaluation.interventions.effects import Effects
from cjepa.evaluation.interventions.influence_graphs import (
    Estimate,
    GraphScores,
    Pairs,
    best_estimate,
    possible,
    score_graphs,
    score_pairs,
)
from cjepa.evaluation.interventions.influence_stability import influence_stability
from cjepa.evaluation.interventions.laboratory import Laboratory, SceneProtocol, open_laboratory
from cjepa.evaluation.interventions.permanence import HIDDEN_FRAMES, HiddenErrors, measure_hidden
from cjepa.evaluation.interventions.removal import removal_test
from cjepa.evaluation.interventions.violations import Violations, measure_violations
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.evaluation.probes import Task, fit_linear
from cjepa.interventions.quantities import LinearQuantity, Quantity, exact_place
from cjepa.progress import Progress
from cjepa.world_models.loading import load_world_model

_log = logging.getLogger(__name__)


class InterventionResult(NamedTuple):
    """What was measured, and what it was measured on."""

    lab: Laboratory
    place: Quantity
    pairs: Pairs
    """Of the test scenes."""
    graphs: list[GraphScores]
    removal: dict[str, list[Measurement]]
    """Of the removal test, by graph."""
    stability: dict[str, Measurement]
    """By the name of an estimate."""
    best: str | None
    """The estimate that is best on validation scenes."""
    effects: list[Effects]
    """Of every way of intervening that the tokens allow; empty in environments without interventions."""
    by_time: InfluenceByTime | None
    """Of the best estimate; None where every body can be moved by others."""
    hidden: HiddenErrors
    """Where bodies are believed to be that the model does not see."""
    violations: Violations | None
    """None without interventions, or where no scene allows them."""


def evaluate_interventions(
    checkpoint: Path,
    protocol: SceneProtocol,
    estimates: Sequence[Estimate],
    device: torch.device | str,
    progress: OpenProgress,
) -> InterventionResult:
    """The influence graph benchmark, and counterfactual prediction.

    Args:
        checkpoint: of the world model.
        protocol: of the scenes.
        estimates: of influence; those that the model does not allow are left out, which is logged.
        device: of world model and tokenizer.
        progress: begins one part of the work.

    Raises:
        UserError: the episodes and the model do not fit each other.
    """
    loaded = load_world_model(checkpoint)
    loaded.dynamics.to(device)
    loaded.tokenizer.to(device)
    count = protocol.val_scenes + protocol.scenes
    with progress("encode", count, "scenes") as bar:
        lab = open_laboratory(loaded, data_options(checkpoint), protocol, checkpoint, bar)
    place, estimates = place_of(lab), possible(lab, estimates)
    with progress("influence", len(lab.val.episode_B) + len(lab.test.episode_B), "scenes") as bar:
        val, test = (score_pairs(lab, scenes, estimates, place, protocol.seed, bar) for scenes in (lab.val, lab.test))
    of_agent, best = score_agent(lab, test), best_estimate(val)
    graphs = [one._replace(measured=one.measured + of_agent.get(one.name, [])) for one in score_graphs(val, test)]
    by_time = None
    if of_agent and best is not None:
        with progress("by time", len(lab.test.episode_B), "scenes") as bar:
            by_time = influence_by_time(lab, lab.test, best, best.split("_")[0], bar)
    with progress("removal test", len(graphs) + 1, "graphs") as bar:
        removal = removal_test(lab, lab.test, test, graphs, bar)
    with progress("stability", max(1, len(estimates)), "estimates") as bar:
        stability = influence_stability(lab, lab.test, estimates, protocol.seed, bar)
    with progress("hidden bodies", len(lab.test.episode_B), "scenes") as bar:
        hidden = measure_hidden(lab, lab.test, place, HIDDEN_FRAMES, bar)
    effects, violations = [], None
    if isinstance(lab.env, InterventionEnv):
        with progress("counterfactuals", len(KINDS) * len(lab.test.episode_B), "scenes") as bar:
            effects = measure_effects(lab, lab.test, place, protocol.seed, bar)
        with progress("violations", len(lab.test.episode_B), "scenes") as bar:
            violations = _violations(lab, place, protocol, bar)
    return InterventionResult(lab, place, test, graphs, removal, stability, best, effects, by_time, hidden, violations)


def _violations(lab: Laboratory, place: Quantity, protocol: SceneProtocol, progress: Progress) -> Violations | None:
    """None, which is logged, of a simulator that cannot change colours."""
    try:
        return measure_violations(lab, lab.test, place, protocol.episodes, protocol.seed, progress)
    except UserError as reason:
        _log.warning("violation of expectation left out: %s", reason)
        return None


def place_of(lab: Laboratory) -> Quantity:
    """Where tokens hold the place of their object: exactly, or by a linear probe of validation scenes."""
    exact = exact_place(lab.tokenizer, lab.env.table[1])
    if exact is not None:
        return exact
    scenes, last = lab.val, lab.history - 1
    scene_N, body_N = (scenes.slot_BO >= 0).nonzero()
    tokens_ND = scenes.clip.tokens_BTSD[scene_N, last, scenes.slot_BO[scene_N, body_N]].double()
    place_N2 = torch.from_numpy(places(scenes.objects_BTOF[:, last], lab.env)[scene_N, body_N])
    probe = fit_linear(Task(tokens_ND, place_N2, torch.from_numpy(scenes.episode_B[scene_N])), is_class=False)
    return LinearQuantity.fitted(probe, tokens_ND.std(dim=0).clamp(min=1e-6))
