"""Trains a slot tokenizer by reconstruction and watches how well its slots match the objects."""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from cjepa.errors import UserError
from cjepa.optim import adamw_with_warmup_cosine
from cjepa.tokenizers.slots import SlotTokenizer
from cjepa.types import FrameBatch, Tokens, to_float_pixels

_FOREGROUND_DIFFERENCE = 0.08
_BACKGROUND_FRAMES = 512


class TokenizerTraining(L.LightningModule):
    """Foreground-weighted reconstruction of frames from their slots.

    The per-pixel median over training frames is the background; pixels that differ from it weigh more, since objects
    cover a few percent of a frame and the loss would hardly see them.

    Args:
        tokenizer: to train.
        metrics: torchmetrics with ``update(masks_BSYX, labels_BYX)``, logged as ``val/<their name>``.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        warmup_steps: of the learning rate.
        foreground_weight: extra weight of foreground pixels.
        grouping_weight: weight of :meth:`SlotTokenizer.grouping_loss`.
    """

    def __init__(
        self,
        tokenizer: SlotTokenizer,
        metrics: list[Metric],
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 200,
        foreground_weight: float = 8.0,
        grouping_weight: float = 0.1,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.tokenizer = tokenizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.foreground_weight = foreground_weight
        self.grouping_weight = grouping_weight
        self.scores = nn.ModuleDict(
            {
                stage: MetricCollection({m.name: m.clone() for m in metrics}, prefix=f"{stage}/")
                for stage in ("val", "test")
            }
        )

    def reconstruction_loss(self, frames: Tensor, pixels_B3YX: Tensor) -> Tensor:
        """Weighted mean squared error; see the class."""
        difference = (pixels_B3YX - self.tokenizer.background_3YX).abs().amax(dim=1, keepdim=True)
        weight = 1.0 + self.foreground_weight * (difference > _FOREGROUND_DIFFERENCE)
        return (weight * (frames - pixels_B3YX).square()).mean() / weight.mean()

    def training_step(self, batch: FrameBatch, batch_idx: int) -> Tensor:
        """One reconstruction step."""
        pixels_B3YX = to_float_pixels(batch.pixels_BYXC)
        content, position, scale, attention_BSL = self.tokenizer.slots(pixels_B3YX)
        frames, _ = self.tokenizer.render(content, position, scale)
        reconstruction = self.reconstruction_loss(frames.float(), pixels_B3YX)
        grouping = self.tokenizer.grouping_loss(pixels_B3YX, attention_BSL)
        loss = reconstruction + self.grouping_weight * grouping
        self.log_dict({"train/reconstruction": reconstruction, "train/grouping": grouping}, batch_size=len(pixels_B3YX))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(pixels_B3YX))
        return loss

    def validation_step(self, batch: FrameBatch, batch_idx: int) -> None:
        """Reconstruction and segmentation on held-out frames."""
        self._evaluate(batch, "val")

    def test_step(self, batch: FrameBatch, batch_idx: int) -> None:
        """As validation, on the test episodes."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: FrameBatch, batch_idx: int) -> Tokens:
        """The tokens of frames."""
        return self.tokenizer.encode(to_float_pixels(batch.pixels_BYXC))

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine."""
        total = int(self.trainer.estimated_stepping_batches)
        return adamw_with_warmup_cosine(self.parameters(), self.lr, self.weight_decay, self.warmup_steps, total)

    def on_fit_start(self) -> None:
        """Take the background from training frames, unless a checkpoint brought it."""
        if self.trainer.ckpt_path is None:
            frames = to_float_pixels(self.trainer.datamodule.sample_frames(_BACKGROUND_FRAMES))
            self.tokenizer.background_3YX.copy_(frames.median(dim=0).values)

    def _evaluate(self, batch: FrameBatch, stage: str) -> None:
        pixels_B3YX = to_float_pixels(batch.pixels_BYXC)
        content, position, scale, _ = self.tokenizer.slots(pixels_B3YX)
        frames, masks_BSYX = self.tokenizer.render(content, position, scale)
        error = (frames.float() - pixels_B3YX).square().mean()
        values = {
            f"{stage}/loss": self.reconstruction_loss(frames.float(), pixels_B3YX),
            f"{stage}/psnr": -10 * torch.log10(error),
        }
        self.log_dict(values, batch_size=len(pixels_B3YX), on_epoch=True, sync_dist=True)
        self.scores[stage].update(masks_BSYX, batch.labels_BYX)
        self.log_dict(self.scores[stage], prog_bar=True, batch_size=len(pixels_B3YX))


def load_tokenizer(checkpoint: Path) -> SlotTokenizer:
    """The frozen tokenizer of a training checkpoint, in eval mode.

    Raises:
        UserError: the file is missing, unreadable or another model's.
    """
    content = read_checkpoint(checkpoint)
    if not any(name.startswith("tokenizer.") for name in content["state_dict"]):
        raise UserError(f"{checkpoint}: not a tokenizer; give a run of `cjepa fit -c experiments/pusht/tokenizer.yaml`")
    module = TokenizerTraining.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    return module.tokenizer.requires_grad_(False).eval()


def read_checkpoint(path: Path) -> dict:
    """What a Lightning checkpoint holds, on the CPU.

    Raises:
        UserError: the file is missing or is not a checkpoint.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; give a run folder of `cjepa fit`, or a .ckpt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damage has many faces, and some of torch's texts advise to load the file unsafely
        raise UserError(f"{path}: not a checkpoint, or a damaged one") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path}: not a checkpoint of `cjepa fit`")
    return content
