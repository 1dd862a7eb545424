"""What everything that learns from held-out splits of episodes shares: optimiser, random draws, memory of the split."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.draws import generator_of
from cjepa.errors import UserError
from cjepa.optim import adamw_with_warmup_cosine, check_schedule, muon_with_warmup_cosine


class EpisodeTraining(L.LightningModule, ABC):
    """Trains by a weighted sum of loss terms with AdamW, and remembers which episodes were held out.

    Subclasses say what to train: :meth:`loss_terms` and ``loss_weights``; and how to validate: ``validation_step``.

    Args:
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of what training steps draw, together with rank and step.

    Raises:
        ValueError: a number is out of its range.
    """

    loss_weights: dict[str, float]
    """Of the terms of :meth:`loss_terms`, by name; a term without a weight is an error."""
    matrix_lr: float | None = None
    """Peak learning rate of Muon, with which matrices learn; None for AdamW, as all other parameters."""

    def __init__(self, lr: float, weight_decay: float, warmup_steps: int, step_seed: int = 0):
        super().__init__()
        check_schedule(lr, weight_decay, warmup_steps)
        at_least(0, step_seed=step_seed)
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.step_seed = step_seed
        self.lineage: dict[str, Any] = {}
        """What was held out from training, as plain values, see :mod:`cjepa.data.splits`."""

    @abstractmethod
    def loss_terms(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Unweighted scalar losses of a batch by name; seed, rank, step and batch alone decide ``generator``."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The weighted sum of the loss terms."""
        terms = self.loss_terms(batch, self._step_generator(batch_idx))
        loss = self.total(terms)
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=len(batch[0]))
        # not for a progress bar: Lightning would wait for a GPU in every step, to have the value as a number
        self.log("train/loss", loss, batch_size=len(batch[0]))
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """As validation, under the same names."""
        self.validation_step(batch, batch_idx)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss of a training step, a scalar: the sum of all terms, scalars too, each times its weight."""
        return sum(self.loss_weights[name] * term for name, term in terms.items())

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine; matrices learn with Muon if they have a learning rate of their own."""
        schedule = self.lr, self.weight_decay, self.warmup_steps, int(self.trainer.estimated_stepping_batches)
        if self.matrix_lr is None:
            return adamw_with_warmup_cosine(self, *schedule)
        return muon_with_warmup_cosine(self, self.matrix_lr, *schedule)

    def on_fit_start(self) -> None:
        """Remember what is held out; a checkpoint carries it, so that nothing is evaluated on training episodes."""
        lineage = getattr(self.trainer.datamodule, "lineage", None)  # a DataModule of the user's own may not know
        before = self.lineage.get("identities", [])  # of a training that is resumed
        self.lineage = {} if lineage is None else lineage._asdict()
        self.remember_episodes(before)

    def remember_episodes(self, identities: Iterable[int]) -> None:
        """Remember that this learns from other episodes too, by their identities; an unknown lineage stays so."""
        if self.lineage:
            known = self.lineage["identities"]
            self.lineage = self.lineage | {"identities": known + sorted(set(identities) - set(known))}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["lineage"] = self.lineage

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.lineage = checkpoint.get("lineage", {})

    def _step_generator(self, batch_idx: int) -> torch.Generator:
        # From (seed, rank, step): ranks differ, and a resumed run draws what an uninterrupted one would. Batches whose
        # gradients make one step differ by their place in it.
        batches = 1 if self._trainer is None else self.trainer.accumulate_grad_batches
        return generator_of(batch_idx % batches, self.step_seed, self.global_rank, self.global_step)


class TokenizerMemory(EpisodeTraining):
    """Trains on cached tokens, and remembers whose they are."""

    tokenizer_fingerprint: str = ""
    """Of the tokens; empty before training."""

    def remember_tokenizer(self, fingerprint: str) -> None:
        """Remember whose tokens the data are.

        Raises:
            UserError: this checkpoint was trained on those of another tokenizer.
        """
        if self.tokenizer_fingerprint not in ("", fingerprint):
            raise UserError(
                f"this checkpoint was trained on tokens of tokenizer {self.tokenizer_fingerprint}, the data are of "
                f"{fingerprint}; give --data.init_args.path the file it was trained on"
            )
        self.tokenizer_fingerprint = fingerprint

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizer_fingerprint"] = self.tokenizer_fingerprint

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Also of versions up to 0.2.0, in which the fingerprint had another name."""
        super().on_load_checkpoint(checkpoint)
        name = "tokenizer_fingerprint" if "tokenizer_fingerprint" in checkpoint else "tokens_fingerprint"
        self.tokenizer_fingerprint = checkpoint[name]
