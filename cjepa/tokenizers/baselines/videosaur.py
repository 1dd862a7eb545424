"""VideoSAUR: slots that predict how a frame's patches move (Zadaianchuk et al., 2023, arXiv 2306.04829).

File letters: L cells of the feature grid (M of the next frame's), K width of features, H values of a hint.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize

from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.baselines.decoders import SlotMixer
from cjepa.tokenizers.baselines.initialisers import Initialiser
from cjepa.tokenizers.baselines.plain_slot_attention import RecurrentSlots
from cjepa.tokenizers.features import FeatureEncoder, features_peak_bytes
from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import moments
from cjepa.types import Tokens

_LEAST_SIMILARITY = 0.0  # cells less alike than that are not alike at all


class VideoSAUR(TrainableTokenizer):
    """Recurrent slots on frozen features; from each frame's slots, its features and their way to the next frame.

    The slot mixer renders, for every cell, its K features and L logits of where in the next frame a cell like it is.
    What belongs together moves together, so that the second loss separates objects that look alike.

    Args:
        features: frozen encoder of frames.
        initialiser: of the slots at the first frame; it decides S and D.
        iterations: of slot attention at the first frame of a clip.
        later_iterations: at the other frames.
        num_heads: of predictor and allocation transformer; divides D.
        allocation_blocks: of the slot mixer.
        render_dim: hidden width of the slot mixer's MLP.
        temperature: of the similarities over time.
    """

    def __init__(
        self,
        features: FeatureEncoder,
        initialiser: Initialiser,
        iterations: int = 3,
        later_iterations: int = 2,
        num_heads: int = 4,
        allocation_blocks: int = 3,
        render_dim: int = 256,
        temperature: float = 0.25,
    ):
        num_slots, dim = initialiser.num_slots, initialiser.slot_dim
        super().__init__(TokenizerInfo(num_slots, dim, features.image_size, hint_dim=initialiser.hint_dim))
        self.backbone = features
        self.temperature = temperature
        self.feature_shape = features.feature_shape
        width, cells = features.channels, features.side**2
        self.adapt = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, dim)
        )
        predictor = nn.TransformerEncoderLayer(dim, num_heads, 4 * dim, dropout=0, batch_first=True, norm_first=True)
        self.recurrence = RecurrentSlots(initialiser, predictor, dim, iterations, later_iterations)
        self.mixer = SlotMixer(dim, cells, width + cells, allocation_blocks, num_heads, render_dim)
        self.register_buffer("grid_L2", cell_centres(features.side), persistent=False)

    def prepare(self, pixels_B3YX: Tensor) -> None:
        """See :class:`~cjepa.tokenizers.features.FeatureEncoder`."""
        self.backbone.prepare(pixels_B3YX)

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """The frozen feature grid ``(B, K, y, x)``."""
        return self.backbone.features(pixels_B3YX)

    def encode(self, pixels_BT3YX: Tensor, hints_BSH: Tensor | None = None) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; masks are the mixing weights, upsampled to pixels.

        Args:
            pixels_BT3YX: frames, in [0, 1].
            hints_BSH: at the objects of the first frame, where the initialiser takes them.
        """
        return self.step(pixels_BT3YX, None, hints_BSH)[0]

    def step(
        self, pixels_BT3YX: Tensor, memory: Tensor | None = None, hints_BSH: Tensor | None = None
    ) -> tuple[Tokens, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; the memory is what the predictor expects, ``(B, S, D)``."""
        batch, (_, side) = len(pixels_BT3YX), self.feature_shape
        values_BTLK = rearrange(self.features(pixels_BT3YX.flatten(0, 1)), "(b t) k y x -> b t (y x) k", b=batch)
        slots_BTSD, _, predicted_BSD = self.recurrence(self.adapt(values_BTLK), memory, hints_BSH)
        weights = self.mixer.mixing_weights(slots_BTSD.flatten(0, 1))
        grid = rearrange(weights, "n s (y x) -> n s y x", y=side)
        masks = interpolate(grid, pixels_BT3YX.shape[-2:], mode="bilinear")
        rest = (rearrange(v, "(b t) ... -> b t ...", b=batch) for v in (masks, *moments(weights, self.grid_L2[None])))
        return Tokens(slots_BTSD, *rest), predicted_BSD

    def peak_bytes(self, stored_bytes: int) -> int:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; features of a large encoder take more than small frames."""
        return max(super().peak_bytes(stored_bytes), features_peak_bytes(self.feature_shape))

    def decode(self, slots_BTSD: Tensor) -> None:
        """Slots become features again, not frames."""
        return None

    def loss_terms(self, pixels_BT3YX: Tensor, hints_BSH: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruction of the features (equation 4) and temporal similarity (equation 3)."""
        batch = len(pixels_BT3YX)
        grids = self.backbone(pixels_BT3YX.flatten(0, 1))
        values_BTLK, keys_BTLK = (rearrange(grid, "(b t) k y x -> b t (y x) k", b=batch) for grid in grids)
        slots_BTSD = self.recurrence(self.adapt(values_BTLK), hints_BSH=hints_BSH).slots_BTSD
        rendered, _ = self.mixer(slots_BTSD.flatten(0, 1))
        rendered = rearrange(rendered.float(), "(b t) l k -> b t l k", b=batch)
        found_BTLK, way_BTLM = rendered.split([values_BTLK.shape[-1], rendered.shape[2]], dim=-1)
        return {
            "reconstruction": (found_BTLK - values_BTLK).square().mean(),
            "temporal_similarity": temporal_similarity_loss(way_BTLM, keys_BTLK, self.temperature),
        }


def temporal_similarity_loss(way_BTLM: Tensor, keys_BTLK: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between predicted and actual similarity of every cell to the next frame's cells.

    Args:
        way_BTLM: predicted logits; the last frame's are not used.
        keys_BTLK: of the frames.
        temperature: of the actual ones.

    Returns:
        A scalar, 0 for clips of one frame.
    """
    if keys_BTLK.shape[1] < 2:
        return way_BTLM.new_zeros(())
    target = temporal_similarity(keys_BTLK, temperature)
    return cross_entropy(way_BTLM[:, :-1].flatten(0, 2), target.flatten(0, 2))


@torch.no_grad()
def temporal_similarity(keys_BTLK: Tensor, temperature: float) -> Tensor:
    """Which cells of the next frame a cell is like: float (B, T - 1, L, M), summing to 1 over M.

    Equations 1 and 2: cosines over temperature through a softmax, negative ones left out; uniform for a cell that is
    like no other.
    """
    keys = normalize(keys_BTLK.float(), dim=-1)
    cosine_BTLM = einsum(keys[:, :-1], keys[:, 1:], "b t l k, b t m k -> b t l m")
    logits_BTLM = torch.where(cosine_BTLM >= _LEAST_SIMILARITY, cosine_BTLM / temperature, -torch.inf)
    lonely_BTL1 = logits_BTLM.isneginf().all(dim=-1, keepdim=True)
    return torch.where(lonely_BTL1, 0.0, logits_BTLM).softmax(dim=-1)
