"""Tokens of the scenes that questions are about: of what is shown, and of what a world model imagines after it.

File letters: N scenes; F frames.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.checkpoints import find_checkpoint
from cjepa.configuration.run_config import data_options
from cjepa.data.splits import Lineage, check_held_out
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip
from cjepa.world_models.loading import LoadedWorldModel, load_world_model

_AT_ONCE = 256
"""Scenes that are rolled out together."""


class Frames(NamedTuple):
    """Which frames of a scene are read: one every ``stride`` env steps, among them the last one that is shown."""

    seen_env_steps: int
    stride: int
    imagined: int
    """Frames after what is shown."""

    @property
    def shown(self) -> np.ndarray:
        """Env steps of the shown frames."""
        count = self.seen_env_steps // self.stride
        return self.seen_env_steps - 1 - self.stride * np.arange(count)[::-1]


class Imagination(NamedTuple):
    """A world model that continues scenes."""

    model: LoadedWorldModel
    frame_stride: int
    """Env steps per block."""
    checkpoint: Path


def open_imagination(world_model: str, data: TokenClips) -> Imagination:
    """A world model that fits the tokens of a file, and did not learn from its held-out episodes.

    Args:
        world_model: run folder, checkpoint or ``zoo:NAME``.
        data: set up.

    Raises:
        UserError: there is no such model, or it does not fit.
    """
    checkpoint = find_checkpoint(world_model)
    model = load_world_model(checkpoint)
    if model.tokenizer_fingerprint != data.tokenizer_fingerprint:
        raise UserError(
            f"{checkpoint}: its tokenizer is {model.tokenizer_fingerprint}, but the tokens of {data.path} are of "
            f"{data.tokenizer_fingerprint}; give a world model that was trained on tokens of the same tokenizer"
        )
    if model.lineage:
        check_held_out(data.file, data.splits, Lineage(**model.lineage), str(checkpoint))
    return Imagination(model, data_options(checkpoint).get("frame_stride") or 5, checkpoint)


def read_scenes(data: TokenClips, episodes: np.ndarray, frames: Frames, imagination: Imagination | None) -> Tensor:
    """Tokens of the frames of scenes, in the tokenizer's units, float16 or float32 as the file's: ``(N, F, S, D)``.

    Args:
        data: set up.
        episodes: indices of the scenes.
        frames: to read.
        imagination: for the imagined ones.

    Raises:
        UserError: an episode is too short, or the strides of frames and world model do not fit.
    """
    if (shortest := int(data.file.lengths[episodes].min())) < frames.seen_env_steps:
        raise UserError(
            f"{data.path}: the shortest episode has {shortest} env steps, but {frames.seen_env_steps} are shown"
        )
    shown_NFSD = data.rows.tokens_BTSD[torch.from_numpy(data.file.offsets[episodes, None] + frames.shown)]
    if imagination is None or not frames.imagined:
        return shown_NFSD
    imagined = [
        _imagined(data, episodes[first : first + _AT_ONCE], frames, imagination)
        for first in range(0, len(episodes), _AT_ONCE)
    ]
    return torch.cat([shown_NFSD, torch.cat(imagined).to(shown_NFSD.dtype)], dim=1)


@torch.no_grad()
def _imagined(data: TokenClips, episodes: np.ndarray, frames: Frames, imagination: Imagination) -> Tensor:
    dynamics, stride = imagination.model.dynamics, imagination.frame_stride
    history, every = dynamics.history_blocks, frames.stride // stride
    start = frames.seen_env_steps - 1 - (history - 1) * stride
    env_steps = (history - 1 + every * frames.imagined) * stride  # to the last imagined frame, which has no action
    _check_span(data, episodes, start, start + env_steps, frames, imagination)
    row_N = torch.from_numpy(data.file.offsets[episodes]) + start
    frame_NT = row_N[:, None] + torch.arange(history) * stride
    step_NTK = row_N[:, None, None] + torch.arange(env_steps).view(-1, stride)
    tokens, proprio, actions = data.rows
    # a model without actions may imagine more than there is: any row does for actions that it does not read
    actions_NTA = actions[step_NTK.clamp(max=len(actions) - 1)].flatten(2)
    clip = Clip(tokens[frame_NT].float(), proprio[frame_NT], actions_NTA)
    tokens_NTSD, proprio_NTP, actions_NTA = (values.to(device_of(dynamics)) for values in clip)
    state = dynamics.observe(Clip(tokens_NTSD, proprio_NTP, actions_NTA[:, :history]))
    rollout = dynamics.rollout(state, actions_NTA[:, history - 1 :])
    return dynamics.denormalise(rollout).tokens_BHSD[:, every - 1 :: every].cpu()


def _check_span(
    data: TokenClips, episodes: np.ndarray, start: int, stop: int, frames: Frames, imagination: Imagination
) -> None:
    """Whether a model sees enough, and knows the actions to come, between two env steps."""
    dynamics, stride = imagination.model.dynamics, imagination.frame_stride
    if frames.stride % stride:
        raise UserError(
            f"data.init_args.frame_stride is {frames.stride}, but {imagination.checkpoint} predicts blocks of {stride} "
            f"env steps; set it to {stride} or a multiple of it"
        )
    if start < 0:
        raise UserError(
            f"{imagination.checkpoint} sees {dynamics.history_blocks} blocks of {stride} env steps, more than what is "
            "shown; make questions with more --seen_env_steps"
        )
    shortest = int(data.file.lengths[episodes].min())
    if dynamics.action_dim and stop > shortest:
        raise UserError(
            f"{data.path}: the shortest episode has actions of {shortest} env steps, but {imagination.checkpoint} "
            f"needs {stop}; give a smaller data.init_args.imagined_env_steps"
        )
