"""I-JEPA: image patches that predict each other's features (Assran et al., 2023, arXiv 2301.08243)."""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from cjepa.tokenizers.jepa.joint_embedding import JointEmbedding
from cjepa.tokenizers.jepa.masks import View, image_view
from cjepa.tokenizers.jepa.patch_encoder import PatchEncoder
from cjepa.tokenizers.jepa.patch_predictor import PatchPredictor


class IJepa(JointEmbedding):
    """Predicts four blocks of a frame, each from one large block without all four, with a smooth L1 loss.

    Shares of the blocks and the loss are those of the published code. Frames of a clip are images by themselves.

    Args:
        dim: D, and the width of the encoder; a multiple of 4.
        depth: blocks of the encoder.
        num_heads: of its attention; divides ``dim``.
        predictor_width: of the predictor; a multiple of 4.
        predictor_depth: blocks of the predictor.
        predictor_heads: of its attention; divides ``predictor_width``.
        patch_size: side of the square patches in pixels; divides ``image_size``.
        image_size: side of the square frames in pixels.
        momentum: of the moving average at the first step.

    Raises:
        ValueError: a size is too small, or does not divide another.
    """

    def __init__(
        self,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        predictor_width: int = 64,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        patch_size: int = 8,
        image_size: int = 64,
        momentum: float = 0.996,
    ):
        encoder = PatchEncoder(dim, depth, num_heads, patch_size, tubelet=1, image_size=image_size)
        predictor = PatchPredictor(encoder, predictor_width, predictor_depth, predictor_heads)
        super().__init__(encoder, predictor, momentum)

    def clips(self, pixels_BT3YX: Tensor) -> Tensor:
        """See :class:`JointEmbedding`; every frame is a clip of its own."""
        return pixels_BT3YX.flatten(0, 1)[:, None]

    def views(self, batch: int, times: int, generator: torch.Generator) -> list[View]:
        """See :class:`JointEmbedding`."""
        return [image_view(batch, self.encoder.side, generator)]

    def distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """See :class:`JointEmbedding`."""
        return smooth_l1_loss(predicted, target, reduction="none")
