"""Trains a tokenizer by its own losses and watches how well its tokens match the objects."""

import inspect
import json
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from cjepa.checkpoints import load_module, read_checkpoint
from cjepa.errors import UserError
from cjepa.optim import adamw_with_warmup_cosine
from cjepa.tokenizers.base import TrainableTokenizer, check_environment, float_frames
from cjepa.tokenizers.initialisers import hints_from_labels
from cjepa.types import Tokens, VideoBatch

_PREPARING_FRAMES = 512


class Encoded(NamedTuple):
    """What a tokenizer makes of clips, and what it draws from that."""

    tokens: Tokens
    frames_BT3YX: Tensor | None
    """None where there is no decoder."""
    masks_BTSYX: Tensor
    """float32; the decoder's where there is one."""


class TokenizerTraining(L.LightningModule):
    """Minimises the weighted sum of a tokenizer's losses on clips.

    Args:
        tokenizer: to train.
        metrics: torchmetrics with ``update(masks_BTSYX, labels_BTYX)`` or ``update(tokens_BTSD)``, logged as
            ``val/<their name>``.
        loss_weights: of the tokenizer's loss terms, by name; a term without a weight is not used.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        warmup_steps: of the learning rate.
    """

    def __init__(
        self,
        tokenizer: TrainableTokenizer,
        metrics: list[Metric],
        loss_weights: dict[str, float],
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 200,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.tokenizer = tokenizer
        self.loss_weights = loss_weights
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.scores = nn.ModuleDict(
            {
                stage: MetricCollection({m.name: m.clone() for m in metrics}, prefix=f"{stage}/")
                for stage in ("val", "test")
            }
        )

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """One step."""
        terms = self.tokenizer.loss_terms(*self._inputs(batch))
        loss = self.weighted(terms)
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=len(batch.pixels_BTYXC))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.pixels_BTYXC))
        return loss

    def weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss.

        Raises:
            UserError: a weight is given for a term that the tokenizer does not have.
        """
        if unknown := sorted(set(self.loss_weights) - set(terms)):
            raise UserError(
                f"model.init_args.loss_weights names {unknown[0]!r}, but {type(self.tokenizer).__name__} has "
                f"{sorted(terms)}"
            )
        return sum(weight * terms[name] for name, weight in self.loss_weights.items())

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> Encoded:
        """Losses and scores on held-out clips; gives callbacks what there is to draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: VideoBatch, batch_idx: int) -> Encoded:
        """As validation, on the test episodes."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> Tokens:
        """The tokens of clips."""
        return self.tokenizer.encode(*self._inputs(batch))

    def encode_and_decode(self, batch: VideoBatch) -> Encoded:
        """Tokens, and frames and masks from the tokens where the tokenizer has a decoder."""
        tokens = self.tokenizer.encode(*self._inputs(batch))
        decoded = self.tokenizer.decode(tokens.slots_BTSD)
        frames, masks = (None, tokens.masks_BTSYX) if decoded is None else decoded
        return Encoded(tokens, None if frames is None else frames.float(), masks.float())

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine."""
        total = int(self.trainer.estimated_stepping_batches)
        return adamw_with_warmup_cosine(self.parameters(), self.lr, self.weight_decay, self.warmup_steps, total)

    def on_fit_start(self) -> None:
        """Show the tokenizer training frames, unless a checkpoint brings what it made of them."""
        self._check_environment()
        data = self.trainer.datamodule
        self.tokenizer.env_id = data.file.attributes.get("env_id")
        if self.trainer.ckpt_path is None:
            frames = data.sample_frames(_PREPARING_FRAMES)
            self.tokenizer.prepare(float_frames(self.tokenizer, frames).to(self.device))

    def on_test_start(self) -> None:
        self._check_environment()

    def _check_environment(self) -> None:
        file = self.trainer.datamodule.file
        check_environment(self.tokenizer, file.attributes.get("env_id"), str(file.path))

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["env_id"] = self.tokenizer.env_id

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.tokenizer.env_id = checkpoint.get("env_id")
        self.tokenizer.options = json.dumps(checkpoint["hyper_parameters"]["tokenizer"], sort_keys=True, default=str)

    def _inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """What the tokenizer's methods take: frames, and hints at the first frame's objects if it wants any."""
        pixels_BT3YX = float_frames(self.tokenizer, batch.pixels_BTYXC)
        if not self.tokenizer.hint_dim:
            return (pixels_BT3YX,)
        if batch.labels_BTYX is None:
            raise UserError(
                f"{type(self.tokenizer).__name__} takes hints from label images, and these clips have none; set "
                "data.init_args.labels to true, and collect episodes with masks"
            )
        first_BYX = batch.labels_BTYX[:, 0]
        return pixels_BT3YX, hints_from_labels(first_BYX, self.tokenizer.num_slots, self.tokenizer.hint_dim)

    def _evaluate(self, batch: VideoBatch, stage: str) -> Encoded:
        inputs = self._inputs(batch)
        pixels_BT3YX = inputs[0]
        terms = self.tokenizer.loss_terms(*inputs)
        encoded = self.encode_and_decode(batch)
        values = {f"{stage}/{name}": term for name, term in terms.items()} | {f"{stage}/loss": self.weighted(terms)}
        if encoded.frames_BT3YX is not None:
            values[f"{stage}/psnr"] = -10 * torch.log10((encoded.frames_BT3YX - pixels_BT3YX).square().mean())
        self.log_dict(values, batch_size=len(pixels_BT3YX), on_epoch=True, sync_dist=True)
        for name, metric in self.scores[stage].items():
            if update_metric(metric, encoded, batch.labels_BTYX):
                self.log(name, metric, batch_size=len(pixels_BT3YX))
        return encoded


def update_metric(metric: Metric, encoded: Encoded, labels_BTYX: Tensor | None) -> bool:
    """Show clips to a metric, whichever of masks, labels and tokens it asks for; False if it lacks the labels."""
    given = {"tokens_BTSD": encoded.tokens.slots_BTSD.float(), "masks_BTSYX": encoded.masks_BTSYX}
    given |= {} if labels_BTYX is None else {"labels_BTYX": labels_BTYX}
    asked = inspect.signature(metric.update).parameters
    if labels_BTYX is None and "labels_BTYX" in asked:
        return False
    metric.update(**{name: given[name] for name in asked})
    return True


def load_tokenizer(checkpoint: Path) -> TrainableTokenizer:
    """The frozen tokenizer of a training checkpoint, in eval mode.

    Raises:
        UserError: the file is missing, unreadable or another model's.
    """
    content = read_checkpoint(checkpoint)
    if not any(name.startswith("tokenizer.") for name in content["state_dict"]):
        raise UserError(f"{checkpoint}: not a tokenizer; give a run of `cjepa fit -c experiments/pusht/tokenizer.yaml`")
    return load_module(TokenizerTraining, content, checkpoint).tokenizer.requires_grad_(False).eval()
