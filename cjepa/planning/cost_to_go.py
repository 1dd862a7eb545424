"""The way that is left to a goal, as a learned value knows it: for goals that no plan reaches at once."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.planning.objectives import Goal, Learned, Objective, run_content, tokenizer_units
from cjepa.planning.probe_error import ProbeError
from cjepa.policies.goal_value import GoalValue, load_goal_value
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, fingerprint
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics


class CostToGo(Objective):
    """Blocks from a plan to the goal, by a learned value, and an error that is finer near the goal.

    What a frame looks like says little about how far the goal is: an agent on the wrong side of its block has to walk
    around it first, away from where it should be in the end. The block of a plan with the least sum counts.

    Args:
        run: run or checkpoint of `cjepa fit -c experiments/pusht/goal_value.yaml`, of the world model's tokenizer.
        near: error that is added; None for one with its defaults.
        near_weight: of the error, in blocks per tolerance, 0 or more.

    Raises:
        ValueError: ``near_weight`` is negative or not finite.
    """

    def __init__(self, run: str = "runs/goal-value", near: ProbeError | None = None, near_weight: float = 0.3):
        at_least(0, near_weight=near_weight)
        self.run, self.near, self.near_weight = run, near or ProbeError(), near_weight

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "CostToGo":
        """See :class:`~cjepa.planning.objectives.Objective`; reads the value and fits the probe.

        Raises:
            UserError: ``run`` is no value of the tokenizer's tokens, or ``near`` refuses the model.
        """
        value = load_goal_value(find_checkpoint(self.run), fingerprint(tokenizer)).to(device_of(dynamics))
        return self.knowing(value, self.near.for_model(dynamics, tokenizer, lineage), dynamics)

    def knowing(self, value: GoalValue, near: ProbeError, dynamics: Dynamics) -> "CostToGo":
        """The objective with value and error for the rollouts of a world model."""
        knows = copy.copy(self)
        knows.near, knows._value, knows._dynamics = near, value, dynamics
        return knows

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`~cjepa.planning.objectives.Objective`; the episodes of value and probe.

        Raises:
            UserError: there is no such checkpoint or token file.
        """
        checkpoint = find_checkpoint(self.run)
        value = Learned(f"value of goals {checkpoint}", read_checkpoint(checkpoint).get("lineage") or {})
        return [value, *self.near.learned(lineage)]

    def decided_by(self) -> dict[str, Any]:
        """What decides its costs: the content of the checkpoint, wherever it is; what is missing is refused later."""
        return vars(self) | {"run": run_content(self.run)}

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`~cjepa.planning.objectives.Objective`."""
        with torch.autocast(rollout.tokens_BHSD.device.type, enabled=False):  # bfloat16 is too coarse for places
            tokens_BNHSD = tokenizer_units(self._dynamics, rollout)
            goal_BNHSD = tokenizer_units(self._dynamics, goal.as_rollout()).expand_as(tokens_BNHSD)
            blocks_RH = self._value.blocks(tokens_BNHSD.flatten(0, 1), goal_BNHSD.flatten(0, 1))
        blocks_BNH = blocks_RH.unflatten(0, tokens_BNHSD.shape[:2])
        return (blocks_BNH + self.near_weight * self.near.of_blocks(rollout, goal)).amin(dim=2)
