"""C-JEPA's training as published, beside our own in :mod:`.training`: what the two differ in is in docs/official.md.

File letters: I objects and proprioception; L blocks of a clip, those of the history and the F after it.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from cjepa.arguments import at_least
from cjepa.types import Clip
from cjepa.world_models.dynamics_training import TokenTraining
from cjepa.world_models.losses import distance
from cjepa.world_models.masks import Mask
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.official import OfficialTransformer

Schedule = Literal["cosine", "constant"]


class OfficialWorldModel(TokenTraining):
    """C-JEPA's published training (github.com/galilai-group/cjepa, commit 1415830), on cached tokens.

    The loss is the sum of three mean squared errors: of hidden objects in all blocks of the history, the visible first
    one included; of the objects of the blocks after it; of the embedding of their proprioception. Targets are detached.
    Histories always have ``history_blocks``. Tokens are not normalised; proprioception and actions are.

    Args:
        predictor: of F blocks.
        mask: draws hidden objects; the published code's is a FixedMask.
        lr: of AdamW.
        proprio_lr: the same for the embedding of proprioception.
        weight_decay: of AdamW, on all parameters.
        schedule: ``cosine`` takes learning rates down to 0 at the end of training, as the published code does on
            Push-T; ``constant`` leaves them, as it does on CLEVRER.
        mask_seed: seeds masks, together with rank and step.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_tokens = False

    def __init__(
        self,
        predictor: OfficialTransformer,
        mask: Mask,
        lr: float = 5e-4,
        proprio_lr: float = 1e-4,
        weight_decay: float = 1e-2,
        schedule: Schedule = "cosine",
        mask_seed: int = 0,
    ):
        at_least(0, mask_seed=mask_seed)
        at_least(0, proprio_lr=proprio_lr)
        super().__init__(lr, weight_decay, warmup_steps=0, step_seed=mask_seed)
        self.save_hyperparameters()
        self.dynamics = PredictorDynamics(predictor)
        self.mask = mask
        self.proprio_lr = proprio_lr
        self.schedule = schedule
        self.predict_blocks = predictor.predict_blocks
        self.loss_weights = {"future": 1.0, "masked": 1.0, "proprio": 1.0}

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class; ``masked`` is 0 where nothing is hidden, ``proprio`` is missing with that entity."""
        predictor, blocks = self.dynamics.predictor, self.dynamics.history_blocks
        clip = self.dynamics.normalise(batch.blocks(0, blocks + self.predict_blocks))
        tokens, proprio, actions = clip
        slots = tokens.shape[2]
        mask_BTE = self.mask.sample(tokens[:, :blocks], generator)
        entities_BLID = predictor.embedded(tokens, proprio)
        known = entities_BLID[:, :blocks], predictor.embedded_actions(actions[:, :blocks])
        predicted_BLID = predictor.predict(*known, predictor.hidden(mask_BTE, slots))
        error_BLI = distance(predicted_BLID.float(), entities_BLID.detach().float(), "l2")
        past_BTI, future_BFI = error_BLI.tensor_split([blocks], dim=1)
        masked_BTS = mask_BTE[:, :, :slots].any(dim=1, keepdim=True).expand(-1, blocks, -1)
        terms = {
            "future": future_BFI[:, :, :slots].mean(),
            "masked": (past_BTI[:, :, :slots] * masked_BTS).sum() / masked_BTS.sum().clamp(min=1),
        }
        return terms | ({"proprio": future_BFI[:, :, slots:].mean()} if self.dynamics.proprio_dim else {})

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with two learning rates."""
        of_proprio = [p for name, p in self.named_parameters() if ".embed_proprio." in name]
        others = [p for name, p in self.named_parameters() if ".embed_proprio." not in name]
        groups = [{"params": others, "name": "others"}]
        groups += [{"params": of_proprio, "name": "proprio", "lr": self.proprio_lr}] if of_proprio else []
        optimizer = AdamW(groups, lr=self.lr, weight_decay=self.weight_decay)
        if self.schedule == "constant":
            return {"optimizer": optimizer}
        scheduler = CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`~cjepa.world_models.dynamics_training.DynamicsTraining`; with the mask."""
        return super().describe_objective() | {"mask": self.mask.describe(), "predict_blocks": self.predict_blocks}
