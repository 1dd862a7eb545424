"""Whether a world model tells good plans from bad ones: its costs beside the simulator's truth, on the same plans."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episodes
from cjepa.evaluation.intervals import bootstrap_median, bootstrap_of_clusters, wilson_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.evaluation.planning.futures import draw_candidates, future_tokens, look_at, recorded_actions, simulate
from cjepa.evaluation.planning.testbed import Testbed
from cjepa.evaluation.ranking import picked, rank_of, spearman, variation
from cjepa.planning.costs import RolloutCost
from cjepa.planning.objectives import Disagreement, Goal, LastStepMSE, Objective
from cjepa.planning.perception import Observation
from cjepa.planning.planners.cem import CEM
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics

PAIRS, CANDIDATES, HORIZON_BLOCKS = 40, 64, 5
RECORDED = 0
"""Place of the recorded actions among the candidates."""
_SEED = 0
_FIRST_STD = 0.4
"""Of a planner's first candidates, in half ranges of the actions."""


class Judged(NamedTuple):
    """What a model expects of plans and what comes of them; P pairs, N plans each."""

    predicted_PN: np.ndarray
    """Cost of the futures that the model predicts."""
    true_PN: np.ndarray
    """Cost of the tokens of the futures that the simulator makes."""
    error_PN: np.ndarray
    """Task error in tolerances; below 1 is success."""
    disagreement_PN: np.ndarray | None = None
    """Of the members of an ensemble about the last block, in the unit of costs; None for a model without members."""


def planning_measurements(
    dynamics: Dynamics, bed: Testbed, file: Episodes, candidates: int, progress: OpenProgress
) -> list[Measurement]:
    """The planning part of the card.

    The draws depend on the pairs alone, so that all models of the same episodes judge the same candidates.

    Args:
        dynamics: the world model, in eval mode.
        bed: simulator, tokenizer and pairs.
        file: that the pairs are from.
        candidates: N, for each pair.
        progress: begins one part of the work.
    """
    planner = CEM(num_samples=128, iterations=8, num_elites=16, initial_std=_FIRST_STD)
    parts = (dynamics, bed.tokenizer, planner, LastStepMSE(), bed.blocks, bed.horizon_blocks)
    judge = _Judge(WorldModelAgent(*parts, bed.env.goal_proprio), bed)
    generator = torch.Generator().manual_seed(_SEED)
    recorded_PHA = recorded_actions(file, bed.pairs, bed.blocks, bed.horizon_blocks)
    drawn_PNHA = draw_candidates(recorded_PHA, *bed.blocks.bounds(), candidates, _FIRST_STD, generator)
    judged = judge(drawn_PNHA, "simulate candidates", progress)
    with progress("plan", 1, "plans of all pairs") as bar:
        plan = judge.agent.plan(generator)
        bar.advance(1)
    own = judge(plan.actions_BHA[:, None], "simulate plans", progress)
    episode_P = np.array([pair.episode for pair in bed.pairs])
    return [*candidate_measurements(judged, episode_P), *plan_measurements(own, episode_P)]


def candidate_measurements(judged: Judged, episode_P: np.ndarray) -> list[Measurement]:
    """How the costs rank the candidates, of which the first was recorded; resampled by the episode of the pair."""
    predicted_PN, true_PN, error_PN, disagreement_PN = judged
    rows = _Rows(episode_P)
    found = [
        rows.mean("spearman_true_error", spearman(true_PN, error_PN)),
        rows.mean("spearman_predicted_true", spearman(predicted_PN, true_PN)),
        rows.mean("spearman_predicted_error", spearman(predicted_PN, error_PN)),
        rows.median("recorded_rank", rank_of(predicted_PN, RECORDED), f"of {predicted_PN.shape[1]}"),
        rows.median("pick_error", picked(predicted_PN, error_PN), "tolerances"),
        rows.median("pick_error_true", picked(true_PN, error_PN), "tolerances"),
        rows.median("pick_error_random", error_PN.mean(axis=1), "tolerances"),
        rows.mean("recorded_cost", predicted_PN[:, RECORDED]),
        rows.mean("recorded_cost_true", true_PN[:, RECORDED]),
        rows.mean("cost_variation", variation(predicted_PN)),
        rows.mean("cost_variation_true", variation(true_PN)),
    ]
    if disagreement_PN is not None:
        wrong_PN = np.abs(true_PN - predicted_PN)
        found.append(rows.mean("spearman_disagreement_cost", spearman(disagreement_PN, wrong_PN)))
        found.append(rows.mean("recorded_disagreement", disagreement_PN[:, RECORDED]))
    return found


def plan_measurements(own: Judged, episode_P: np.ndarray) -> list[Measurement]:
    """What comes of the model's own plans, one of each pair (N = 1); resampled by the episode of the pair."""
    predicted_P, true_P, error_P = (values_P1[:, 0] for values_P1 in own[:3])
    rows = _Rows(episode_P)
    found = [
        rows.mean("plan_cost", predicted_P),
        rows.mean("plan_cost_true", true_P),
        rows.ratio("plan_cost_ratio", true_P, predicted_P),
        rows.median("plan_error", error_P, "tolerances"),
        Measurement.of("plan_success", wilson_of_clusters(error_P < 1, episode_P), "rate"),
    ]
    if own.disagreement_PN is not None:
        found.append(rows.mean("plan_disagreement", own.disagreement_PN[:, 0]))
    return found


@dataclass(frozen=True)
class _Rows:
    """Makes measurements of one value a pair; n counts the pairs for which there is a value.

    Args:
        episode_P: of each pair; pairs of one episode are not independent.
    """

    episode_P: np.ndarray

    def mean(self, name: str, values_P: np.ndarray) -> Measurement:
        known_P = np.isfinite(values_P)
        return Measurement.of(name, bootstrap_of_clusters(values_P[known_P], self.episode_P[known_P]))

    def median(self, name: str, values_P: np.ndarray, unit: str) -> Measurement:
        return Measurement.of(name, bootstrap_median(values_P, self.episode_P), unit)

    def ratio(self, name: str, numerators_P: np.ndarray, denominators_P: np.ndarray) -> Measurement:
        """Of the means."""
        return Measurement.of(name, bootstrap_of_clusters(numerators_P, self.episode_P, denominators_P))


class _Judge:
    """Predicts, simulates and prices plans from the starts of a testbed.

    Args:
        agent: plans with the model.
        bed: simulator, tokenizer and pairs.
    """

    def __init__(self, agent: WorldModelAgent, bed: Testbed):
        self.agent, self.bed = agent, bed
        self.starts, goals = (
            look_at(bed.env, [getattr(pair, name) for pair in bed.pairs]) for name in ("start_state", "goal_state")
        )
        agent.reset(goals)
        agent.observe(self.starts)
        self.cost = agent.problem(torch.Generator().manual_seed(_SEED), bed.horizon_blocks).cost
        self.disagreement = None
        with torch.no_grad(), torch.autocast(self.cost.goal.tokens_BSD.device.type, torch.bfloat16):  # as in costs
            has_members = agent.dynamics.predicted(self.cost.state).disagreement_BS is not None
        if has_members:
            parts = (self.cost.dynamics, self.cost.state, self.cost.goal)
            self.disagreement = RolloutCost(*parts, Disagreement(last_block=True))

    def __call__(self, actions_PNHA: Tensor, title: str, progress: OpenProgress) -> Judged:
        bed = self.bed
        candidates_PNHA = actions_PNHA.to(self.cost.goal.tokens_BSD.device)
        with torch.no_grad():
            predicted_PN = self.cost(candidates_PNHA)
            disagreement_PN = None if self.disagreement is None else _on_cpu(self.disagreement(candidates_PNHA))
        with progress(title, len(bed.pairs), "pairs") as bar:
            outcomes = simulate(bed.make_env, bed.pairs, actions_PNHA, bed.blocks, bar)
        tokens_PNSD = future_tokens(bed.tokenizer, self.starts, outcomes.ends)
        true_PN = true_cost(self.agent.dynamics, self.cost.objective, self.cost.goal, tokens_PNSD, outcomes.ends)
        return Judged(_on_cpu(predicted_PN), true_PN, outcomes.error_PN, disagreement_PN)


def _on_cpu(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


@torch.no_grad()
def true_cost(
    dynamics: Dynamics, objective: Objective, goal: Goal, tokens_PNSD: Tensor, ends: Observation
) -> np.ndarray:
    """Cost of what really follows, ``(P, N)``, by an objective that looks at the last block only.

    Args:
        dynamics: whose units count.
        objective: of rollouts.
        goal: of P pairs, normalised.
        tokens_PNSD: of the ends, in the tokenizer's units.
        ends: P x N rows.
    """
    pairs, plans = tokens_PNSD.shape[:2]
    device = goal.tokens_BSD.device
    proprio_R1P = torch.from_numpy(ends.proprio_BP)[:, None]
    actions_R1A = torch.zeros(pairs * plans, 1, dynamics.action_dim)
    seen = Clip(tokens_PNSD.flatten(0, 1)[:, None], proprio_R1P, actions_R1A)
    clip = dynamics.normalise(seen.on(device))
    single = Rollout(*(values.unflatten(0, (pairs, plans)) for values in (clip.tokens_BTSD, clip.proprio_BTP)))
    no_actions_PNHA = torch.zeros(pairs, plans, 1, dynamics.action_dim, device=device)
    return _on_cpu(objective(single, no_actions_PNHA, goal))
