"""What a tokenizer makes of clips, and how well that matches the objects, whether it is in training or frozen."""

import inspect
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from cjepa.checkpoints import RunKind
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer, check_environment, float_frames
from cjepa.tokenizers.encode import tokenizer_inputs
from cjepa.types import Tokens, VideoBatch


class Encoded(NamedTuple):
    """What a tokenizer makes of clips, and what it draws from that."""

    tokens: Tokens
    frames_BT3YX: Tensor | None
    """None where there is no decoder."""
    masks_BTSYX: Tensor
    """float32; the decoder's where there is one."""


class ScoredTokenizer(L.LightningModule):
    """A tokenizer with metrics: validates, tests and predicts.

    Args:
        metrics: torchmetrics with ``update(masks_BTSYX, labels_BTYX)`` or ``update(tokens_BTSD)``, logged as
            ``val/<their name>`` and ``test/<their name>``.
    """

    kind = RunKind(
        "a tokenizer",
        "cjepa fit -c experiments/pusht/tokenizer.yaml",
        "cjepa tokenize RUN EPISODES --out TOKENS",
    )
    tokenizer: Tokenizer
    evaluation = "cjepa.evaluation.tokenizers.card:evaluate"

    def __init__(self, metrics: list[Metric]):
        super().__init__()
        self.scores = nn.ModuleDict(
            {
                stage: MetricCollection({m.name: m.clone() for m in metrics}, prefix=f"{stage}/")
                for stage in ("val", "test")
            }
        )

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> Encoded:
        """Scores on held-out clips; gives callbacks what there is to draw."""
        return self.score(batch, "val")

    def test_step(self, batch: VideoBatch, batch_idx: int) -> Encoded:
        """As validation, on the test episodes."""
        return self.score(batch, "test")

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> Tokens:
        """The tokens of clips."""
        return self.tokenizer.encode(*self.inputs(batch))

    def encode_and_decode(self, batch: VideoBatch) -> Encoded:
        """Tokens, and frames and masks from the tokens where the tokenizer has a decoder.

        A tokenizer without masks of its own, since it sees no pixels, is given the label images as masks.

        Raises:
            UserError: a token, mask or frame is not finite: a metric would make an ordinary number of it.
        """
        tokens = self.tokenizer.encode(*self.inputs(batch))
        self._check_finite(tokens=tokens.slots_BTSD, masks=tokens.masks_BTSYX)
        if not tokens.masks_BTSYX.numel():
            tokens = tokens._replace(masks_BTSYX=_label_masks(batch, self.tokenizer.num_slots))
        decoded = self.tokenizer.decode(tokens.slots_BTSD)
        if decoded is None:
            return Encoded(tokens, None, tokens.masks_BTSYX.float())
        frames, masks = decoded
        self._check_finite(decoded_frames=frames, decoded_masks=masks)
        return Encoded(tokens, frames.float(), masks.float())

    def _check_finite(self, **parts: Tensor) -> None:
        for name, values in parts.items():
            if not bool(values.isfinite().all()):
                raise UserError(
                    f"{type(self.tokenizer).__name__}: its {name.replace('_', ' ')} are not finite; its training "
                    "diverged, train it again with a lower model.init_args.lr"
                )

    def score(self, batch: VideoBatch, stage: str) -> Encoded:
        """Log every metric and the reconstruction of a batch."""
        encoded = self.encode_and_decode(batch)
        clips = len(batch.pixels_BTYXC)
        if encoded.frames_BT3YX is not None:
            error = (encoded.frames_BT3YX - float_frames(self.tokenizer, batch.pixels_BTYXC)).square().mean()
            self.log(f"{stage}/psnr", -10 * torch.log10(error), batch_size=clips, on_epoch=True, sync_dist=True)
        for name, metric in self.scores[stage].items():
            if update_metric(metric, encoded, batch.labels_BTYX):
                self.log(name, metric, batch_size=clips)
        return encoded

    def inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """What the tokenizer's methods take of the clips, see :func:`tokenizer_inputs`."""
        return tokenizer_inputs(self.tokenizer, batch)

    def check_environment(self) -> None:
        """Whether the tokenizer may look at the trainer's data.

        Raises:
            UserError: it was trained on another environment.
        """
        file = self.trainer.datamodule.file
        check_environment(self.tokenizer, file.attributes.get("env_id"), str(file.path))

    def on_validation_start(self) -> None:
        self.check_environment()

    def on_test_start(self) -> None:
        self.check_environment()

    def on_predict_start(self) -> None:
        self.check_environment()


def update_metric(metric: Metric, encoded: Encoded, labels_BTYX: Tensor | None) -> bool:
    """Show clips to a metric, whichever of masks, labels and tokens it asks for; False if it lacks the labels."""
    given = {"tokens_BTSD": encoded.tokens.slots_BTSD.float(), "masks_BTSYX": encoded.masks_BTSYX}
    given |= {} if labels_BTYX is None else {"labels_BTYX": labels_BTYX}
    asked = inspect.signature(metric.update).parameters
    if labels_BTYX is None and "labels_BTYX" in asked:
        return False
    metric.update(**{name: given[name] for name in asked})
    return True


def _label_masks(batch: VideoBatch, num_slots: int) -> Tensor:
    """Label images as masks (B, T, S, Y, X): label s + 1 is slot s; empty without label images."""
    if batch.labels_BTYX is None:
        clips, blocks, height, width, _ = batch.pixels_BTYXC.shape
        return batch.pixels_BTYXC.new_zeros(clips, blocks, num_slots, height, width, dtype=torch.float32)
    labels_S11 = torch.arange(1, num_slots + 1, device=batch.labels_BTYX.device)[:, None, None]
    return (batch.labels_BTYX[:, :, None] == labels_S11).float()
