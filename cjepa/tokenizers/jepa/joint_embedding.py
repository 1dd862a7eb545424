"""What I-JEPA and V-JEPA share: an encoder that predicts features of hidden patches, made by a slow copy of itself.

File letters: L patches of a clip; K of them visible; G groups of M targets each; V levels.
"""

from abc import abstractmethod

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import layer_norm

from cjepa.arguments import share
from cjepa.draws import generator_of, rank
from cjepa.moving_average import frozen_copy, move_towards
from cjepa.tokenizers.base import TokenizerInfo, TrainableTokenizer
from cjepa.tokenizers.baselines.patches import grid_tokens
from cjepa.tokenizers.grid import gathered
from cjepa.tokenizers.jepa.masks import View
from cjepa.tokenizers.jepa.patch_encoder import PatchEncoder
from cjepa.tokenizers.jepa.patch_predictor import PatchPredictor
from cjepa.types import Tokens


class JointEmbedding(TrainableTokenizer):
    """A patch encoder, its moving average and a predictor between them; the tokens are patches of the average.

    The encoder sees a part of the patches. The predictor predicts, for the hidden ones, the features that the slow copy
    gives them after seeing all, layer-normed over their values. No gradient reaches the copy.

    Args:
        encoder: to train.
        predictor: of its features.
        momentum: of the moving average after the first step; it rises linearly to 1 at the end of the training.
    """

    against_collapse = "targets are features of a moving average of the encoder, without gradient"

    def __init__(self, encoder: PatchEncoder, predictor: PatchPredictor, momentum: float):
        image_size = encoder.side * encoder.patch_size
        super().__init__(TokenizerInfo(encoder.side**2, encoder.dim, image_size, index_is_place=True))
        share(momentum=momentum)
        self.encoder = encoder
        self.target_encoder = frozen_copy(encoder)
        self.predictor = predictor
        self.momentum = momentum
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._steps_done = 0  # the same: to read the buffer at every step would wait for the GPU
        self._batches_done = 0  # of this step
        self.register_load_state_dict_post_hook(_count_on)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Channels and side of the feature grid."""
        return self.encoder.dim, self.encoder.side

    def features(self, pixels_B3YX: Tensor) -> Tensor:
        """Features of frames, each by itself ``(B, D, side, side)``: the last level of the moving average."""
        still_BT3YX = pixels_B3YX[:, None].expand(-1, self.encoder.tubelet, -1, -1, -1)
        features_BLD = self.target_encoder(still_BT3YX)[..., -self.encoder.dim :].float()
        return rearrange(features_BLD, "b (y x) d -> b d y x", y=self.encoder.side)

    def encode(self, pixels_BT3YX: Tensor) -> Tokens:
        """See :class:`~cjepa.tokenizers.base.Tokenizer`; one token per patch, masks are the patches themselves."""
        batch = len(pixels_BT3YX)
        features = self.features(pixels_BT3YX.flatten(0, 1))
        tokens_BTSD = rearrange(features, "(b t) d y x -> b t (y x) d", b=batch)
        return grid_tokens(tokens_BTSD, self.encoder.side, pixels_BT3YX.shape[-2:])

    def decode(self, slots_BTSD: Tensor) -> None:
        """Patches have no decoder."""
        return None

    @abstractmethod
    def clips(self, pixels_BT3YX: Tensor) -> Tensor:
        """What the encoder sees of a batch of training clips, ``(N, T', 3, Y, X)``, T' a multiple of ``tubelet``."""

    @abstractmethod
    def views(self, batch: int, times: int, generator: torch.Generator) -> list[View]:
        """What is hidden, several times over; on the CPU."""

    @abstractmethod
    def distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The error of every value, of the shape of both, ``(B, L, D)``."""

    def loss_terms(self, pixels_BT3YX: Tensor) -> dict[str, Tensor]:
        """The error of hidden patches, the mean over views, and of visible ones where the predictor predicts them.

        Args:
            pixels_BT3YX: in [0, 1].

        Returns:
            Scalars: ``prediction``, and ``visible`` where the predictor predicts visible patches.
        """
        clips = self.clips(pixels_BT3YX)
        times = clips.shape[1] // self.encoder.tubelet
        target_BLD = self.targets(clips)
        places_LW = self.encoder.places(times, self.predictor.width, clips.device)
        hidden, visible = [], []
        for drawn in self.views(len(clips), times, self._generator()):
            view = View(*(index.to(clips.device) for index in drawn))
            predicted = self.predictor(self.encoder(clips, view.context_BK), view, places_LW)
            target_BMD = gathered(target_BLD, view.targets_BGM.flatten(1))
            hidden.append(self.distance(predicted.targets_BGMD.flatten(1, 2), target_BMD).mean())
            if predicted.visible_BKD is not None:
                error_BKD = self.distance(predicted.visible_BKD, gathered(target_BLD, view.context_BK))
                visible.append((error_BKD * self._nearness(view)[..., None]).mean())
        self._batches_done += self.training
        terms = {"prediction": torch.stack(hidden).mean()}
        return terms | ({"visible": torch.stack(visible).mean()} if visible else {})

    @torch.no_grad()
    def targets(self, clips_BT3YX: Tensor) -> Tensor:
        """Features that the moving average gives all patches, layer-normed level by level: ``(B, L, V * D)``."""
        levels = self.target_encoder(clips_BT3YX).float().split(self.encoder.dim, dim=-1)
        return torch.cat([layer_norm(level, level.shape[-1:]) for level in levels], dim=-1)

    def after_step(self, progress: float) -> None:
        """See :class:`~cjepa.tokenizers.base.TrainableTokenizer`; the moving average follows."""
        move_towards(self.target_encoder, self.encoder, self.momentum + (1 - self.momentum) * progress)
        self.steps += 1
        self._steps_done += 1
        self._batches_done = 0

    def _nearness(self, view: View) -> Tensor:
        """One over the root of the distance to the nearest target, in patches, for every visible patch ``(B, K)``."""
        context, targets = (self._place(index).float() for index in (view.context_BK, view.targets_BGM.flatten(1)))
        return torch.cdist(context, targets).amin(dim=2).rsqrt()

    def _place(self, index: Tensor) -> Tensor:
        """Time, row and column of patches ``(..., 3)``."""
        side = self.encoder.side
        return torch.stack([index // side**2, index // side % side, index % side], dim=-1)

    def _generator(self) -> torch.Generator:
        """Of masks: of the training's seed, the device and the step; always the same in evaluation.

        The seed is that of PyTorch's own generator, which ``seed_everything`` decides and drawing does not change: a
        resumed run draws what an uninterrupted one would. Batches whose gradients make one step differ by their place
        in it.
        """
        if not self.training:
            return torch.Generator().manual_seed(0)
        return generator_of(self._batches_done, torch.initial_seed(), rank(), self._steps_done)


def _count_on(model: JointEmbedding, _: object) -> None:
    """Go on from the step of a checkpoint."""
    model._steps_done = int(model.steps)
