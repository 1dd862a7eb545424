"""What a planner has to solve: the door between planners and whoever has a goal."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cjepa.planning.constraints import Constraint
from cjepa.types import Plan


class Cost(Protocol):
    """How good candidates are; evaluated where the actions are."""

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """Candidates in the environment's units -> cost ``(B, N)``, lower is better; NaN is worse than anything."""


@dataclass(frozen=True)
class PlanningProblem:
    """Find sequences of action blocks of low cost, one for each of several environments.

    Args:
        cost: of candidates. The costs of a row depend on the candidates of this row only.
        low_A: lowest action values of one block, in the environment's units.
        high_A: highest action values of one block.
        batch: B, environments.
        horizon_blocks: H.
        generator: of all randomness, on the device of the bounds.
        constraints: what else a plan has to satisfy, applied in this order; the bounds come last.
        frame_stride: env steps per block, whose actions follow each other in the A values of a block.

    Raises:
        ValueError: bounds of different shapes or devices, a bound that is not finite, ``low_A`` above ``high_A``, or A
            is not a multiple of ``frame_stride``.
    """

    cost: Cost
    low_A: Tensor
    high_A: Tensor
    batch: int
    horizon_blocks: int
    generator: torch.Generator
    constraints: tuple[Constraint, ...] = ()
    frame_stride: int = 1

    def __post_init__(self):
        if self.low_A.shape != self.high_A.shape or self.low_A.ndim != 1:
            shapes = f"{tuple(self.low_A.shape)} and {tuple(self.high_A.shape)}"
            raise ValueError(f"bounds of shapes {shapes}, expected (A,) twice")
        if not self.low_A.device == self.high_A.device == self.generator.device:
            where = f"{self.low_A.device}, {self.high_A.device} and {self.generator.device}"
            raise ValueError(f"low_A, high_A and generator are on {where}, expected one device")
        if not (self.low_A <= self.high_A).all() or not torch.isfinite(self.high_A - self.low_A).all():
            raise ValueError(f"bounds {self.low_A.tolist()} to {self.high_A.tolist()}, expected finite low <= high")
        if len(self.low_A) % self.frame_stride:
            raise ValueError(f"{len(self.low_A)} action values per block of {self.frame_stride} env steps")

    @property
    def device(self) -> torch.device:
        """Of bounds, candidates and costs."""
        return self.generator.device

    @property
    def half_range(self) -> Tensor:
        """Half of the distance between the bounds, ``(A,)``."""
        return (self.high_A - self.low_A) / 2

    def start(self, warm_start_BKHA: Tensor | None = None) -> Tensor:
        """The allowed sequence to start the search from, ``(B, H, A)``: near the first warm start, else the middle."""
        return self.starts(warm_start_BKHA)[:, 0]

    def starts(self, warm_start_BKHA: Tensor | None = None) -> Tensor:
        """Allowed sequences near all warm starts, ``(B, K, H, A)``; without any the middle of the bounds, K = 1."""
        if warm_start_BKHA is None:
            middle_A = (self.low_A + self.high_A) / 2
            warm_start_BKHA = middle_A.expand(self.batch, 1, self.horizon_blocks, -1)
        return self.project(warm_start_BKHA)

    def project(self, actions_BNHA: Tensor) -> Tensor:
        """Allowed sequences near the candidates, ``(B, N, H, A)``, within the bounds."""
        if self.constraints:
            actions_BNTV = self.env_steps(actions_BNHA)
            for constraint in self.constraints:
                actions_BNTV = constraint.project(actions_BNTV)
            actions_BNHA = actions_BNTV.reshape(actions_BNHA.shape)
        return actions_BNHA.clamp(self.low_A, self.high_A)

    def env_steps(self, actions_BNHA: Tensor) -> Tensor:
        """Blocks as the T actions of their env steps in time order, of V values each, ``(B, N, T, V)``."""
        return actions_BNHA.unflatten(-1, (self.frame_stride, -1)).flatten(2, 3)

    def nothing(self) -> Plan:
        """Doing nothing, and its cost: actions of 0, or the nearest that are allowed."""
        zeros_BHA = self.low_A.new_zeros(self.batch, self.horizon_blocks, len(self.low_A))
        actions_BHA = self.project(zeros_BHA[:, None])[:, 0]
        return Plan(actions_BHA, self.cost(actions_BHA[:, None])[:, 0])

    def noise(self, num_samples: int) -> Tensor:
        """Standard normal values for N candidates, ``(B, N, H, A)``."""
        shape = (self.batch, num_samples, self.horizon_blocks, len(self.low_A))
        return torch.randn(shape, generator=self.generator, device=self.device)


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """A generator on ``device`` that ``generator`` decides: itself where it is on that device."""
    if generator.device == device:
        return generator
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)
