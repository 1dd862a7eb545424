"""Is an episode or token file what its writer wrote?"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cjepa.data.store import EpisodeFile, crc32
from cjepa.errors import UserError


def verify_file(path: Path, on_progress: Callable[[float], None]) -> str | None:
    """Check index, columns, dtypes, checksums and finite values of every episode.

    Args:
        path: the file.
        on_progress: called with the share of the file just checked.

    Returns:
        The first fault, with episode and column, or None.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        file = EpisodeFile(path)
    except (UserError, KeyError, ValueError) as error:
        return str(error)
    fault = _index_fault(file)
    if fault is not None:
        return f"{path}: {fault}"
    for episode in range(len(file)):
        fault = _episode_fault(file, episode)
        if fault is not None:
            return f"{path}: {fault}"
        on_progress(1 / len(file))
    return None


def _index_fault(file: EpisodeFile) -> str | None:
    expected = list(file.checksummed_columns)
    if missing := sorted(set(expected) - set(file.columns)):
        return f"column {missing[0]!r} is missing"
    if file.checksums.shape != (len(file), len(expected)):
        return f"checksums for {file.checksums.shape} episodes x columns, expected {(len(file), len(expected))}"
    starts = np.concatenate([[0], np.cumsum(file.lengths)])[: len(file)]
    if wrong := np.flatnonzero(file.offsets != starts).tolist():
        first = wrong[0]
        return f"episode {first}: ep_offset is {file.offsets[first]}, the lengths before it add up to {starts[first]}"
    for name, (shape, _) in file.columns.items():
        if shape[0] != file.env_steps:
            return f"column {name!r} has {shape[0]} rows, the episode lengths add up to {file.env_steps}"
    return None


def _episode_fault(file: EpisodeFile, episode: int) -> str | None:
    for index, name in enumerate(file.checksummed_columns):
        try:
            values = file.episode(episode, [name])[name]
        except UserError as error:
            return f"episode {episode}, column {name!r}: {error}"
        if crc32(values) != file.checksums[episode, index]:
            return f"episode {episode}, column {name!r}: the checksum does not match (or the dtype has changed)"
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            return f"episode {episode}, column {name!r}, row {row}: not a finite number"
    return None
