"""SAVi: slot attention over a video, trained to draw it again (Kipf et al., 2022, arXiv 2111.12594).

File letters: L cells of the feature grid, K width of features, H values of a hint.
"""

from einops import rearrange, repeat
from torch import Tensor, nn

from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.baselines.decoders import PositionEmbedding, SpatialBroadcastDecoder
from cjepa.tokenizers.baselines.initialisers import Initialiser
from cjepa.tokenizers.baselines.plain_slot_attention import Followed, RecurrentSlots
from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import moments
from cjepa.types import Tokens


class SAVi(TrainableTokenizer):
    """Encoder, recurrent slots and spatial broadcast decoder of SAVi; the target is the frame itself.

    Per frame: 5 x 5 convolutions and a position embedding give ``h_t``; slot attention corrects the slots that the
    predictor, a transformer block over slots, expected; the corrected slots are the tokens. The paper predicts optical
    flow where it has it; its unconditional models, and those of C-JEPA, reconstruct pixels as here. Small objects on a
    still background are known to be too little for that loss: one slot tends to hold everything.

    The defaults are sized for a CPU. SAVi-S has D = 128, 64 decoder channels and a stride of 1.

    Args:
        initialiser: of the slots at the first frame; it decides S and D. With ``ConditionedSlots`` the methods take
            hints beside the frames.
        channels: of the encoder.
        decoder_channels: of the decoder.
        stride: of the encoder's first convolution: 1 for a feature grid at full resolution, 2 at half.
        iterations: of slot attention at the first frame of a clip.
        later_iterations: at the other frames.
        num_heads: of the predictor; divides D.
        image_size: side of the square frames in pixels, 8 times a power of two.

    Raises:
        ValueError: the size is another.
    """

    def __init__(
        self,
        initialiser: Initialiser,
        channels: int = 32,
        decoder_channels: int = 32,
        stride: int = 2,
        iterations: int = 2,
        later_iterations: int = 1,
        num_heads: int = 4,
        image_size: int = 64,
    ):
        num_slots, slot_dim = initialiser.num_slots, initialiser.slot_dim
        super().__init__(TokenizerInfo(num_slots, slot_dim, image_size, hint_dim=initialiser.hint_dim))
        self.feature_shape = (channels, image_size // stride)
        self.encoder = FrameEncoder(channels, stride, image_size // stride)
        predictor = nn.TransformerEncoderLayer(slot_dim, num_heads, 2 * slot_dim, dropout=0, batch_first=True)
        self.recurrence = RecurrentSlots(initialiser, predictor, channels, iterations, later_iterations)
        self.decoder = SpatialBroadcastDecoder(slot_dim, decoder_channels, image_size)
        self.register_buffer("grid_L2", cell_centres(image_size // stride), persistent=False)

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """The encoder's feature grid ``(B, K, Y / stride, X / stride)``."""
        return self.encoder(pixels_B3YX)

    def slots(
        self, pixels_BT3YX: Tensor, predicted_BSD: Tensor | None = None, hints_BSH: Tensor | None = None
    ) -> Followed:
        """Follow the objects through frames, see :class:`RecurrentSlots`."""
        features = rearrange(self.features(pixels_BT3YX.flatten(0, 1)), "n k y x -> n (y x) k")
        features_BTLK = rearrange(features, "(b t) l k -> b t l k", b=len(pixels_BT3YX))
        return self.recurrence(features_BTLK, predicted_BSD, hints_BSH)

    def encode(self, pixels_BT3YX: Tensor, hints_BSH: Tensor | None = None) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; masks are the attention, upsampled to pixels.

        Args:
            pixels_BT3YX: frames, in [0, 1].
            hints_BSH: at the objects of the first frame, as the initialiser wants them.
        """
        return self.step(pixels_BT3YX, None, hints_BSH)[0]

    def step(
        self, pixels_BT3YX: Tensor, memory: Tensor | None = None, hints_BSH: Tensor | None = None
    ) -> tuple[Tokens, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; the memory is what the predictor expects, ``(B, S, D)``."""
        slots_BTSD, attention_BTSL, predicted_BSD = self.slots(pixels_BT3YX, memory, hints_BSH)
        positions, scales = moments(attention_BTSL.flatten(0, 1), self.grid_L2[None])
        side = self.feature_shape[1]
        patch = self.image_size // side
        masks = repeat(attention_BTSL, "b t s (y x) -> b t s (y p) (x q)", y=side, p=patch, q=patch)
        places = (rearrange(values, "(b t) ... -> b t ...", b=len(pixels_BT3YX)) for values in (positions, scales))
        return Tokens(slots_BTSD, masks, *places), predicted_BSD

    def decode(self, slots_BTSD: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; masks are the decoder's, which the paper scores."""
        decoded = self.decoder(slots_BTSD.flatten(0, 1))
        return tuple(rearrange(values, "(b t) ... -> b t ...", b=len(slots_BTSD)) for values in decoded)

    def loss_terms(self, pixels_BT3YX: Tensor, hints_BSH: Tensor | None = None) -> dict[str, Tensor]:
        """Mean squared error of the frames that the corrected slots draw."""
        frames, _ = self.decode(self.slots(pixels_BT3YX, hints_BSH=hints_BSH).slots_BTSD)
        return {"reconstruction": (frames - pixels_BT3YX).square().mean()}


class FrameEncoder(nn.Module):
    """Four 5 x 5 convolutions, position, and an MLP at every place (SAVi, appendix).

    Args:
        channels: of all of them.
        stride: of the first convolution.
        side: of the feature grid that results.
    """

    def __init__(self, channels: int, stride: int, side: int):
        super().__init__()
        layers = [nn.Conv2d(3, channels, 5, stride=stride, padding=2), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(channels, channels, 5, padding=2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.embed_position = PositionEmbedding(channels, side)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, images_B3YX: Tensor) -> Tensor:
        """-> features ``(B, channels, side, side)``."""
        features = self.embed_position(self.convolutions(images_B3YX))
        return rearrange(self.mlp(rearrange(features, "b k y x -> b y x k")), "b y x k -> b k y x")
