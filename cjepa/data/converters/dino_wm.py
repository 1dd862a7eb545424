"""Push-T as DINO-WM (arXiv 2411.04983) released it: padded tensors for all episodes, and one video an episode."""

import pickletools
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.unpickle import StoredArray, load_pickle
from cjepa.data.converters.video import VideoReader
from cjepa.data.store.episode_file import Episode
from cjepa.errors import UserError

ACTION_PX = 100.0
"""Their relative actions are in pixels; ours, like those that their loader makes, in hundreds of them."""
_PLAIN = "not a plain tensor in torch's zip format"
_MOST_PICKLE_BYTES = 4096
"""Of the pickle inside such a file, which says what the tensor is: some 300."""
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
    value = load_pickle(path)
    lengths = value.read().tolist() if isinstance(value, StoredArray) else value
    if not isinstance(lengths, list) or not all(type(length) is int and length > 0 for length in lengths):
        raise UserError(f"{path}: expected a list of episode lengths, integers above 0")
    return lengths


def _load_tensor(path: Path, width: int, lengths: list[int]) -> torch.Tensor:
    """Episodes x env steps x width; its contents stay in the file until they are used."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the Push-T files of DINO-WM are {', '.join(_TENSORS)}, seq_lengths.pkl")
    _check_pickle(path)
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damage has many faces, and some of torch's texts advise to load the file unsafely
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {named[1]}" if named else "damaged, or saved by torch before 1.6"
        raise UserError(f"{path}: refused, {_PLAIN} ({reason})") from None
    if isinstance(tensor, torch.Tensor):
        _check_plain(path, tensor)
    shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
    longest = max(lengths, default=0)
    if not isinstance(tensor, torch.Tensor) or len(shape) != 3 or shape[2] != width or shape[1] < longest:
        raise UserError(f"{path}: {shape}, expected a tensor (episodes, at least {longest} env steps, {width} values)")
    if shape[0] != len(lengths):
        raise UserError(f"{path}: {shape[0]} episodes, but seq_lengths.pkl has {len(lengths)}")
    return tensor


def _check_pickle(path: Path) -> None:
    """Refuse what a tensor alone does not need: torch hashes tuples in tuples, which may never end."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            content = archive.read(name) if archive.getinfo(name).file_size <= _MOST_PICKLE_BYTES else None
            opcodes = None if content is None else [(code.name, text) for code, text, _ in pickletools.genops(content)]
    except Exception:  # damage has many faces
        raise UserError(f"{path}: refused, {_PLAIN} (damaged, or saved by torch before 1.6)") from None
    if opcodes is None:
        raise UserError(f"{path}: refused, {_PLAIN} (it holds more than one tensor)")
    for code, text in opcodes:
        if code == "GLOBAL" and text.partition(" ")[0].partition(".")[0] not in ("torch", "collections"):
            raise UserError(f"{path}: refused, {_PLAIN} (it asks for {text.replace(' ', '.')})")
    if {"SETITEM", "SETITEMS", "DICT"} & {code for code, _ in opcodes}:
        raise UserError(f"{path}: refused, {_PLAIN} (it holds a dict)")


def _check_plain(path: Path, tensor: torch.Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_complex():
        raise UserError(f"{path}: a tensor of {tensor.dtype}, {tensor.layout}; expected plain real numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{path}: a tensor {tuple(tensor.shape)} of which fewer values are stored")
