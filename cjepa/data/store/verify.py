"""Is a data set what its writer wrote?"""

from pathlib import Path

import numpy as np

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import COLUMN_DTYPES, DamagedEpisode, Episodes, Unavailable
from cjepa.data.store.shards import ShardedEpisodes, open_episodes, shard_paths
from cjepa.errors import UserError
from cjepa.progress import Progress


def verify_data(path: Path, progress: Progress) -> str | None:
    """Check index, columns, dtypes, checksums and finite values of every episode of every file.

    Args:
        path: a file, or the folder or glob of a data set of several.
        progress: advanced by the share of the data just checked.

    Returns:
        The first fault, with file, episode and column, or None.

    Raises:
        UserError: there is no such file.
    """
    files = shard_paths(path)
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file")
        fault = _file_fault(file, progress, 1 / len(files))
        if fault is not None:
            return fault
    try:
        open_episodes(path)
    except UserError as error:  # each file is sound, but they are no set
        return str(error)
    return None


def corrupted_episodes(episodes: Episodes) -> dict[int, str]:
    """Index of every episode that is not what was written -> its first fault."""
    shards = episodes.shards if isinstance(episodes, ShardedEpisodes) else [episodes]
    faults: dict[int, str] = {}
    first = 0
    for shard in shards:
        for episode in range(len(shard)):
            fault = _episode_fault(shard, episode)
            if fault is not None:
                faults[first + episode] = f"{shard.path}: {fault}"
        first += len(shard)
        shard.close()
    return faults


def _file_fault(path: Path, progress: Progress, share: float) -> str | None:
    try:
        file = EpisodeFile(path)
    except Unavailable:
        raise  # which says nothing about what is in it
    except UserError as error:
        return str(error)
    fault = _index_fault(file)
    for episode in range(len(file)) if fault is None else []:
        fault = _episode_fault(file, episode)
        if fault is not None:
            break
        progress.advance(share / len(file))
    file.close()
    return fault and f"{path}: {fault}"


def _index_fault(file: EpisodeFile) -> str | None:
    expected = list(file.checksummed_columns)
    if missing := sorted(set(expected) - set(file.columns)):
        return f"column {missing[0]!r} is missing"
    if unknown := sorted(set(file.columns) - set(expected)):
        return f"column {unknown[0]!r} has no checksums; it was not written with the other columns"
    for name, (_, dtype) in file.columns.items():
        if name in COLUMN_DTYPES and dtype.name not in COLUMN_DTYPES[name]:
            return f"column {name!r} is {dtype.name}, expected {' or '.join(COLUMN_DTYPES[name])}"
    if not file.attributes_intact:
        return "an attribute has changed since it was written"
    return None


def _episode_fault(file: EpisodeFile, episode: int) -> str | None:
    for name in file.checksummed_columns:
        try:
            values = file.episode(episode, [name])[name]
        except DamagedEpisode as error:
            return f"episode {episode}, column {name!r}: {error.reason}"
        except UserError as error:
            return f"episode {episode}, column {name!r}: {error}"
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            return f"episode {episode}, column {name!r}, row {row}: not a finite number"
    return None
