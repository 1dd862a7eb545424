"""Frozen features of frames that a tokenizer reconstructs in place of pixels.

File letter: K width of features.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.tokenizers.encoders import ConvEncoder

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLASS_TOKENS = 1
_INPUT_SIZE = 196
_FRAMES_AT_ONCE = 128  # of a DINOv2, which takes 10 MB a frame and more, whatever the size of stored frames
_PEAK, _FLOAT_BYTES = 40, 4


class Features(NamedTuple):
    """What a frame looks like, cell by cell."""

    values_BKYX: Tensor
    """What slots see and reconstruct."""
    keys_BKYX: Tensor
    """What cells are compared by, over time."""


class FeatureEncoder(nn.Module, ABC):
    """Frames to features that do not learn: no gradients, always in eval mode.

    Nothing can collapse the target of a loss that does not move. Subclasses set ``channels`` (K) and ``side``, of the
    square grid, in ``__init__``.
    """

    channels: int
    side: int
    image_size: int | None = None
    """Side in pixels of the square frames that it is made for; None for any."""
    options: str = ""
    """Arguments that change its features and are in none of its weights; empty for the defaults."""

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Channels and side of the feature grid."""
        return self.channels, self.side

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """The feature grid ``(B, K, side, side)``."""
        return self(pixels_B3YX).values_BKYX

    def prepare(self, pixels_B3YX: Tensor) -> None:  # noqa: B027 - most need nothing
        """Look at training frames, once, before training."""

    def check_data(self, file: Episodes, splits: Mapping[str, np.ndarray]) -> None:  # noqa: B027 - most need no check
        """Check that what is trained on these features may use them with these episodes.

        Args:
            file: the episodes.
            splits: indices under ``val`` and ``test``, which are held out.

        Raises:
            UserError: the encoder was trained on another environment, or on episodes that are held out now.
        """

    @abstractmethod
    def forward(self, pixels_B3YX: Tensor) -> Features:
        """Frames, float in [0, 1] -> features."""

    def train(self, mode: bool = True) -> "FeatureEncoder":
        """Stays in eval mode."""
        return super().train(False)


def features_peak_bytes(feature_shape: tuple[int, int]) -> int:
    """Memory that a frame takes at most while its features are pooled or bound to slots.

    Forty times the features: VideoSAUR takes 24 times those of convolutions, what these take included.

    Args:
        feature_shape: channels and side of the feature grid.
    """
    channels, side = feature_shape
    return _PEAK * _FLOAT_BYTES * channels * side**2


def check_features(module: nn.Module, file: Episodes, splits: Mapping[str, np.ndarray]) -> None:
    """:meth:`FeatureEncoder.check_data` of every encoder within a module."""
    for part in module.modules():
        if isinstance(part, FeatureEncoder):
            part.check_data(file, splits)


class ConvFeatures(FeatureEncoder):
    """Convolutions with random weights, standardised over training frames: for training on a CPU without downloads.

    A random convolutional network keeps what is where in a frame (Ulyanov et al., 2018; Saxe et al., 2011), and
    standardised channels make the rare colours of objects weigh more than a still background. They know no semantics:
    what DINO adds is missing here.

    Args:
        channels: K.
        image_size: side of the square frames in pixels, a multiple of 4.
    """

    def __init__(self, channels: int = 64, image_size: int = 64):
        super().__init__()
        self.channels = channels
        self.encoder = ConvEncoder(channels, in_channels=3).requires_grad_(False)
        self.image_size, self.side = image_size, image_size // self.encoder.patch
        self.register_buffer("mean_K11", torch.zeros(channels, 1, 1))
        self.register_buffer("std_K11", torch.ones(channels, 1, 1))

    @torch.no_grad()
    def prepare(self, pixels_B3YX: Tensor) -> None:
        """Take mean and standard deviation of every channel."""
        std, mean = torch.std_mean(self.encoder(pixels_B3YX), dim=(0, 2, 3))
        self.mean_K11.copy_(mean[:, None, None])
        self.std_K11.copy_(std[:, None, None])

    @torch.no_grad()
    def forward(self, pixels_B3YX: Tensor) -> Features:
        """See :class:`FeatureEncoder`; values are their own keys."""
        values = (self.encoder(pixels_B3YX).float() - self.mean_K11) / (self.std_K11 + 1e-6)
        return Features(values, values)


class DinoV2Features(FeatureEncoder):
    """Patches of a pretrained DINOv2 (Oquab et al., 2023), from the output of its last block; keys from its attention.

    Checkpoints hold a digest of the weights, not the weights: the model is read from its source each time, and another
    model than the one that was trained with is refused.

    Args:
        source: a local folder in the layout of ``transformers``, or a model's name on the hub, for instance
            ``facebook/dinov2-small``.
        image_size: side in pixels that frames are resized to, a multiple of the model's patch size.

    Raises:
        UserError: ``transformers`` is missing, the source cannot be read, or the size does not fit the patches.
    """

    def __init__(self, source: str, image_size: int = _INPUT_SIZE):
        super().__init__()
        self.source = source
        self.input_size = image_size
        self.options = "" if image_size == _INPUT_SIZE else f"{image_size} px"
        self.model = _load_dinov2(source).requires_grad_(False).eval()
        self.channels = self.model.config.hidden_size
        patch = self.model.config.patch_size
        if image_size % patch:
            raise UserError(f"features: an image_size of {image_size} is not a multiple of the patch size {patch}")
        self.side = image_size // patch
        self.register_buffer("digest", torch.tensor(list(_digest(self.model)), dtype=torch.uint8))
        for name, values in (("mean_311", _IMAGENET_MEAN), ("std_311", _IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.register_state_dict_post_hook(_without_model)
        self.register_load_state_dict_pre_hook(_refuse_another_model)
        self.register_load_state_dict_post_hook(_expect_no_model)

    @torch.no_grad()
    def forward(self, pixels_B3YX: Tensor) -> Features:
        """See :class:`FeatureEncoder`; some frames after the others."""
        values, keys = zip(*map(self._features, pixels_B3YX.split(_FRAMES_AT_ONCE)), strict=True)
        return Features(torch.cat(values), torch.cat(keys))

    def _features(self, pixels_B3YX: Tensor) -> Features:
        size = (self.input_size, self.input_size)
        resized = interpolate(pixels_B3YX, size, mode="bicubic", antialias=True).clamp(0, 1)
        hidden = self.model((resized - self.mean_311) / self.std_311, output_hidden_states=True).hidden_states
        norm, to_keys = _last_keys(self.model)  # once more: a hook would catch what other threads send through, too
        return Features(self._grid(hidden[-1]), self._grid(to_keys(norm(hidden[-2]))))

    def _grid(self, tokens_BLK: Tensor) -> Tensor:
        return rearrange(tokens_BLK[:, _CLASS_TOKENS:].float(), "b (y x) k -> b k y x", y=self.side)


def _load_dinov2(source: str) -> nn.Module:
    try:
        from transformers import Dinov2Model
    except ImportError:
        raise UserError("DinoV2Features needs the package transformers; type: pip install 'cjepa[dino]'") from None
    try:
        return Dinov2Model.from_pretrained(source, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"features: no DINOv2 at {source!r}, neither in a folder nor on the hub ({reason})") from None


def _last_keys(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """What leads from the last block's input to its keys; releases of ``transformers`` differ in the latter's name."""
    name = [name for name, _ in model.named_modules() if name.endswith((".k_proj", ".key"))][-1]
    return model.get_submodule(f"{name.partition('.attention')[0]}.norm1"), model.get_submodule(name)


def _digest(model: nn.Module) -> bytes:
    """16 bytes that change with any weight."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.digest()[:16]


def _without_model(module: DinoV2Features, state: dict, prefix: str, metadata: dict) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}model.")]:
        del state[name]


def _refuse_another_model(module: DinoV2Features, state: dict, prefix: str, *_) -> None:
    trained_with = state.get(f"{prefix}digest")
    if trained_with is not None and not torch.equal(trained_with.cpu(), module.digest.cpu()):
        raise UserError(f"features: {module.source!r} is not the DINOv2 of this checkpoint")


def _expect_no_model(module: DinoV2Features, incompatible) -> None:
    own = tuple(f"model.{name}" for name in module.model.state_dict())
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if not name.endswith(own)]
