"""Problems whose answer is known, for planners."""

import torch

from cjepa.planning.problem import PlanningProblem

B, H, A = 3, 2, 4
LOW, HIGH = torch.tensor([-1.0, -1.0, -2.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 5.0])
TARGET_BHA = LOW + (HIGH - LOW) * torch.rand(B, H, A, generator=torch.Generator().manual_seed(9))


def quadratic(actions_BNHA: torch.Tensor) -> torch.Tensor:
    return (actions_BNHA - TARGET_BHA[:, None]).square().sum(dim=(2, 3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(cost=quadratic, seed: int = 0, batch: int = B, constraints=(), frame_stride: int = 1) -> PlanningProblem:
    return PlanningProblem(cost, LOW, HIGH, batch, H, seeded(seed), constraints, frame_stride)
