"""Push-T as DINO-WM (arXiv 2411.04983) released it: padded tensors for all episodes, and one video an episode."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.unpickle import StoredArray, load_pickle
from cjepa.data.converters.video import VideoReader
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError
from cjepa.tensor_files import check_plain_tensor, load_tensors

ACTION_PX = 100.0
"""Their relative actions are in pixels; ours, like those that their loader makes, in hundreds of them."""
_TENSORS = {"states.pth": 5, "rel_actions.pth": 2, "velocities.pth": 2}


class DinoWM(Converter):
    """``states.pth`` (agent x y, block x y, angle), ``velocities.pth``, ``rel_actions.pth``, ``seq_lengths.pkl`` and
    ``obses/episode_000.mp4``: the state and actions of ``cjepa/PushT-v0``, in its units.

    Args:
        source: their ``train`` or ``val`` folder.
        image_size: side of the square frames, 0 for that of the videos.
    """

    name = "dino-wm"

    def __init__(self, source: Path, image_size: int = 0):
        super().__init__(source)
        self.image_size = image_size
        if not (source / "states.pth").is_file() and (source / "train" / "states.pth").is_file():
            raise UserError(f"{source}: contains several data sets; give one of them, such as {source / 'train'}")
        self.lengths = _lengths(source / "seq_lengths.pkl")
        self.states, self.actions, self.velocities = (
            _load_tensor(source / name, width, self.lengths) for name, width in _TENSORS.items()
        )

    @property
    def total_frames(self) -> int:
        return sum(self.lengths)

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        for index in range(len(self.lengths)):
            yield f"episode {index}", partial(self._episode, index)

    def _episode(self, index: int) -> Episode:
        length = self.lengths[index]
        state = torch.cat([self.states[index, :length], self.velocities[index, :length]], dim=1).float().numpy()
        action = self.actions[index, :length].float().numpy() / np.float32(ACTION_PX)
        with VideoReader(self.source / "obses" / f"episode_{index:03d}.mp4", self.image_size) as video:
            pixels = video.read(length)
        return {"pixels": pixels, "action": action, "proprio": state[:, [0, 1, 5, 6]], "state": state}

    def attributes(self) -> dict[str, Any]:
        return {"env_steps_per_second": 10, "action_px": ACTION_PX}


def _lengths(path: Path) -> list[int]:
    _check_there(path)
    value = load_pickle(path)
    lengths = value.read().tolist() if isinstance(value, StoredArray) else value
    if not isinstance(lengths, list) or not all(type(length) is int and length > 0 for length in lengths):
        raise UserError(f"{path}: expected a list of episode lengths, integers above 0")
    return lengths


def _check_there(path: Path) -> None:
    if not path.is_file():
        known = f"the Push-T files of DINO-WM are {', '.join(_TENSORS)}, seq_lengths.pkl"
        raise UserError(f"{path}: no such file; give the folder train or val; {known}")


def _load_tensor(path: Path, width: int, lengths: list[int]) -> torch.Tensor:
    """Episodes x env steps x width; its contents stay in the file until they are used."""
    _check_there(path)
    tensor = load_tensors(path, mmap=True, what="a tensor in the format of torch 1.6 and later")
    if isinstance(tensor, torch.Tensor):
        check_plain_tensor(str(path), tensor)
    shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
    longest = max(lengths, default=0)
    if not isinstance(tensor, torch.Tensor) or len(shape) != 3 or shape[2] != width or shape[1] < longest:
        raise UserError(f"{path}: {shape}, expected a tensor (episodes, at least {longest} env steps, {width} values)")
    if shape[0] != len(lengths):
        raise UserError(f"{path}: {shape[0]} episodes, but seq_lengths.pkl has {len(lengths)}")
    return tensor
