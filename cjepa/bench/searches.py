"""What `cjepa bench planner` times: the published search and ours, with the same random weights.

Contenders run a part of their search. Nothing but the network's size depends on what tokens mean: they are normal
values.

File letter: N candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.bench.published import PublishedSearch, multihead_copy
from cjepa.bench.train import ACTION_DIM, FILTER, PAPER, PROPRIO_DIM, SLOTS, TOKEN_DIM
from cjepa.evaluation.budgets import gigaflops
from cjepa.planning.costs import RolloutCost
from cjepa.planning.distances import ByIndex, Matched
from cjepa.planning.objectives import Goal, LastStepMSE, LeastStepMSE, Objective
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.icem import ICEM
from cjepa.planning.problem import PlanningProblem
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip, Rollout
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.object_filter import ObjectFilter

REFERENCE, FULL, HALF = "published-fp32", "cjepa-fp32", "cjepa-bf16"
HORIZON_BLOCKS, HISTORY_BLOCKS, FRAME_STRIDE = 5, 3, 5
CEM_SIZES = {"num_samples": 300, "iterations": 30, "num_elites": 30}
"""As published, and in experiments/pusht/plan.yaml."""
ICEM_SIZES = {"num_samples": 128, "iterations": 10, "num_elites": 16, "initial_std": 0.25, "noise_exponent": 2.0}
"""Of experiments/pusht/plan_best.yaml."""
FILTER_SLOTS, FILTER_TOKEN_DIM, MEMBERS = 2, 34, 3
"""Of zoo:pusht-slots and experiments/pusht/ensemble.yaml."""
PATCH_SIDES = (4, 8, 14)
SEED = 0
_CPU = torch.device("cpu")


class InFloat32(PredictorDynamics):
    """Rolls out in float32, whatever precision its caller asks for."""

    def rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        with torch.autocast(actions_BHA.device.type, enabled=False):
            return super().rollout(state, actions_BHA)


@dataclass(frozen=True)
class Search:
    """A part of a search that can be timed.

    Args:
        run: searches with the random numbers of a seed, and returns the actions ``(H, A)``.
        cost: of candidates ``(N, H, A)`` -> ``(N,)``.
        timed: candidates that ``run`` evaluates.
        whole: candidates that a whole search evaluates.
        tokens: S, object tokens per block.
        token_dim: D.
        members: networks that predict every candidate.
        device: of the network.
        environments: that are planned for at once; counts of candidates are of one of them.
    """

    run: Callable[[int], Tensor]
    cost: Callable[[Tensor], Tensor]
    timed: int
    whole: int
    tokens: int
    token_dim: int
    members: int = 1
    device: torch.device = _CPU
    environments: int = 1

    def gigaflops(self) -> float:
        """Of a whole search, counted on two candidates."""
        actions_NHA = torch.rand(2, HORIZON_BLOCKS, ACTION_DIM, generator=torch.Generator().manual_seed(SEED))
        return gigaflops(self.cost, actions_NHA.to(self.device)) / len(actions_NHA) * self.whole


def make_searches(
    iterations: int, candidates: int, patch_candidates: int, device: torch.device = _CPU, environments: int = 1
) -> dict[str, Search]:
    """All contenders by name."""
    objects = paper_network(matching="hungarian").to(device)
    return {
        REFERENCE: published_search(objects, iterations, candidates),
        FULL: cem_search(InFloat32(objects), SLOTS, iterations, candidates),
        HALF: cem_search(PredictorDynamics(objects), SLOTS, iterations, candidates),
        "object-filter": icem_search(filter_network, device, environments),
        f"object-filter x {MEMBERS}": icem_search(
            partial(Ensemble, filter_network, MEMBERS), device, environments, MEMBERS
        ),
        **{
            f"patch-{side}x{side}": cem_search(
                PredictorDynamics(paper_network(num_positions=side**2).to(device)),
                side**2,
                iterations,
                patch_candidates,
            )
            for side in PATCH_SIDES
        },
    }


def paper_network(**options) -> EntityTransformer:
    """C-JEPA's predictor at the paper's size with random weights; its heads too, so that candidates differ."""
    torch.manual_seed(SEED)
    sizes = {"proprio_dim": PROPRIO_DIM, "action_dim": ACTION_DIM, "history_blocks": HISTORY_BLOCKS}
    network = EntityTransformer(TOKEN_DIM, **sizes, **PAPER, **options)
    for head in (network.token_head, network.proprio_head):
        head.reset_parameters()
    return network.eval()


def filter_network() -> ObjectFilter:
    """The fast predictor at the size of its YAML, with random weights."""
    network = ObjectFilter(FILTER_TOKEN_DIM, PROPRIO_DIM, ACTION_DIM, history_blocks=1, **FILTER)
    for head in (network.token_head, network.proprio_head, network.move_head):
        head.reset_parameters()
    return network.eval()


def random_frame(tokens: int, token_dim: int, seed: int, device: torch.device) -> Clip:
    """One block of one environment, normalised."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tokens, token_dim), (PROPRIO_DIM,), (ACTION_DIM,))
    return Clip(*(torch.randn(1, 1, *shape, generator=generator).to(device) for shape in shapes))


def published_search(network: EntityTransformer, iterations: int, candidates: int) -> Search:
    """The reference."""
    device = device_of(network)
    now, goal = (random_frame(SLOTS, TOKEN_DIM, seed, device) for seed in (1, 2))
    sizes = {"num_samples": candidates, "iterations": iterations, "num_elites": _elites(candidates)}
    search = PublishedSearch(multihead_copy(network).to(device), now, goal, HORIZON_BLOCKS, **sizes)

    @torch.no_grad()
    def run(seed: int) -> Tensor:
        return search.plan(torch.Generator().manual_seed(seed))

    return Search(run, search.cost, candidates * iterations, _cem_candidates(), SLOTS, TOKEN_DIM, device=device)


def cem_search(dynamics: PredictorDynamics, tokens: int, iterations: int, candidates: int) -> Search:
    """Ours with the published sizes; objects are matched, patches are not."""
    distance = Matched() if dynamics.predictor.matching == "hungarian" else ByIndex()
    objective = LastStepMSE(position_only=False, distance=distance)
    problem = partial(_problem, dynamics, objective, tokens)
    planner = CEM(candidates, iterations, _elites(candidates))
    return Search(
        partial(_planned, planner, problem),
        lambda actions_NHA: problem(SEED).cost(actions_NHA[None])[0],
        candidates * iterations,
        _cem_candidates(),
        tokens,
        TOKEN_DIM,
        device=device_of(dynamics),
    )


def icem_search(
    make_network: Callable[[], Predictor], device: torch.device, environments: int = 1, members: int = 1
) -> Search:
    """The recommended search."""
    torch.manual_seed(SEED)
    planner, dynamics = ICEM(**ICEM_SIZES), PredictorDynamics(make_network()).to(device).eval()
    problem = partial(_problem, dynamics, LeastStepMSE(), FILTER_SLOTS)
    whole = sum(planner.population_sizes) + 1  # the start of the search too
    return Search(
        partial(_planned, planner, partial(problem, environments=environments)),
        lambda actions_NHA: problem(SEED).cost(actions_NHA[None])[0],
        whole,
        whole,
        FILTER_SLOTS,
        FILTER_TOKEN_DIM,
        members,
        device,
        environments,
    )


@torch.no_grad()
def _planned(planner: Planner, problem: Callable[[int], PlanningProblem], seed: int) -> Tensor:
    return planner.plan(problem(seed)).actions_BHA[0].cpu()


def _problem(
    dynamics: PredictorDynamics, objective: Objective, tokens: int, seed: int, environments: int = 1
) -> PlanningProblem:
    """From one frame to the next, both random, alike in all environments; the actions' bounds are -1 and 1."""
    device = device_of(dynamics)
    now, goal = (
        Clip(*(values.expand(environments, *values.shape[1:]) for values in frame))
        for frame in (random_frame(tokens, dynamics.token_dim, number, device) for number in (1, 2))
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=not isinstance(dynamics, InFloat32)):
        state = dynamics.observe(now)
    scale_BP = torch.ones(environments, PROPRIO_DIM, device=device)
    cost = RolloutCost(dynamics, state, Goal(goal.tokens_BTSD[:, 0], goal.proprio_BTP[:, 0], scale_BP), objective)
    bound_A, generator = torch.ones(ACTION_DIM, device=device), torch.Generator(device).manual_seed(seed)
    return PlanningProblem(cost, -bound_A, bound_A, environments, HORIZON_BLOCKS, generator, frame_stride=FRAME_STRIDE)


def _elites(candidates: int) -> int:
    """As large a share as published, at least two."""
    return max(2, candidates * CEM_SIZES["num_elites"] // CEM_SIZES["num_samples"])


def _cem_candidates() -> int:
    return CEM_SIZES["num_samples"] * CEM_SIZES["iterations"]
