"""How far predicted futures are from a goal, and what else their actions cost."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cjepa.arguments import at_least, check
from cjepa.checkpoints import find_checkpoint
from cjepa.errors import UserError
from cjepa.files import file_digest
from cjepa.planning.distances import ByIndex, TokenDistance
from cjepa.tokenizers.base import Tokenizer
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics


class Goal(NamedTuple):
    """Where each of B environments should get to, in the units of the model's rollouts."""

    tokens_BSD: Tensor
    proprio_BP: Tensor
    fixed_BP: Tensor
    """1 for the proprio values that the goal fixes, 0 for the others: a goal image fixes a place, not a speed."""
    text_BW: Tensor | None = None
    """What :meth:`Objective.read` makes of the sentences that should become true, if goals are sentences."""
    known_BP: Tensor | None = None
    """1 for the proprio values that are known, 0 for those that are not: a picture shows none. None: all are known."""

    def as_rollout(self) -> Rollout:
        """As the only block of the only candidate of every environment."""
        return Rollout(self.tokens_BSD[:, None, None], self.proprio_BP[:, None, None])


class Learned(NamedTuple):
    """What an objective has learned from."""

    name: str
    """Of what it has learned, for people."""
    lineage: Mapping[str, Any]
    """Which episodes those were, see :class:`~cjepa.data.splits.Lineage`; empty where this is unknown."""


class Objective(ABC):
    """Cost of candidate plans. Lower is better; objectives add up, see :class:`WeightedSum`."""

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "Objective":
        """The objective for rollouts of one world model; itself, unless the objective needs to know the model.

        Args:
            dynamics: of the world model.
            tokenizer: whose tokens the world model was trained on.
            lineage: which episodes the world model learned from, see :class:`~cjepa.data.splits.Lineage`; empty where
                this is unknown.
        """
        return self

    def read(self, sentences: Sequence[str]) -> Tensor | None:
        """Embeddings of sentences ``(B, W)``; None from an objective that reads none: it compares tokens."""
        return None

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """What the objective has learned from, before or in :meth:`for_model`: no trials are from these episodes.

        Args:
            lineage: of the world model that the objective is for.
        """
        return []

    @abstractmethod
    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """Cost of N candidates for each of B environments.

        The cost of a candidate depends on this candidate only: candidates are evaluated in parts.

        Args:
            rollout: predicted by the model, in its units: tokens ``(B, N, H, S, D)``, proprio ``(B, N, H, P)``; P is 0
                for a model without proprioception.
            actions_BNHA: the candidates, in the environment's units.
            goal: of each environment.

        Returns:
            Cost ``(B, N)``, differentiable in rollout and actions where the objective is.
        """


def tokenizer_units(dynamics: Dynamics, rollout: Rollout) -> Tensor:
    """Tokens of candidates ``(B, N, H, S, D)`` in the tokenizer's units, float32.

    To be called without autocast, in whose bfloat16 places would be too coarse.
    """
    flat = rollout.map(lambda values: values.flatten(0, 1).float())
    return dynamics.denormalise(flat).tokens_BHSD.unflatten(0, rollout.tokens_BHSD.shape[:2])


def disagreement_of(rollout: Rollout) -> Tensor:
    """How far the members of an ensemble disagree about every block, in the model's units: mean over S, ``(B, H)``.

    Raises:
        UserError: the model has no members.
    """
    if rollout.disagreement_BHS is None:
        raise UserError(
            "disagreement needs a world model that is an ensemble; train one with `cjepa fit ... -c "
            "experiments/pusht/ensemble.yaml`, or plan without it"
        )
    return rollout.disagreement_BHS.mean(dim=-1)


def run_content(run: str) -> str:
    """The content of a run's checkpoint as a digest, wherever it is; the run as it was given where there is none."""
    try:
        return file_digest(find_checkpoint(run))
    except UserError:
        return run


class GoalMSE(Objective):
    """Mean squared error to the goal, of tokens and of proprioception, at every block; a subclass says which counts.

    A ``distance`` may compare tokens otherwise than by squares, for example
    :class:`~cjepa.planning.distances.AbsoluteByIndex`.

    Args:
        proprio_weight: weight of the proprioceptive error, 0 or more.
        position_only: compare only the proprioceptive values that a goal fixes (the environment's ``goal_proprio``),
            since a goal says where the agent is, not how fast it has to move there. False: all that are known of it.
        distance: of tokens, and which objects count; None: all objects, slot by slot.

    Raises:
        ValueError: ``proprio_weight`` is negative or not finite.
    """

    blocks = slice(None)
    """Those that count, whatever their errors: nothing is computed for the others."""

    def __init__(self, proprio_weight: float = 1.0, position_only: bool = True, distance: TokenDistance | None = None):
        at_least(0, proprio_weight=proprio_weight)
        self.proprio_weight = proprio_weight
        self.position_only = position_only
        self.distance = distance or ByIndex()

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`."""
        counted = rollout.map(lambda values: values[:, :, self.blocks])
        return self.over_blocks(self._error(counted, goal))

    @abstractmethod
    def over_blocks(self, error_BNH: Tensor) -> Tensor:
        """Cost ``(B, N)`` of the errors of the ``blocks``."""

    def _error(self, rollout: Rollout, goal: Goal) -> Tensor:
        tokens_BNH = self.distance(rollout.tokens_BHSD, goal.tokens_BSD)
        if not goal.proprio_BP.shape[1]:
            return tokens_BNH
        counted_BP = goal.fixed_BP if self.position_only else goal.known_BP
        counted_B11P = (torch.ones_like(goal.proprio_BP) if counted_BP is None else counted_BP)[:, None, None]
        error_BNHP = (rollout.proprio_BHP - goal.proprio_BP[:, None, None]).square()
        error_BNH = (error_BNHP * counted_B11P).sum(dim=3) / counted_B11P.sum(dim=3).clamp(min=1)
        return tokens_BNH + self.proprio_weight * error_BNH


class LastStepMSE(GoalMSE):
    """The error of the last block (DINO-WM, C-JEPA): be at the goal when the plan ends. For whole plans.

    An agent that replans before its plan ends puts its arrival off: the goal is always as far away as the plan is long.
    On Push-T with plans of five blocks it then reached 15 % of the goals, and 49 % with whole plans.
    """

    blocks = slice(-1, None)

    def over_blocks(self, error_BNH: Tensor) -> Tensor:
        """See :class:`GoalMSE`."""
        return error_BNH[..., -1]


class LeastStepMSE(GoalMSE):
    """The error of the block that comes nearest to the goal: be there at any time. For plans that are replaced early.

    In the measurement that :class:`LastStepMSE` names: 55 to 61 % of the goals, replanned after every block.
    """

    def over_blocks(self, error_BNH: Tensor) -> Tensor:
        """See :class:`GoalMSE`."""
        return error_BNH.amin(dim=-1)


class MeanStepMSE(GoalMSE):
    """The mean error of all blocks: approach the goal by the shortest way, and stay there.

    In the measurement that :class:`LastStepMSE` names: 37 % of the goals, replanned after every block.
    """

    def over_blocks(self, error_BNH: Tensor) -> Tensor:
        """See :class:`GoalMSE`."""
        return error_BNH.mean(dim=-1)


class Disagreement(Objective):
    """How far the members of an ensemble disagree about the future: the search does not believe what one of them says.

    In the units of :class:`GoalMSE`: with ``last_block``, added to :class:`LastStepMSE` with a weight of 1, it makes
    the error of the members' mean the mean error of the members.

    Args:
        last_block: count the last block only, instead of the mean over blocks.
    """

    def __init__(self, last_block: bool = False):
        self.last_block = last_block

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`.

        Raises:
            UserError: the model has no members.
        """
        disagreement_BNH = disagreement_of(rollout)
        return disagreement_BNH[..., -1] if self.last_block else disagreement_BNH.mean(dim=-1)


class ActionCost(Objective):
    """The mean square of all action values, in the environment's units: for small motions, as a part of a sum."""

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`."""
        return actions_BNHA.square().mean(dim=(2, 3))


class WeightedSum(Objective):
    """Several objectives, each times its weight.

    Args:
        objectives: to add up, at least one.
        weights: one per objective; 1 for all of them where there are none.

    Raises:
        ValueError: no objectives, another number of weights, or a weight that is not finite.
    """

    def __init__(self, objectives: Sequence[Objective], weights: Sequence[float] | None = None):
        weights = [1.0] * len(objectives) if weights is None else weights
        if not objectives or len(weights) != len(objectives):
            raise ValueError(f"{len(weights)} weights for {len(objectives)} objectives, expected one each, 1 or more")
        for weight in weights:
            check(math.isfinite(weight), "a weight", weight, "a finite number")
        self.objectives = objectives
        self.weights = weights

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "WeightedSum":
        """See :class:`Objective`; of every part."""
        return WeightedSum([part.for_model(dynamics, tokenizer, lineage) for part in self.objectives], self.weights)

    def read(self, sentences: Sequence[str]) -> Tensor | None:
        """See :class:`Objective`; what all parts make of the sentences that read any.

        Raises:
            UserError: they read with different language models, but a goal has one embedding.
        """
        read = [text_BW for part in self.objectives if (text_BW := part.read(sentences)) is not None]
        if any(other.shape != read[0].shape or not torch.allclose(other, read[0]) for other in read[1:]):
            raise UserError(
                "the parts of WeightedSum read sentences with different language models; give the same run to all"
            )
        return read[0] if read else None

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`Objective`; of every part."""
        return [learned for part in self.objectives for learned in part.learned(lineage)]

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`Objective`."""
        costs = (objective(rollout, actions_BNHA, goal) for objective in self.objectives)
        return sum(weight * cost_BN for weight, cost_BN in zip(self.weights, costs, strict=True))
