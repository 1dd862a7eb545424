"""Data sets of many files: a folder or a glob of episode or token files reads like one."""

import glob
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import DamagedEpisode, Episodes
from cjepa.data.store.frames import HDF5_LOCK, FrameReader
from cjepa.data.store.parts import refuse_unfinished
from cjepa.errors import UserError
from cjepa.shell import as_typed

COUNTERFACTUALS = ".twins.h5"
"""Ends the names of files of counterfactual episodes."""
_MAX_OPEN = 32
_MUST_AGREE = ("format", "env_id", "env_kwargs", "env_steps_per_second", "tokenizer_fingerprint")
_Result = TypeVar("_Result")


def open_episodes(path: str | Path) -> Episodes:
    """Episodes or tokens of a file, of all ``.h5`` files of a folder, or of all files that match a glob.

    Raises:
        UserError: there is none, one cannot be opened, or two of them do not belong together.
    """
    files = shard_paths(path)
    return EpisodeFile(files[0]) if len(files) == 1 else ShardedEpisodes(path, [EpisodeFile(file) for file in files])


def shard_paths(path: str | Path) -> list[Path]:
    """The files of a data set: by their names, shard 2 before shard 10.

    Raises:
        UserError: a folder or a glob without any, or a file that is being made.
    """
    path = Path(path)
    refuse_unfinished(path)
    if path.is_dir():
        files = [file for file in path.glob("*.h5") if file.is_file()]
        # counterfactuals have columns of their own and are no shards of the recorded episodes; a glob may name them
        found = [file for file in files if not file.name.endswith(COUNTERFACTUALS)] or files
        what = "no .h5 files in this folder"
    elif glob.has_magic(str(path)) and not path.exists():
        found, what = [Path(file) for file in glob.glob(str(path))], "no file matches this pattern"
    else:
        return [path]
    if not found:
        raise UserError(f"{path}: {what}; `{as_typed('cjepa', 'collect', '--out', path.parent / 'NAME.h5')}` makes one")
    return sorted(found, key=_natural)


class ShardedEpisodes(Episodes):
    """Several episode or token files as one data set, in the order given; few of them are open at a time.

    Args:
        path: what the set is called in messages and records.
        shards: the files.
        max_open: how many may be open at a time.

    Raises:
        UserError: two files differ in columns or in what made them, or share an episode.
    """

    def __init__(self, path: str | Path, shards: list[EpisodeFile], max_open: int = _MAX_OPEN):
        _check_that_they_belong_together(shards)
        self.path = Path(path)
        self.shards = shards
        self.lengths = np.concatenate([shard.lengths for shard in shards])
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])[:-1]
        self.first_rows = np.concatenate([[0], np.cumsum([shard.env_steps for shard in shards])])
        """The first row of each shard, and the number of rows."""
        self.first_episodes = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])])
        self.columns = {
            name: ((self.env_steps, *shape[1:]), dtype) for name, (shape, dtype) in shards[0].columns.items()
        }
        self.fingerprint = _combined([shard.fingerprint for shard in shards])
        self.attributes = {**_common_attributes(shards), "fingerprint": self.fingerprint}
        self._recent = RecentlyUsed(max_open)

    @property
    def identities(self) -> list[int]:
        """See :attr:`Episodes.identities`."""
        return [identity for shard in self.shards for identity in shard.identities]

    def read(self, column: str, start: int, stop: int) -> np.ndarray:
        """See :meth:`Episodes.read`."""
        self.require(column)
        first, last = np.searchsorted(self.first_rows, [start, max(start, stop - 1)], side="right") - 1
        parts = []
        for index in range(min(first, len(self.shards) - 1), min(last, len(self.shards) - 1) + 1):
            shard, begin = self.shards[index], int(self.first_rows[index])
            rows = max(start - begin, 0), min(stop - begin, shard.env_steps)
            parts.append(self.in_shard(index, lambda shard=shard, rows=rows: shard.read(column, *rows)))
            self._recent.use(shard)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def in_shard(self, index: int, read: Callable[[], _Result]) -> _Result:
        """``read()``; damage that it meets in this shard is named with the episode's index in the whole set."""
        try:
            return read()
        except DamagedEpisode as error:
            number = int(self.first_episodes[index]) + error.episode
            raise DamagedEpisode(error.path, error.episode, error.column, error.reason, number) from None


class ShardedFrames:
    """:class:`FrameReader` over several files.

    Args:
        episodes: the set.
        column: its name.

    Raises:
        UserError: no such column.
    """

    def __init__(self, episodes: ShardedEpisodes, column: str):
        episodes.require(column)
        self.episodes = episodes
        self._row_shape, self._dtype = episodes.columns[column][0][1:], episodes.columns[column][1]
        self._column = column
        self._readers: dict[int, FrameReader] = {}
        self._recent = RecentlyUsed(_MAX_OPEN)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """See :meth:`FrameReader.read`."""
        values = np.empty((len(rows), *self._row_shape), self._dtype)
        shard_of_row = np.searchsorted(self.episodes.first_rows, rows, side="right") - 1
        for index in np.unique(shard_of_row):
            here = shard_of_row == index
            local, reader = rows[here] - self.episodes.first_rows[index], self._reader(index)
            values[here] = self.episodes.in_shard(index, lambda reader=reader, local=local: reader.read(local))
            self._recent.use(reader)
        return values

    def episode(self, index: int) -> np.ndarray:
        """See :meth:`FrameReader.episode`."""
        shard = int(np.searchsorted(self.episodes.first_episodes, index, side="right")) - 1
        with HDF5_LOCK:
            reader = self._reader(shard)
            self._recent.use(reader)
        local = index - int(self.episodes.first_episodes[shard])
        return self.episodes.in_shard(shard, lambda: reader.episode(local))

    def _reader(self, index: int) -> FrameReader:
        if index not in self._readers:
            self._readers[index] = FrameReader(self.episodes.shards[index], self._column)
        return self._readers[index]


def frame_reader(episodes: Episodes, column: str) -> FrameReader | ShardedFrames:
    """Rows of a column in any order, be it of one file or of several."""
    return ShardedFrames(episodes, column) if isinstance(episodes, ShardedEpisodes) else FrameReader(episodes, column)


class RecentlyUsed:
    """Closes what was used longest ago when more than ``limit`` things are open.

    Args:
        limit: at least 1.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._open: OrderedDict[int, Any] = OrderedDict()

    def use(self, thing: Any) -> None:
        """``thing``, which has a ``close``, has just been used."""
        self._open[id(thing)] = thing
        self._open.move_to_end(id(thing))
        while len(self._open) > self.limit:
            self._open.popitem(last=False)[1].close()

    def __reduce__(self):
        return type(self), (self.limit,)  # in another process nothing is open yet


def _check_that_they_belong_together(shards: list[EpisodeFile]) -> None:
    first = shards[0]
    kinds = {name: (shape[1:], dtype) for name, (shape, dtype) in first.columns.items()}
    seen: dict[bytes, Path] = {}
    for shard in shards:
        mend = "put them in separate folders"
        others = {name: (shape[1:], dtype) for name, (shape, dtype) in shard.columns.items()}
        for name in sorted(kinds.keys() | others.keys()):
            if kinds.get(name) != others.get(name):
                ours, theirs = (_describe(columns.get(name)) for columns in (kinds, others))
                raise UserError(
                    f"{first.path} and {shard.path} are not one data set: column {name!r} is {ours} in the first and "
                    f"{theirs} in the second; {mend}"
                )
        for key in _MUST_AGREE:
            ours, theirs = first.attributes.get(key), shard.attributes.get(key)
            if ours != theirs:
                raise UserError(
                    f"{first.path} and {shard.path} are not one data set: {key} is {ours} in the first and {theirs} in "
                    f"the second; {mend}"
                )
        for checksums in shard.checksums:
            other = seen.setdefault(checksums.tobytes(), shard.path)
            if other != shard.path:
                raise UserError(
                    f"{other} and {shard.path} contain the same episodes, which would be trained on and tested on; "
                    "delete one of the files, or collect one with another seed"
                )


def _describe(kind: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "missing" if kind is None else f"{kind[1]} {kind[0]}"


def _common_attributes(shards: list[EpisodeFile]) -> dict[str, Any]:
    """What all shards say alike; of tokens, also the fingerprint of the set of episodes that they were made of."""
    first = shards[0].attributes
    common = {key: value for key, value in first.items() if all(s.attributes.get(key) == value for s in shards)}
    if "episodes_fingerprint" in first:
        sources = list(dict.fromkeys(shard.attributes["episodes_fingerprint"] for shard in shards))
        common["episodes_fingerprint"] = sources[0] if len(sources) == 1 else _combined(sources)
    return common


def _combined(fingerprints: list[str]) -> str:
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:16]


def _natural(path: Path) -> list[tuple[int, str]]:
    # numbers by their value: ("a", 2) stands before ("a", 10)
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]
