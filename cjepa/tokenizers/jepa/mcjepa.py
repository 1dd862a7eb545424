"""MC-JEPA: one encoder for content and motion (Bardes et al., 2023, arXiv 2307.12698).

File letters: N pairs of successive frames; U frames but the last.
"""

import torch
from einops import rearrange
from torch import Tensor

from cjepa.arguments import at_least, check
from cjepa.tokenizers.jepa.flow import FlowHead, end_point_error, photometric, smoothness
from cjepa.tokenizers.jepa.ijepa import IJepa


class McJepa(IJepa):
    """I-JEPA whose encoder also has to tell how pixels move from a frame to the next.

    Content is learned by I-JEPA's masked prediction, where the paper has VICReg of two crops; motion by a flow head on
    whole frames, without labels: a photometric loss and a smooth flow, where the paper adds cycles and a pyramid of
    features. Where clips have label images, the loss term ``flow`` is the distance to the simulator's flow in pixels.

    Args:
        dim: D, see :class:`IJepa`, as the next seven.
        depth: blocks of the encoder.
        num_heads: of its attention.
        predictor_width: of the predictor.
        predictor_depth: blocks of the predictor.
        predictor_heads: of its attention.
        patch_size: side of the square patches in pixels, even.
        image_size: side of the square frames in pixels.
        momentum: of the moving average at the first step.
        reach: patches to each side among which the flow head looks for a patch in the next frame.

    Raises:
        ValueError: a size is too small, or does not divide another.
    """

    tells_flow = True
    learns_from_labels = True

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
        reach: int = 2,
    ):
        super().__init__(
            dim, depth, num_heads, predictor_width, predictor_depth, predictor_heads, patch_size, image_size, momentum
        )
        at_least(1, reach=reach)
        check(patch_size % 2 == 0, "patch_size", patch_size, "an even number of pixels")
        self.flow_head = FlowHead(dim, patch_size, reach)

    def loss_terms(self, pixels_BT3YX: Tensor, labels_BTYX: Tensor | None = None) -> dict[str, Tensor]:
        """I-JEPA's, and those of the flow between successive frames; a single frame is its own successor."""
        terms = super().loss_terms(pixels_BT3YX)
        pixels_BT3YX = _in_pairs(pixels_BT3YX)
        first, second = (frames.flatten(0, 1) for frames in (pixels_BT3YX[:, :-1], pixels_BT3YX[:, 1:]))
        flow_BU2YX = self.flow(pixels_BT3YX)
        flow_N2YX = flow_BU2YX.flatten(0, 1)
        with torch.autocast(pixels_BT3YX.device.type, enabled=False):
            losses = {"photometric": photometric(first, second, flow_N2YX), "smoothness": smoothness(flow_N2YX, first)}
        if labels_BTYX is not None:
            losses["flow"] = end_point_error(flow_BU2YX, _in_pairs(labels_BTYX))
        return terms | losses

    def flow(self, pixels_BT3YX: Tensor) -> Tensor:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`."""
        batch = len(pixels_BT3YX)
        features_NLD = self.encoder(pixels_BT3YX.flatten(0, 1)[:, None])
        grids = rearrange(features_NLD, "(b t) (y x) d -> b t d y x", b=batch, y=self.encoder.side)
        first, second = (part.flatten(0, 1) for part in (grids[:, :-1], grids[:, 1:]))
        return self.flow_head(first, second).unflatten(0, (batch, -1))


def _in_pairs(frames_BT: Tensor) -> Tensor:
    """Clips of one frame as two, which are the same."""
    return frames_BT if frames_BT.shape[1] > 1 else torch.cat([frames_BT, frames_BT], dim=1)
