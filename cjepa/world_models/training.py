"""The world model: a predictor with its masks, losses and scales, trained on cached tokens."""

from typing import Any, Protocol

import lightning as L
import torch
from einops import repeat
from torch import Tensor

from cjepa.errors import UserError
from cjepa.optim import adamw_with_warmup_cosine
from cjepa.types import Clip, Rollout
from cjepa.world_models.masks import Mask
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Predictor


class ClipSource(Protocol):
    """What the world model asks of a DataModule before training."""

    tokens_fingerprint: str
    tokenizer: dict
    """How to build the tokenizer again, as plain values."""

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes to fit the scales on."""


class WorldModel(L.LightningModule):
    """C-JEPA (arXiv 2602.11389): masked history + next block, in token space, targets fixed.

    The loss is ``masked_weight * MSE(hidden history cells) + MSE(next tokens) + proprio_weight * MSE(next proprio)``,
    on normalised values. Without masking (``ObjectMask(0)``) it is OC-JEPA.

    Training draws the history length from 1..history_blocks per step, since planning starts from a single frame:
    the anchor is then at the one position that training has seen it at.

    Args:
        predictor: of the next block and of hidden history.
        mask: draws hidden cells, per sample and step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        masked_weight: weight of the masked-history term.
        proprio_weight: weight of the proprioception term.
        mask_seed: seeds masks and history lengths, together with rank and step.
    """

    evaluation = "cjepa.evaluation.rollouts:evaluate"

    def __init__(
        self,
        predictor: Predictor,
        mask: Mask,
        lr: float = 5e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        masked_weight: float = 1.0,
        proprio_weight: float = 1.0,
        mask_seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.predictor = predictor
        self.mask = mask
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.masked_weight = masked_weight
        self.proprio_weight = proprio_weight
        self.mask_seed = mask_seed
        self.token_scale = Normaliser(predictor.token_dim)
        self.proprio_scale = Normaliser(predictor.proprio_dim)
        self.action_scale = Normaliser(predictor.action_dim)
        self.tokens_fingerprint = ""
        self.tokenizer_spec: dict = {}

    # ---------------------------------------------------------------- prediction

    def normalise(self, clip: Clip) -> Clip:
        """Physical values -> the predictor's; entities that it does not have get a width of 0."""
        tokens, proprio, actions = self._entities(clip)
        return Clip(self.token_scale(tokens), self.proprio_scale(proprio), self.action_scale(actions))

    def forward(self, clip: Clip, mask_BTS: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict from a normalised history, see :class:`Predictor`; no mask means that everything is visible."""
        if mask_BTS is None:
            mask_BTS = torch.zeros(clip.tokens_BTSD.shape[:3], dtype=torch.bool, device=clip.tokens_BTSD.device)
        return self.predictor(clip.tokens_BTSD, clip.proprio_BTP, clip.actions_BTA, mask_BTS)

    def rollout(self, context: Clip, actions_BHA: Tensor) -> Rollout:
        """Predict the H blocks that follow the context, feeding predictions back.

        Args:
            context: normalised history of T blocks; its last action row is not read (it is the first to choose).
            actions_BHA: normalised actions from the last context frame on.

        Returns:
            Normalised tokens and proprioception of blocks 1..H after the context.
        """
        tokens, proprio, actions = context.tokens_BTSD, context.proprio_BTP, context.actions_BTA[:, :-1]
        window = self.predictor.history_blocks
        horizon = actions_BHA.shape[1]
        for block in range(horizon):
            actions = torch.cat([actions, actions_BHA[:, block : block + 1]], dim=1)
            clip = Clip(tokens[:, -window:], proprio[:, -window:], actions[:, -window:])
            predicted_tokens, predicted_proprio = self(clip)
            tokens = torch.cat([tokens, predicted_tokens[:, -1:].to(tokens.dtype)], dim=1)
            proprio = torch.cat([proprio, predicted_proprio[:, None].to(proprio.dtype)], dim=1)
        return Rollout(tokens[:, -horizon:], proprio[:, -horizon:])

    # ---------------------------------------------------------------- training

    def loss_terms(self, clip: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """Future, masked and (if there is such an entity) proprio terms of a normalised clip of T + 1 blocks."""
        history = Clip(*(values[:, :-1] for values in clip))
        target_BTSD = clip.tokens_BTSD
        batch, blocks, slots, _ = history.tokens_BTSD.shape
        mask_BTS = self.mask.sample(batch, blocks, slots, generator).to(target_BTSD.device)
        tokens, proprio = self(history, mask_BTS)
        error_BTS = (tokens.float() - target_BTSD).square().mean(dim=-1)
        hidden = mask_BTS.float()
        terms = {
            "future": error_BTS[:, -1].mean(),
            "masked": (error_BTS[:, :-1] * hidden).sum() / hidden.sum().clamp(min=1),
        }
        if self.predictor.proprio_dim:
            terms["proprio"] = (proprio.float() - clip.proprio_BTP[:, -1]).square().mean()
        return terms

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {
            "terms": {"future": 1.0, "masked": self.masked_weight, "proprio": self.proprio_weight},
            "mask": {"class": type(self.mask).__name__} | {k: v for k, v in vars(self.mask).items() if k[0] != "_"},
            "against_collapse": "targets are fixed tokens of a frozen tokenizer",
        }

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        """One step on clips of ``history_blocks + 1`` blocks."""
        generator = self._step_generator()
        blocks = int(torch.randint(1, self.predictor.history_blocks + 1, (), generator=generator))
        clip = Clip(*(values[:, : blocks + 1] for values in self.normalise(clip)))
        terms = self.loss_terms(clip, generator)
        weights = {"future": 1.0, "masked": self.masked_weight, "proprio": self.proprio_weight}
        loss = sum(weights[name] * term for name, term in terms.items())
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=len(clip.tokens_BTSD))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(clip.tokens_BTSD))
        return loss

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        """Rollout errors, beside those of copying the last frame, on clips of ``history_blocks + horizon`` blocks."""
        clip = self.normalise(clip)
        history = self.predictor.history_blocks
        rollout = self.rollout_clip(clip)
        target_BHSD = clip.tokens_BTSD[:, history:]
        error_H = (rollout.tokens_BHSD - target_BHSD).square().mean(dim=(0, 2, 3))
        copy_H = (clip.tokens_BTSD[:, history - 1 : history] - target_BHSD).square().mean(dim=(0, 2, 3))
        values = {"val/loss": error_H[0], "val/future": error_H[0]}
        if self.predictor.proprio_dim:
            values["val/proprio"] = (rollout.proprio_BHP[:, 0] - clip.proprio_BTP[:, history]).square().mean()
            values["val/loss"] = error_H[0] + self.proprio_weight * values["val/proprio"]
        for block in sorted({1, len(error_H)}):
            values[f"val/error@{block}"] = error_H[block - 1]
            values[f"val/copy_error@{block}"] = copy_H[block - 1]
        self.log_dict(values, batch_size=len(target_BHSD), on_epoch=True, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log errors as fractions of the copy-last-frame error, from the epoch's means."""
        logged = self.trainer.callback_metrics
        for name in [n for n in logged if n.startswith("val/error@")]:
            block = name.rsplit("@", 1)[1]
            self.log(f"val/rollout_error@{block}", logged[name] / logged[f"val/copy_error@{block}"], prog_bar=True)

    def test_step(self, clip: Clip, batch_idx: int) -> None:
        """As validation, under the same names."""
        self.validation_step(clip, batch_idx)

    def predict_step(self, clip: Clip, batch_idx: int) -> Rollout:
        """The blocks after the history, in the tokenizer's and the environment's units."""
        rollout = self.rollout_clip(self.normalise(clip))
        return Rollout(self.token_scale.inverse(rollout.tokens_BHSD), self.proprio_scale.inverse(rollout.proprio_BHP))

    def rollout_clip(self, clip: Clip) -> Rollout:
        """Roll out all blocks of a normalised clip after its first ``history_blocks``."""
        history = self.predictor.history_blocks
        context = Clip(*(values[:, :history] for values in clip))
        return self.rollout(context, clip.actions_BTA[:, history - 1 : -1])

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine."""
        total = int(self.trainer.estimated_stepping_batches)
        return adamw_with_warmup_cosine(self.parameters(), self.lr, self.weight_decay, self.warmup_steps, total)

    # ---------------------------------------------------------------- bookkeeping

    def on_fit_start(self) -> None:
        """Fit the scales on training episodes, once; refuse to go on with other tokens."""
        source: ClipSource = self.trainer.datamodule
        sample = source.normalisation_sample()
        self._check_shapes(sample)
        if self.tokens_fingerprint and self.tokens_fingerprint != source.tokens_fingerprint:
            raise UserError(
                f"this checkpoint was trained on tokens {self.tokens_fingerprint}, the data are "
                f"{source.tokens_fingerprint}; give --data.init_args.path the file it was trained on"
            )
        if not bool(self.token_scale.fitted):
            scales = (self.token_scale, self.proprio_scale, self.action_scale)
            for scale, values in zip(scales, self._entities(sample), strict=True):
                if values.shape[-1]:
                    scale.fit(values)
        self.tokens_fingerprint = source.tokens_fingerprint
        self.tokenizer_spec = source.tokenizer

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["tokens_fingerprint"] = self.tokens_fingerprint
        checkpoint["tokenizer"] = self.tokenizer_spec

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.tokens_fingerprint = checkpoint["tokens_fingerprint"]
        self.tokenizer_spec = checkpoint["tokenizer"]

    def _entities(self, clip: Clip) -> Clip:
        """The clip without the values of entities that the predictor does not have."""
        proprio = clip.proprio_BTP if self.predictor.proprio_dim else clip.proprio_BTP[..., :0]
        actions = clip.actions_BTA if self.predictor.action_dim else clip.actions_BTA[..., :0]
        return Clip(clip.tokens_BTSD, proprio, actions)

    def _check_shapes(self, sample: Clip) -> None:
        found = tuple(values.shape[-1] for values in sample)
        expected = (self.predictor.token_dim, self.predictor.proprio_dim, self.predictor.action_dim)
        for name, got, want in zip(("token_dim", "proprio_dim", "action_dim"), found, expected, strict=True):
            absent = want == 0 and name != "token_dim"
            if got != want and not absent:
                raise UserError(
                    f"model.init_args.predictor.init_args.{name} is {want}, but the data have {got}; set it to {got}"
                )

    def _step_generator(self) -> torch.Generator:
        # From (seed, rank, step): ranks differ, and a resumed run draws what an uninterrupted one would.
        seed = (self.mask_seed * 1_000_003 + self.global_rank) * 1_000_003 + self.global_step
        return torch.Generator().manual_seed(seed % 2**63)


def repeat_clip(clip: Clip, times: int) -> Clip:
    """Every row ``times`` times in a row: ``(B, ...)`` -> ``(B * times, ...)``."""
    return Clip(*(repeat(values, "b ... -> (b n) ...", n=times) for values in clip))
