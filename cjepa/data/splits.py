"""Which episodes are used for what; damaged ones can be left out, and no other episode changes its place."""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episodes
from cjepa.data.store.verify import corrupted_episodes
from cjepa.errors import UserError

SPLIT_SHARES = (0.9, 0.05, 0.05)
SPLIT_SEED = 0

_log = logging.getLogger(__name__)


class UsedEpisodes(NamedTuple):
    """A split by episode, and what is in none of its parts."""

    splits: dict[str, np.ndarray]
    """Sorted int64 indices under ``train``, ``val`` and ``test``."""
    excluded: list[int]


class Lineage(NamedTuple):
    """Which episodes a model learned from: what decides later whether an episode was held out.

    Plain values only: a checkpoint stores ``lineage._asdict()`` and is read with ``Lineage(**stored)``.
    """

    episodes_fingerprint: str
    """Of the episodes; a model that learned from tokens has that of the episodes which the tokens were made from."""
    split_seed: int
    excluded: list[int]
    """Sorted indices of episodes that are in no part of the split."""
    identities: list[int]
    """:attr:`Episodes.identities` of all episodes."""


def split_episodes(num_episodes: int, shares: tuple[float, float, float], seed: int) -> dict[str, np.ndarray]:
    """Split episode indices into train, val and test; the same arguments give the same split everywhere.

    Args:
        num_episodes: how many there are.
        shares: shares of train, val and test; they sum to 1.
        seed: of the permutation.

    Returns:
        Sorted int64 indices under ``train``, ``val`` and ``test``.

    Raises:
        UserError: the shares do not sum to 1.
    """
    if abs(sum(shares) - 1.0) > 1e-6:
        raise UserError(f"split shares {shares} sum to {sum(shares)}, expected 1")
    order = np.random.default_rng(seed).permutation(num_episodes)
    cuts = np.round(np.cumsum(shares)[:2] * num_episodes).astype(int)
    return {name: np.sort(part) for name, part in zip(("train", "val", "test"), np.split(order, cuts), strict=True)}


def used_episodes(
    episodes: Episodes, split_seed: int, exclude_episodes: Sequence[int], exclude_corrupted: bool
) -> UsedEpisodes:
    """Split all episodes, then leave some out: the rest is split as if nothing were missing.

    Args:
        episodes: the data set.
        split_seed: of the split.
        exclude_episodes: indices to leave out.
        exclude_corrupted: check every episode first and leave out those that are not what was written.

    Raises:
        UserError: there is no such episode.
    """
    excluded = excluded_episodes(episodes, exclude_episodes, exclude_corrupted)
    splits = split_episodes(len(episodes), SPLIT_SHARES, split_seed)
    return UsedEpisodes({name: np.setdiff1d(part, excluded) for name, part in splits.items()}, excluded)


def excluded_episodes(episodes: Episodes, exclude_episodes: Sequence[int], exclude_corrupted: bool) -> list[int]:
    """Indices to leave out, sorted; which they are is logged. See :func:`used_episodes`."""
    if unknown := sorted(set(exclude_episodes) - set(range(len(episodes)))):
        raise UserError(
            f"exclude_episodes contains {unknown[0]}, but {episodes.path} has episodes 0 to {len(episodes) - 1}"
        )
    faults = corrupted_episodes(episodes) if exclude_corrupted else {}
    for episode, fault in faults.items():
        _log.warning("%s: episode %d is left out: %s", episodes.path, episode, fault)
    if exclude_episodes:
        _log.warning("%s: left out as asked: episodes %s", episodes.path, sorted(set(exclude_episodes)))
    return sorted({*exclude_episodes, *faults})


def lineage_of(file: Episodes, split_seed: int, excluded: Sequence[int]) -> Lineage:
    """What a model that learns from ``file`` has to remember.

    Args:
        file: episodes, or tokens of them.
        split_seed: of the split by episode.
        excluded: indices that were left out; episodes that have no rows in a token file are added.
    """
    empty = np.flatnonzero(file.lengths == 0).tolist()
    return Lineage(_source_fingerprint(file), split_seed, sorted({*excluded, *empty}), file.identities)


def held_out(file: Episodes, lineage: Lineage, split: str) -> np.ndarray:
    """Episodes of ``file`` that a model did not learn from.

    Args:
        file: the episodes that the model learned from, or others, of which all are held out then (this is logged).
        lineage: of the model.
        split: ``val`` or ``test``.

    Returns:
        Sorted int64 indices.

    Raises:
        UserError: ``file`` is another version of the episodes that the model learned from, so that its own split by
            episode would mix held-out episodes with training episodes.
    """
    if _source_fingerprint(file) == lineage.episodes_fingerprint:
        part = split_episodes(len(file), SPLIT_SHARES, lineage.split_seed)[split]
        return np.setdiff1d(part, lineage.excluded)
    known = set(lineage.identities) - {0}
    shared = [index for index, identity in enumerate(file.identities) if identity in known]
    if shared:
        raise UserError(
            f"{file.path}: another version of the episodes that the model was trained on: {len(shared)} of "
            f"{len(file)} episodes are the same (the first is episode {shared[0]}), but the fingerprint is "
            f"{_source_fingerprint(file)}, expected {lineage.episodes_fingerprint}; give the file that the model was "
            "trained on, or episodes of another seed"
        )
    _say_that_all_are_held_out(str(file.path), len(file))
    return np.arange(len(file))


@cache  # said once a file, however many parts of it are asked for
def _say_that_all_are_held_out(path: str, count: int) -> None:
    _log.warning("%s: none of its %d episodes was trained on; all count as held out", path, count)


def check_held_out(file: Episodes, splits: Mapping[str, np.ndarray], lineage: Lineage, learner: str) -> None:
    """Check that a model learned from no episode that is held out now.

    Args:
        file: the episodes, or tokens of them.
        splits: indices under ``val`` and ``test``, which are held out now.
        lineage: of the model.
        learner: what the model is, for messages.

    Raises:
        UserError: it learned from one of them, or from another version of the file.
    """
    for split in ("val", "test"):
        if learned := np.setdiff1d(splits[split], held_out(file, lineage, split)).tolist():
            raise UserError(
                f"{learner}: it was trained on episode {learned[0]} of {file.path}, which is held out here; set "
                f"data.init_args.split_seed to {lineage.split_seed}"
            )


def warn_of_learned(file: Episodes, splits: Mapping[str, np.ndarray], lineage: Lineage, learner: str) -> None:
    """Log how many of the episodes that are held out now something has learned from, in whichever file it found them.

    Args:
        file: the episodes, or tokens of them.
        splits: indices under ``val`` and ``test``, which are held out now.
        lineage: of what has learned.
        learner: what it is, for messages.
    """
    train = split_episodes(len(lineage.identities), SPLIT_SHARES, lineage.split_seed)["train"]
    learned = {lineage.identities[index] for index in np.setdiff1d(train, lineage.excluded)} - {0}
    held, own = np.sort(np.concatenate([splits["val"], splits["test"]])).tolist(), file.identities
    if shared := [index for index in held if own[index] in learned]:
        is_the_same = _source_fingerprint(file) == lineage.episodes_fingerprint
        mend = f"set data.init_args.split_seed to {lineage.split_seed}" if is_the_same else "collect with another seed"
        _log.warning(
            "%s: %d of the %d episodes that are held out here, such as episode %d, are not new to %s: it was trained "
            "on them; %s",
            *(file.path, len(shared), len(held), shared[0], learner, mend),
        )


def check_only_training(
    file: Episodes, splits: Mapping[str, np.ndarray], identities: Collection[int], learner: str
) -> None:
    """Check that none of the episodes which a model is about to learn from is held out now.

    Args:
        file: the episodes of its training, or tokens of them.
        splits: indices under ``val`` and ``test``, which are held out now.
        identities: :attr:`Episodes.identities` of what it is about to learn from, wherever that is from.
        learner: who would learn from them, for messages.

    Raises:
        UserError: one is held out.
    """
    own, taken = file.identities, set(identities) - {0}
    for split in ("val", "test"):
        if shared := [index for index in splits[split].tolist() if own[index] in taken]:
            raise UserError(
                f"{learner}: taken from episode {shared[0]} of {file.path}, which is held out here ({split}); take "
                "others, from episodes that `cjepa collect` made with another seed"
            )


def lineage_beside(file: Episodes, lineage: Mapping[str, Any], otherwise: int) -> Lineage:
    """What has to be remembered of something that is fitted on training episodes of a file, for use with a model.

    Args:
        file: the episodes that the model learned from, or others, which are split by the model's seed.
        lineage: of the model, as its checkpoint holds it; empty where it is unknown.
        otherwise: seed of the split where there is no lineage.
    """
    if not lineage:
        return lineage_of(file, otherwise, ())
    model = Lineage(**lineage)
    is_the_same = _source_fingerprint(file) == model.episodes_fingerprint
    return lineage_of(file, model.split_seed, model.excluded if is_the_same else ())


def training_episodes(file: Episodes, lineage: Lineage) -> np.ndarray:
    """Episodes that something with this lineage, which is of the same file, is fitted on: sorted int64 indices."""
    return np.setdiff1d(split_episodes(len(file), SPLIT_SHARES, lineage.split_seed)["train"], lineage.excluded)


def _source_fingerprint(file: Episodes) -> str:
    # counterfactual episodes have the attribute too, but are episodes of their own
    of_tokens = file.attributes["format"] == "cjepa-tokens"
    return file.attributes.get("episodes_fingerprint", file.fingerprint) if of_tokens else file.fingerprint


def rows_of(episodes: Episodes, column: str, used: np.ndarray) -> Tensor:
    """A column over all rows, zero where an episode is not among ``used``: what is left out is not even read."""
    shape, dtype = episodes.columns[column]
    values = np.zeros(shape, dtype)
    used = np.sort(used)
    for run in np.split(used, np.flatnonzero(np.diff(used) != 1) + 1) if len(used) else []:
        start, stop = int(episodes.offsets[run[0]]), int(episodes.offsets[run[-1]] + episodes.lengths[run[-1]])
        values[start:stop] = episodes.read(column, start, stop)
    return torch.from_numpy(values)
