"""V-JEPA: tubelets of clips that predict each other's features (Bardes et al., 2024, arXiv 2404.08471)."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from cjepa.arguments import at_least
from cjepa.tokenizers.jepa.joint_embedding import JointEmbedding
from cjepa.tokenizers.jepa.masks import View, tube_views
from cjepa.tokenizers.jepa.patch_encoder import PatchEncoder
from cjepa.tokenizers.jepa.patch_predictor import PatchPredictor


class VJepa(JointEmbedding):
    """Predicts blocks that are hidden at all times of a clip, many small ones and two large ones, with an L1 loss.

    Tokens are those of each frame by itself, repeated to fill a tubelet, as V-JEPA 2-AC uses them: what the encoder
    learns of motion is in its weights, a token does not hold how fast its frame moves.

    V-JEPA 2.1 adds two things. With ``visible``, the features of visible patches are predicted too, each weighted by
    one over the root of its distance to the nearest hidden patch (loss term ``visible``). With ``levels``, features of
    several depths are predicted, not only those of the last block.

    Args:
        dim: D, and the width of the encoder; a multiple of 4.
        depth: blocks of the encoder.
        num_heads: of its attention; divides ``dim``.
        predictor_width: of the predictor; a multiple of 4.
        predictor_depth: blocks of the predictor.
        predictor_heads: of its attention; divides ``predictor_width``.
        patch_size: side of the square patches in pixels; divides ``image_size``.
        tubelet: frames of a patch, 2 or more. A clip that is no multiple of it repeats its last frame.
        image_size: side of the square frames in pixels.
        momentum: of the moving average at the first step.
        visible: V-JEPA 2.1's loss of visible patches.
        levels: V-JEPA 2.1's depths that are predicted, evenly spaced up to the last; divides ``depth``.
        mlp_dim: hidden width of the encoder's MLPs; None: four times ``dim``.

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
        tubelet: int = 2,
        image_size: int = 64,
        momentum: float = 0.998,
        visible: bool = False,
        levels: int = 1,
        mlp_dim: int | None = None,
    ):
        at_least(2, tubelet=tubelet)  # patches of one frame have no place in time
        encoder = PatchEncoder(dim, depth, num_heads, patch_size, tubelet, image_size, levels, mlp_dim)
        predictor = PatchPredictor(encoder, predictor_width, predictor_depth, predictor_heads, visible)
        super().__init__(encoder, predictor, momentum)

    def clips(self, pixels_BT3YX: Tensor) -> Tensor:
        """See :class:`JointEmbedding`."""
        missing = -pixels_BT3YX.shape[1] % self.encoder.tubelet
        return torch.cat([pixels_BT3YX, *[pixels_BT3YX[:, -1:]] * missing], dim=1)

    def views(self, batch: int, times: int, generator: torch.Generator) -> list[View]:
        """See :class:`JointEmbedding`."""
        return tube_views(batch, times, self.encoder.side, generator)

    def distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """See :class:`JointEmbedding`."""
        return l1_loss(predicted, target, reduction="none")
