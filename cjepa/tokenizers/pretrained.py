"""Features of a tokenizer that was trained before, for slots that reconstruct features."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cjepa.checkpoints import find_checkpoint
from cjepa.data.splits import Lineage, check_held_out
from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.tokenizers.base import check_environment
from cjepa.tokenizers.features import FeatureEncoder, Features
from cjepa.tokenizers.training import lineage_of_checkpoint, load_tokenizer


class PretrainedFeatures(FeatureEncoder):
    """The frozen features of a trained tokenizer, such as the patches of I-JEPA; each is its own key.

    Checkpoints hold the weights, and reading a checkpoint reads the source too, as for a DINOv2.

    Args:
        source: a run folder, a checkpoint or ``zoo:NAME`` of a tokenizer that has ``features`` and ``feature_shape``.

    Raises:
        UserError: there is no such checkpoint, or its tokenizer has no grid of features.
    """

    def __init__(self, source: str):
        super().__init__()
        tokenizer = load_tokenizer(source)
        if not hasattr(tokenizer, "features"):
            kind = type(tokenizer).__name__
            raise UserError(f"features: {source} is a {kind}, which has no grid of features; give a run of ijepa.yaml")
        self.tokenizer, self.source = tokenizer, source
        self.channels, self.side = tokenizer.feature_shape
        self.image_size = tokenizer.image_size

    def check_data(self, file: Episodes, splits: Mapping[str, np.ndarray]) -> None:
        """See :class:`FeatureEncoder`; what an encoder of before 0.6.0 was trained on is unknown."""
        check_environment(self.tokenizer, file.attributes.get("env_id"), str(file.path))
        if lineage := lineage_of_checkpoint(find_checkpoint(self.source)):
            check_held_out(file, splits, Lineage(**lineage), f"features: {self.source}")

    @torch.no_grad()
    def forward(self, pixels_B3YX: Tensor) -> Features:
        """See :class:`FeatureEncoder`."""
        values = self.tokenizer.features(pixels_B3YX).float()
        return Features(values, values)
