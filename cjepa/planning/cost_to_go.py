"""The way that is left to a goal, as a learned value knows it: for goals that no plan reaches at once."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import above, at_least
from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.planning.objectives import Goal, Learned, Objective, run_content, tokenizer_units
from cjepa.policies.goal_value import GoalValue, load_goal_value
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, fingerprint
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics


class CostToGo(Objective):
    """Blocks from a plan to the goal, by a learned value, and the error in places, which is finer near the goal.

    What a frame looks like says little about how far the goal is: an agent on the wrong side of its block has to walk
    around it first, away from where it should be in the end. The block of a plan with the least sum counts.

    Args:
        run: run or checkpoint of `cjepa fit -c experiments/pusht/goal_value.yaml`, of the world model's tokenizer.
        near_weight: of the error of :class:`~cjepa.planning.probe_error.ProbeError`, read by the value's own probe, in
            blocks per tolerance, 0 or more.
        place_tolerance: distance that is one tolerance, in the units of the state.
        angle_tolerance: angle that is one tolerance, in degrees.

    Raises:
        ValueError: ``near_weight`` is negative or not finite, or a tolerance is not above 0.
    """

    def __init__(
        self,
        run: str = "zoo:pusht-goal-value",
        near_weight: float = 0.3,
        place_tolerance: float = 20.0,
        angle_tolerance: float = 20.0,
    ):
        at_least(0, near_weight=near_weight)
        above(0, place_tolerance=place_tolerance, angle_tolerance=angle_tolerance)
        self.run, self.near_weight = run, near_weight
        self.place_tolerance, self.angle_tolerance = place_tolerance, angle_tolerance

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "CostToGo":
        """See :class:`~cjepa.planning.objectives.Objective`; reads the value.

        Raises:
            UserError: ``run`` is no value of the tokenizer's tokens.
        """
        value = load_goal_value(find_checkpoint(self.run), fingerprint(tokenizer)).to(device_of(dynamics))
        return self.knowing(value, dynamics)

    def knowing(self, value: GoalValue, dynamics: Dynamics) -> "CostToGo":
        """The objective with a value, for the rollouts of a world model."""
        knows = copy.copy(self)
        knows._value, knows._dynamics = value, dynamics
        return knows

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`~cjepa.planning.objectives.Objective`; the episodes of the value, and so of its probe.

        Raises:
            UserError: there is no such checkpoint.
        """
        own = read_checkpoint(find_checkpoint(self.run)).get("lineage") or {}
        return [Learned(f"value of goals {self.run}", own)]

    def decided_by(self) -> dict[str, Any]:
        """What decides its costs: the content of the checkpoint, wherever it is; what is missing is refused later."""
        return vars(self) | {"run": run_content(self.run)}

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`~cjepa.planning.objectives.Objective`."""
        value = self._value
        with torch.autocast(rollout.tokens_BHSD.device.type, enabled=False):  # bfloat16 is too coarse for places
            seen_BNHR, goal_B11R = (
                value.probe(tokenizer_units(self._dynamics, either)) for either in (rollout, goal.as_rollout())
            )
            blocks_BNH = value.blocks(seen_BNHR, goal_B11R)
            distance_BNH, degrees_BNH = value.probe.differences(seen_BNHR, goal_B11R)
        near_BNH = distance_BNH / self.place_tolerance + degrees_BNH / self.angle_tolerance
        return (blocks_BNH + self.near_weight * near_BNH).amin(dim=2)
