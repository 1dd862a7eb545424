"""Trains a tokenizer by its own losses and watches how well its tokens match the objects."""

import json
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor
from torchmetrics import Metric

from cjepa.arguments import at_least
from cjepa.checkpoints import another_kind, class_of, find_checkpoint, load_module, read_checkpoint
from cjepa.configuration.moved import original
from cjepa.data.token_clips import refuse_tokens
from cjepa.errors import UserError
from cjepa.optim import adamw_with_warmup_cosine, check_schedule
from cjepa.tokenizers.base import Tokenizer, TrainableTokenizer, float_frames
from cjepa.tokenizers.features import check_features
from cjepa.tokenizers.scoring import Encoded, ScoredTokenizer
from cjepa.types import VideoBatch

_PREPARING_FRAMES = 512


class TokenizerTraining(ScoredTokenizer):
    """Minimises the weighted sum of a tokenizer's losses on clips.

    Args:
        tokenizer: the tokenizer to train.
        metrics: see :class:`~cjepa.tokenizers.scoring.ScoredTokenizer`.
        loss_weights: weights of the tokenizer's loss terms by name; terms without a weight are only logged.
        lr: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        warmup_steps: steps in which the learning rate rises to its peak.

    Raises:
        ValueError: a number is out of its range.
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
        super().__init__(metrics)
        check_schedule(lr, weight_decay, warmup_steps)
        at_least(0, **{f"the loss weight of {name}": weight for name, weight in loss_weights.items()})
        self.save_hyperparameters()
        self.tokenizer = tokenizer
        self.loss_weights = loss_weights
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "against_collapse": self.tokenizer.against_collapse}

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """One step."""
        terms = self.loss_terms(batch)
        loss = self.weighted(terms)
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=len(batch.pixels_BTYXC))
        self.log("train/loss", loss, batch_size=len(batch.pixels_BTYXC))
        return loss

    def loss_terms(self, batch: VideoBatch) -> dict[str, Tensor]:
        """The tokenizer's losses, for some also of the clips' label images."""
        labels = (batch.labels_BTYX,) if self.tokenizer.learns_from_labels else ()
        return self.tokenizer.loss_terms(*self.inputs(batch), *labels)

    def weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss, a scalar: the sum of the terms, each times its weight; those without a weight are left out.

        Args:
            terms: scalars by name.

        Raises:
            UserError: a weight is given for a term that the tokenizer does not have.
        """
        if unknown := sorted(set(self.loss_weights) - set(terms)):
            raise UserError(
                f"model.init_args.loss_weights names {unknown[0]!r}, but {type(self.tokenizer).__name__} has "
                f"{sorted(terms)}"
            )
        return sum(weight * terms[name] for name, weight in self.loss_weights.items())

    def score(self, batch: VideoBatch, stage: str) -> Encoded:
        """The losses too."""
        terms = self.loss_terms(batch)
        values = {f"{stage}/{name}": term for name, term in terms.items()} | {f"{stage}/loss": self.weighted(terms)}
        self.log_dict(values, batch_size=len(batch.pixels_BTYXC), on_epoch=True, sync_dist=True)
        return super().score(batch, stage)

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine."""
        total = int(self.trainer.estimated_stepping_batches)
        return adamw_with_warmup_cosine(self, self.lr, self.weight_decay, self.warmup_steps, total)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, of which the tokenizer hears."""
        super().optimizer_step(*args, **kwargs)
        done = self.global_step + 1  # Lightning counts the step after this
        self.tokenizer.after_step(min(done / self.trainer.estimated_stepping_batches, 1.0))

    def on_fit_start(self) -> None:
        """Show the tokenizer training frames, unless a checkpoint brings what it made of them.

        Raises:
            UserError: the data are tokens, frames of another environment, or episodes that a pretrained encoder within
                the tokenizer may not be tested on.
        """
        refuse_tokens(self, self.trainer.datamodule)
        self.check_environment()
        data = self.trainer.datamodule
        check_features(self.tokenizer, data.file, data.splits)
        self._know(env_id=data.file.attributes.get("env_id"))
        if self.trainer.ckpt_path is None:
            frames = data.sample_frames(_PREPARING_FRAMES)
            self.tokenizer.prepare(float_frames(self.tokenizer, frames).to(self.device))

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["env_id"] = self.tokenizer.info.env_id
        lineage = getattr(self.trainer.datamodule, "lineage", None)  # a DataModule of the user's own may not know
        checkpoint["lineage"] = {} if lineage is None else lineage._asdict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        options = original(checkpoint["hyper_parameters"]["tokenizer"])  # a moved class makes the same tokens
        for name in self.tokenizer.options_without_effect:
            options.get("init_args", {}).pop(name, None)
        self._know(env_id=checkpoint.get("env_id"), options=json.dumps(options, sort_keys=True, default=str))

    def _know(self, **facts: str | None) -> None:
        self.tokenizer.info = self.tokenizer.info._replace(**facts)


def lineage_of_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Which episodes the model of a checkpoint learned from, see :class:`~cjepa.data.splits.Lineage`; empty: unknown.

    Raises:
        UserError: the file is missing, or is not a checkpoint.
    """
    content = read_checkpoint(checkpoint)
    callbacks = content.get("callbacks") or {}
    known = callbacks.get("SameEpisodes") or {}  # where checkpoints of 0.6.0 have it
    return content.get("lineage") or (known | {"identities": []} if known else {})


def load_tokenizer(checkpoint: str | Path) -> Tokenizer:
    """The frozen tokenizer of a training checkpoint, in eval mode; also that of a world model trained from pixels.

    Args:
        checkpoint: a run folder, an exported folder, a file, or ``zoo:NAME``.

    Raises:
        UserError: the file is missing, unreadable or another model's.
    """
    checkpoint = find_checkpoint(str(checkpoint))
    content = read_checkpoint(checkpoint)
    if not any(name.startswith("tokenizer.") for name in content["state_dict"]):
        raise another_kind(checkpoint, class_of(content), TokenizerTraining.kind)
    return load_module(L.LightningModule, content, checkpoint).tokenizer.requires_grad_(False).eval()
