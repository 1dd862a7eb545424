"""Slots as the official C-JEPA code (arXiv 2602.11389) extracts and releases them, into a token file."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cjepa.counts import number_of
from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.unpickle import StoredArray, load_pickle
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError

_SLOTS = "a dict {split: {video name: float array (frames, slots, values)}}"
_META_COLUMNS = ("action", "proprio", "state")


class CJEPASlots(Converter):
    """A pickle ``{split: {video name: slots}}``, and pickles of the same keys with actions, proprioception and states.

    The tokenizer that made the slots is not in them: models can be trained and judged on such a file, not planned with.

    Args:
        source: the slots' pickle; or a folder with that one, and the others as ``*_action_meta.pkl``,
            ``*_proprio_meta.pkl`` and ``*_state_meta.pkl``.
    """

    name = "cjepa-slots"
    file_format = "cjepa-tokens"

    def __init__(self, source: Path):
        super().__init__(source)
        metas, slots_path = _files(source) if source.is_dir() else ({}, source)
        self.slots = _arrays(slots_path, 3, _SLOTS)
        self.columns = {name: _arrays(path, 2, "a dict of the slots' keys") for name, path in metas.items()}
        with slots_path.open("rb") as stream:
            # The weights that made the slots are unknown: their outcome stands for them.
            self.fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        for name, arrays in self.columns.items():
            _check_keys(metas[name], arrays, self.slots)
            if surplus := len(arrays) - len(self.slots):
                self.left_out.append(f"{number_of(surplus, 'video')} of {metas[name].name}, which have no slots")

    @property
    def total_frames(self) -> int:
        return sum(array.shape[0] for array in self.slots.values())

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        for key in self.slots:
            yield key, partial(self._episode, key)

    def _episode(self, key: str) -> Episode:
        return {"tokens": self.slots[key].read(), **{name: arrays[key].read() for name, arrays in self.columns.items()}}

    def attributes(self) -> dict[str, Any]:
        _, num_slots, token_dim = next(iter(self.slots.values())).shape
        return {
            "tokenizer": {"converted_from": f"{self.name} {self.source}"},
            "tokenizer_fingerprint": self.fingerprint,
            "num_slots": num_slots,
            "token_dim": token_dim,
            "episode_names": list(self.slots),
        }


def _files(folder: Path) -> tuple[dict[str, Path], Path]:
    """The metadata's pickles by column, and the slots'."""
    pickles = sorted(folder.glob("*.pkl"))
    metas: dict[str, Path] = {}
    for name in _META_COLUMNS:
        found = [path for path in pickles if path.stem.endswith(f"{name}_meta")]
        if len(found) > 1:
            raise UserError(
                f"{folder}: {len(found)} files *_{name}_meta.pkl; keep only the one that belongs to the slots"
            )
        if found:
            metas[name] = found[0]
    slots = [path for path in pickles if path not in metas.values()]
    if len(slots) != 1:
        names = ", ".join(path.name for path in slots) or "none"
        raise UserError(f"{folder}: expected one pickle of slots beside *_meta.pkl files, found {names}")
    return metas, slots[0]


def _arrays(path: Path, axes: int, expected: str) -> dict[str, StoredArray]:
    """``split/video name`` -> array, in the order of the file."""
    content = load_pickle(path)
    splits = content.values() if isinstance(content, dict) else [None]
    if not content or not all(isinstance(videos, dict) for videos in splits):
        raise UserError(f"{path}: {type(content).__name__}, expected {expected}")
    arrays = {f"{split}/{video}": array for split, videos in content.items() for video, array in videos.items()}
    for key, array in arrays.items():
        if not isinstance(array, StoredArray) or array.dtype is None or array.dtype.kind != "f":
            raise UserError(f"{path}: {key}: expected an array of floats, got {type(array).__name__}")
        if len(array.shape) != axes or not array.shape[0]:
            raise UserError(
                f"{path}: {key}: an array of shape {array.shape}, expected {axes} axes and at least one frame"
            )
    if not arrays:
        raise UserError(f"{path}: contains no videos, expected {expected}")
    return arrays


def _check_keys(path: Path, arrays: dict[str, StoredArray], slots: dict[str, StoredArray]) -> None:
    for key, array in slots.items():
        if key not in arrays:
            raise UserError(f"{path}: no entry for {key}, which has slots")
        if arrays[key].shape[0] != array.shape[0]:
            raise UserError(
                f"{path}: {key} has {arrays[key].shape[0]} rows, but its slots have {array.shape[0]} frames"
            )
