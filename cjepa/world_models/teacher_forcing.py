"""Training of predictors that see one block after the other: a prediction at every block, and a short rollout."""

from typing import Any, Literal

import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.types import Clip
from cjepa.world_models.dynamics_training import TokenTraining
from cjepa.world_models.losses import Norm, distance
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.block_causal import BlockCausal

Start = Literal["first", "random"]


class TeacherForcedModel(TokenTraining):
    """Teacher forcing at all blocks (DINO-WM), and a rollout of a few blocks beside it (JEPA-WM, V-JEPA 2-AC).

    ``teacher`` is the mean error of what is predicted after each block of a history, from true blocks; ``rollout`` that
    of R blocks, the first of which is predicted from true blocks and the R - 1 others from predictions too; ``proprio``
    that of proprioception in both of them.

    Args:
        predictor: of the block after each block.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        rollout_blocks: R, of which all but the last are fed back; 0 for no rollout.
        rollout_start: the rollout starts after the ``first`` block, or after a ``random`` number of blocks.
        rollout_weight: weight of the rollout.
        proprio_weight: weight of proprioception.
        norm: of all errors.
        scale_tokens: normalise tokens by their mean and deviation; without, they stay as they are.
        step_seed: of the random starts, together with rank and step.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        predictor: BlockCausal,
        lr: float = 5e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        rollout_blocks: int = 0,
        rollout_start: Start = "first",
        rollout_weight: float = 1.0,
        proprio_weight: float = 1.0,
        norm: Norm = "l2",
        scale_tokens: bool = True,
        step_seed: int = 0,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(0, rollout_blocks=rollout_blocks, rollout_weight=rollout_weight, proprio_weight=proprio_weight)
        self.save_hyperparameters()
        self.dynamics = PredictorDynamics(predictor)
        self.rollout_blocks = rollout_blocks
        self.rollout_start = rollout_start
        self.norm = norm
        self.scale_tokens = scale_tokens
        latest_start = 1 if rollout_start == "first" else predictor.history_blocks
        self.predict_blocks = max(1, latest_start + rollout_blocks - predictor.history_blocks)
        self.loss_weights = {"teacher": 1.0, "rollout": rollout_weight, "proprio": proprio_weight}

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class; ``rollout`` is missing without one, ``proprio`` with that entity."""
        predictor, history = self.dynamics.predictor, self.dynamics.history_blocks
        clip = self.dynamics.normalise(batch)
        tokens, proprio, actions = clip
        predicted = predictor.next_blocks(tokens[:, :history], proprio[:, :history], actions[:, :history])
        terms = {"teacher": self._error(predicted[0], tokens[:, 1 : history + 1])}
        of_proprio = [self._error(predicted[1], proprio[:, 1 : history + 1])] if self.dynamics.proprio_dim else []
        if self.rollout_blocks:
            start = self._start(tokens.shape[1], generator)
            end = start + self.rollout_blocks
            visible_BTS = torch.zeros(tokens[:, :start].shape[:3], dtype=torch.bool, device=tokens.device)
            fed = predictor.unroll(tokens[:, :start], proprio[:, :start], actions[:, : end - 1], visible_BTS)
            terms["rollout"] = self._error(fed.future_BFSD, tokens[:, start:end])
            if of_proprio:
                of_proprio.append(self.loss_weights["rollout"] * self._error(fed.proprio_BFP, proprio[:, start:end]))
        return terms | ({"proprio": sum(of_proprio)} if of_proprio else {})

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`~cjepa.world_models.dynamics_training.DynamicsTraining`."""
        names = ("rollout_blocks", "rollout_start", "norm", "scale_tokens")
        return super().describe_objective() | {name: getattr(self, name) for name in names}

    def _start(self, blocks: int, generator: torch.Generator) -> int:
        """How many true blocks the rollout starts from."""
        if self.rollout_start == "first":
            return 1
        most = min(self.dynamics.history_blocks, blocks - self.rollout_blocks)
        return int(torch.randint(1, most + 1, (), generator=generator))

    def _error(self, predicted: Tensor, target: Tensor) -> Tensor:
        return distance(predicted.float(), target, self.norm).mean()
