"""Where clips may start, apart from the data modules: processes that only read clips then need not import Lightning."""

import numpy as np

from cjepa.counts import number_of
from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError


def clip_starts(file: Episodes, episodes: np.ndarray, blocks: int, frame_stride: int) -> np.ndarray:
    """Every row at which a clip of ``blocks`` x ``frame_stride`` env steps fits into its episode, int64 ``(N,)``.

    Args:
        file: with the lengths of the episodes.
        episodes: their indices, int; clips stand in this order.
        blocks: frames per clip.
        frame_stride: env steps per block.

    Raises:
        UserError: there is none.
    """
    span = blocks * frame_stride
    starts = [file.offsets[e] + np.arange(max(0, file.lengths[e] - span + 1)) for e in episodes]
    if not len(episodes):
        raise UserError(
            f"{file.path}: none of its {len(file.lengths)} episodes is in this part of the split (training, "
            "validation or test); collect more, 20 fill every part"
        )
    if not sum(map(len, starts)):
        longest = int(file.lengths[episodes].max())
        raise UserError(
            f"{file.path}: no clip of {blocks} blocks x {frame_stride} env steps = {span} env steps in "
            f"{number_of(len(episodes), 'episode')} (the longest has {longest} env steps); collect longer or more "
            "episodes"
        )
    return np.concatenate(starts)


def evenly_spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the values ``(N, ...)``, evenly spaced, with the first and the last; N is 1 or more."""
    return values[np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))]


def as_is(batch):
    """For datasets that make whole batches themselves."""
    return batch
