"""What a value sees of places: from the block that is pushed, the way to the goal is the same wherever on the table.

File letters: R answers of a probe, M scenes that are equally far from their goals, V values.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cjepa.arguments import above


class PoseFeatures(nn.Module, ABC):
    """Values of a scene and its goal, for networks."""

    places: tuple[int, ...]
    """Indices of the state's values that are places, which a probe reads first."""
    angles: tuple[int, ...]
    """Of those that are angles, of which a probe reads cosine and sine."""
    width: int
    """V."""

    @abstractmethod
    def forward(self, seen_LR: Tensor, goal_LR: Tensor) -> Tensor:
        """Values ``(M, ..., V)`` of scenes that are equally far from their goals; leading dimensions are broadcast.

        Args:
            seen_LR: answers of a :class:`~cjepa.world_models.state_probe.StateProbe`.
            goal_LR: of what should be seen.
        """


class BlockFrame(PoseFeatures):
    """Agent, goal of the agent and goal of the block in the frame of the block, of which the mirror image is as far.

    How near the walls are is not among the values.

    Args:
        unit: length that becomes 1, in the units of the state.

    Raises:
        ValueError: ``unit`` is not above 0.
    """

    places, angles = (0, 1, 2, 3), (4,)
    """Of Push-T: agent, block; its angle."""
    width = 13

    def __init__(self, unit: float = 100.0):
        super().__init__()
        above(0, unit=unit)
        self.unit = unit
        mirror_V = torch.tensor([-1.0, 1.0] * 4 + [1.0, -1.0] + [1.0] * 3)
        self.register_buffer("views_MV", torch.stack([torch.ones(self.width), mirror_V]), persistent=False)

    def forward(self, seen_LR: Tensor, goal_LR: Tensor) -> Tensor:
        """Of the scene and of its mirror image, ``(2, ..., 13)``; see :class:`PoseFeatures`.

        Four places (x, y): agent, its goal, the block's goal, and the agent's goal in the frame of the block's goal;
        cosine and sine of the turn that is left; its size, and the distances of block and agent to their goals.
        """
        seen, goal = (_poses(answers) for answers in torch.broadcast_tensors(seen_LR, goal_LR))
        into_block, into_goal = seen.heading.conj(), goal.heading.conj()
        places = (
            (seen.agent - seen.block) * into_block,
            (goal.agent - seen.block) * into_block,
            (goal.block - seen.block) * into_block,
            (goal.agent - goal.block) * into_goal,
        )
        turn = goal.heading * into_block
        sizes = turn.angle().abs(), places[2].abs() / self.unit, (goal.agent - seen.agent).abs() / self.unit
        points_L10 = torch.view_as_real(torch.stack([*(place / self.unit for place in places), turn], -1)).flatten(-2)
        values_LV = torch.cat([points_L10, torch.stack(sizes, dim=-1)], dim=-1)
        return torch.stack([values_LV * view_V for view_V in self.views_MV])


class _Poses(NamedTuple):
    """Complex numbers: places x + iy, and the direction of the block's x axis."""

    agent: Tensor
    block: Tensor
    heading: Tensor


def _poses(answers_LR: Tensor) -> _Poses:
    agent, block, heading = torch.view_as_complex(answers_LR.unflatten(-1, (3, 2)).contiguous()).unbind(-1)
    return _Poses(agent, block, heading.sgn())
