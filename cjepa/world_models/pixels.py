"""A world model without latents: it predicts the pixels of the next frame, and plans with them.

File letters: L channels of a stage; N frames.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, pixel_shuffle, pixel_unshuffle

from cjepa.arguments import at_least, check
from cjepa.data.clip_module import EpisodeClips
from cjepa.errors import UserError
from cjepa.tokenizers.baselines.pixels import PixelTokenizer
from cjepa.types import Clip, Predicted, Rollout, VideoBatch
from cjepa.world_models.dynamics import Dynamics, rollout_clip
from cjepa.world_models.from_pixels import EndToEnd
from cjepa.world_models.normalise import Normaliser

_HALVINGS = 3
"""Of the frame, down to the smallest stage of the U-Net."""
_GROUPS = 8


class Frame(NamedTuple):
    """The state of a pixel model: what it sees, or expects to see."""

    pixels_B3YX: Tensor
    """In [-1, 1]."""


class PixelDynamics(Dynamics):
    """The next frame is the last one plus what a U-Net makes of it and the actions. It has no latents and no memory.

    Args:
        side: of the frames in pixels, a multiple of 8; the only token is the whole frame, D = 3 x side x side.
        action_dim: A, the action values of one block, 0 for no agent.
        channels: of the first stage, a multiple of 8; they double at each smaller one.

    Raises:
        ValueError: a size is too small, or no such multiple.
    """

    def __init__(self, side: int = 32, action_dim: int = 10, channels: int = 32):
        super().__init__()
        at_least(0, action_dim=action_dim)
        check(side > 0 and side % 2**_HALVINGS == 0, "side", side, f"a multiple of {2**_HALVINGS}")
        check(channels > 0 and channels % _GROUPS == 0, "channels", channels, f"a multiple of {_GROUPS}")
        self.side = side
        self.token_dim, self.proprio_dim, self.action_dim, self.history_blocks = 3 * side**2, 0, action_dim, 1
        self.action_scale = Normaliser(action_dim)
        self.network = UNet(action_dim, channels)

    def normalise(self, clip: Clip) -> Clip:
        """See :class:`Dynamics`: pixels from [0, 1] to [-1, 1]."""
        actions_BTA = self.action_scale(clip.actions_BTA[..., : self.action_dim])
        return Clip(2 * clip.tokens_BTSD - 1, clip.proprio_BTP[..., :0], actions_BTA)

    def denormalise(self, rollout: Rollout) -> Rollout:
        """See :class:`Dynamics`."""
        return rollout._replace(tokens_BHSD=(rollout.tokens_BHSD + 1) / 2)

    def observe(self, clip: Clip) -> Frame:
        """See :class:`Dynamics`: the last frame."""
        return Frame((2 * clip.tokens_BTSD[:, -1, 0] - 1).unflatten(-1, (3, self.side, self.side)))

    def step(self, state: Frame, actions_BA: Tensor) -> Frame:
        """See :class:`Dynamics`."""
        change_B3YX = self.network(state.pixels_B3YX, self.action_scale(actions_BA[..., : self.action_dim]))
        return Frame(state.pixels_B3YX + change_B3YX.float())

    def predicted(self, state: Frame) -> Predicted:
        """See :class:`Dynamics`."""
        tokens_B1D = state.pixels_B3YX.flatten(1)[:, None]
        return Predicted(tokens_B1D, tokens_B1D[:, 0, :0])


class UNet(nn.Module):
    """How a frame changes: three stages of convolutions down and up again, each steered by the actions.

    Args:
        action_dim: A.
        channels: L of the first stage, at half the frame's resolution.
    """

    def __init__(self, action_dim: int, channels: int):
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels]
        self.first = Stage(12, widths[0], action_dim)
        self.down = nn.ModuleList(Stage(widths[i], widths[i + 1], action_dim, stride=2) for i in (0, 1))
        self.middle = Stage(widths[2], widths[2], action_dim)
        self.up = nn.ModuleList(Stage(widths[i + 1] + widths[i], widths[i], action_dim) for i in (1, 0))
        self.last = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)  # untrained, nothing changes

    def forward(self, pixels_B3YX: Tensor, actions_BA: Tensor) -> Tensor:
        """``(B, 3, Y, X)``."""
        seen = [self.first(pixel_unshuffle(pixels_B3YX, 2), actions_BA)]
        for stage in self.down:
            seen.append(stage(seen[-1], actions_BA))
        features = self.middle(seen.pop(), actions_BA)
        for stage in self.up:
            features = interpolate(features, scale_factor=2.0, mode="nearest")
            features = stage(torch.cat([features, seen.pop()], dim=1), actions_BA)
        return pixel_shuffle(self.last(features), 2)


class Stage(nn.Module):
    """A convolution whose normalised features are scaled and shifted as the actions say."""

    def __init__(self, inputs: int, outputs: int, action_dim: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, outputs)
        self.steer = nn.Linear(action_dim, 2 * outputs) if action_dim else None

    def forward(self, features_NLYX: Tensor, actions_NA: Tensor) -> Tensor:
        """See the class."""
        features = self.norm(self.conv(features_NLYX))
        if self.steer is not None:
            scale, shift = self.steer(actions_NA)[..., None, None].chunk(2, dim=1)
            features = features * (1 + scale) + shift
        return gelu(features)


class PixelWorldModel(EndToEnd):
    """Predicts frames from frames and actions: what planning in pixels costs beside planning in latents.

    This is the role of video models such as Cosmos (arXiv 2501.03575), at the size of a laptop: deterministic, and with
    squared errors. The loss is the mean squared error of all frames after a clip's first, each predicted from the one
    predicted before. Frames are 'tokens' to whatever plans, so objectives compare pixels.

    Args:
        tokenizer: makes frames smaller.
        dynamics: of frames of that size.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.

    Raises:
        ValueError: a number is out of its range, or tokenizer and dynamics have frames of different sizes.
    """

    kind = EndToEnd.kind._replace(name="a world model of pixels")
    against_collapse = "targets are the frames"

    def __init__(
        self,
        tokenizer: PixelTokenizer,
        dynamics: PixelDynamics,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        warmup_steps: int = 100,
    ):
        super().__init__(lr, weight_decay, warmup_steps)
        check(dynamics.side == tokenizer.side, "side", dynamics.side, f"the tokenizer's side = {tokenizer.side}")
        self.save_hyperparameters()
        self.tokenizer = tokenizer
        self.dynamics = dynamics
        self.loss_weights = {"pixels": 1.0}

    def loss_terms(self, batch: VideoBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class."""
        predicted, followed = rollout_clip(self.dynamics, self.clip_of(batch))
        return {"pixels": (predicted.tokens_BHSD - followed.tokens_BHSD).square().mean()}

    def check_data(self, actions_NTA: Tensor, data: EpisodeClips) -> None:
        """See :class:`EndToEnd`."""
        if self.dynamics.action_dim not in (0, found := actions_NTA.shape[-1]):
            raise UserError(
                f"model.init_args.dynamics.init_args.action_dim is {self.dynamics.action_dim}, but the data have "
                f"{found}; set it to {found}"
            )
        for name in ("train_blocks", "val_blocks"):
            if (blocks := getattr(data, name)) < 2:
                raise UserError(f"data.init_args.{name} is {blocks}, but a frame has to follow; set it to 2 or more")

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`~cjepa.world_models.dynamics_training.DynamicsTraining`."""
        return super().describe_objective() | {"side": self.tokenizer.side}
