"""Gradient descent on the actions."""

import math

import torch
from torch import Tensor

from cjepa.arguments import above, at_least
from cjepa.errors import UserError
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.candidates import better, cheapest, nothing_found
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class GradientPlanner(Planner):
    """Adam (Kingma and Ba, 2015, arXiv 1412.6980, algorithm 1) on the actions, from several starts at once.

    Actions are measured in halves of their range, and projected into the constraints after every step. The size of the
    steps falls to 0 along half a cosine. Needs a cost with gradients, as world models have and the simulator has not.
    Planners of this kind on world models: JEPA-WMs (arXiv 2512.24497), appendix.

    Args:
        num_starts: N sequences that descend side by side; the first one begins where the search starts.
        iterations: steps; each costs one rollout and its gradient.
        learning_rate: of the first steps, as a share of half the action range.
        initial_std: of the other starts around the first one, as a share of half the action range.

    Raises:
        ValueError: ``num_starts`` or ``iterations`` is below 1, or another number is not above 0.
    """

    def __init__(
        self, num_starts: int = 16, iterations: int = 30, learning_rate: float = 0.3, initial_std: float = 0.5
    ):
        at_least(1, num_starts=num_starts, iterations=iterations)
        above(0, learning_rate=learning_rate, initial_std=initial_std)
        self.num_starts = num_starts
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.initial_std = initial_std

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`.

        Raises:
            UserError: the cost has no gradient.
        """
        start_BHA = problem.start(warm_start_BKHA)
        noise_BNHA = self.initial_std * problem.half_range * problem.noise(self.num_starts - 1)
        others_BNHA = problem.project(start_BHA[:, None] + noise_BNHA)
        actions_BNHA = torch.cat([start_BHA[:, None], others_BNHA], dim=1)
        mean_BNHA, square_BNHA = torch.zeros_like(actions_BNHA), torch.zeros_like(actions_BNHA)
        best = nothing_found(start_BHA)
        for iteration in range(self.iterations):
            cost_BN, gradient_BNHA = _cost_and_gradient(problem, actions_BNHA)
            best = _best_of(best, actions_BNHA, cost_BN)
            mean_BNHA = torch.lerp(gradient_BNHA, mean_BNHA, _BETAS[0])
            square_BNHA = torch.lerp(gradient_BNHA.square(), square_BNHA, _BETAS[1])
            first, second = (1 - beta ** (iteration + 1) for beta in _BETAS)
            rate = self.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2
            step_BNHA = (mean_BNHA / first) / ((square_BNHA / second).sqrt() + _EPSILON)
            actions_BNHA = problem.project(actions_BNHA - rate * problem.half_range * step_BNHA)
        ends_BNHA, cost_BN = cheapest(actions_BNHA, problem.cost(actions_BNHA), self.num_starts)
        return better(best, ends_BNHA[:, 0], cost_BN[:, 0])._replace(elites_BKHA=ends_BNHA[:, 1:])


def _cost_and_gradient(problem: PlanningProblem, actions_BNHA: Tensor) -> tuple[Tensor, Tensor]:
    """Costs, and their gradients with respect to actions in halves of the range; 0 where there is none."""
    with torch.enable_grad():
        actions_BNHA = actions_BNHA.detach().requires_grad_()
        cost_BN = problem.cost(actions_BNHA)
        if not cost_BN.requires_grad:
            raise UserError(
                "GradientPlanner needs a cost with gradients, which this one has not (a simulator has none); choose "
                "another planner, for example cjepa.planning.planners.cem.CEM"
            )
        # the cost of a candidate depends on this candidate only: the gradient of the sum is that of each
        (gradient_BNHA,) = torch.autograd.grad(cost_BN.sum(), actions_BNHA)
    return cost_BN.detach(), (gradient_BNHA * problem.half_range).nan_to_num(0.0, posinf=0.0, neginf=0.0)


def _best_of(best: Plan, actions_BNHA: Tensor, cost_BN: Tensor) -> Plan:
    cheapest_B1HA, cost_B1 = cheapest(actions_BNHA, cost_BN, 1)
    return better(best, cheapest_B1HA[:, 0], cost_B1[:, 0])
