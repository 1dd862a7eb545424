"""Tokens of all frames of an episode file into a token file."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cjepa.data.splits import EpisodesWithout
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episode, Episodes
from cjepa.data.store.origins import stored_path, stored_tokenizer
from cjepa.data.store.parts import ResumableWriter, complete_file, write_part
from cjepa.errors import UserError
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.tokenizers.encode import clips_of, encode_clips, fingerprint, in_parallel, read_columns
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer

_FRAMES_PER_BATCH = 512
_CARRIED_COLUMNS = ("action", "proprio", "state")
_CARRIED_ATTRIBUTES = ("env_id", "env_kwargs")  # with states, what it takes to run the simulator again


def tokenize(
    spec: TokenizerSpec,
    episodes: Episodes,
    out: Path,
    progress: Progress,
    resume: bool = True,
    excluded: Sequence[int] = (),
    device: torch.device | str = "cpu",
) -> EpisodeFile:
    """Write the tokens of every frame beside actions, proprioception and state.

    Args:
        spec: the tokenizer.
        episodes: with a ``pixels`` column, and ``masks`` for a tokenizer that takes hints.
        out: the token file to make; if this job made it before, nothing is done.
        progress: advanced by the frames of each group of episodes.
        resume: use the episodes that an interrupted run finished.
        excluded: indices of episodes that get no rows; the others keep their indices, and so their split.
        device: that encodes.

    Raises:
        UserError: ``out`` is of another job or is being made by another process, a column is missing, or a token is
            not finite.
    """
    tokenizer = build_tokenizer(spec).to(device)
    check_environment(tokenizer, episodes.attributes.get("env_id"), str(episodes.path))
    if tokenizer.info.hint_dim and "masks" not in episodes.columns:
        raise UserError(
            f"{episodes.path}: no label images ('masks'), which this {type(tokenizer).__name__} needs for the "
            "positions of objects in the first frame; collect episodes with masks"
        )
    attributes = {
        "tokenizer": stored_tokenizer(spec.plain(), out),
        "tokenizer_fingerprint": fingerprint(tokenizer),
        "episodes_fingerprint": episodes.fingerprint,
        "episodes_path": stored_path(episodes.path, out),
        "num_slots": tokenizer.num_slots,
        "token_dim": tokenizer.slot_dim,
        "excluded_episodes": list(excluded),
        **{name: episodes.attributes[name] for name in _CARRIED_ATTRIBUTES if name in episodes.attributes},
    }
    episodes = EpisodesWithout(episodes, excluded)
    identity = ("tokenizer_fingerprint", "episodes_fingerprint", "excluded_episodes")
    job = json.dumps([attributes[key] for key in identity])
    if file := complete_file(out, job, len(episodes), resume):
        return file
    with ResumableWriter(out, "cjepa-tokens", attributes, job, resume) as writer:
        groups = _groups(episodes)
        is_new = [not all(map(writer.has, group)) for group in groups]
        read = (_read(episodes, group, tokenizer) for group, new in zip(groups, is_new, strict=True) if new)
        made = in_parallel(tokenizer, partial(_token_episodes, tokenizer), read)
        for group, new in zip(groups, is_new, strict=True):
            if new:
                for index, episode in zip(group, next(made), strict=True):
                    _check_finite(episode["tokens"], f"{episodes.path}: episode {index}")
                    write_part(writer.part(index), episode)
            for index in group:
                writer.append_part(index)
            progress.advance(int(episodes.lengths[group].sum()), new)
    return EpisodeFile(out)


def _read(episodes: Episodes, group: list[int], tokenizer: Tokenizer) -> list[Episode]:
    carried = {name for name in _CARRIED_COLUMNS if name in episodes.columns}
    return [episodes.episode(index, read_columns(tokenizer) | carried) for index in group]


def _token_episodes(tokenizer: Tokenizer, rows: list[Episode]) -> list[Episode]:
    # what pads the shorter episodes is cut off again, and changes nothing before it: a tokenizer is causal
    clips = clips_of({column: _padded(rows, column) for column in read_columns(tokenizer)})
    tokens = encode_clips(tokenizer, clips).to(torch.float16).numpy()
    return [
        {
            **{name: row[name] for name in _CARRIED_COLUMNS if name in row},
            "tokens": clip[: len(row[tokenizer.info.column])],
        }
        for row, clip in zip(rows, tokens, strict=True)
    ]


def _check_finite(tokens_TSD: np.ndarray, where: str) -> None:
    is_finite_T = np.isfinite(tokens_TSD).all(axis=(1, 2))
    if not is_finite_T.all():
        raise UserError(
            f"{where}, frame {int(is_finite_T.argmin())}: its tokens are not finite in float16; the training of the "
            "tokenizer diverged or the frame's own values are not finite; give another tokenizer, or leave the episode "
            "out with --exclude_episodes"
        )


def _padded(rows: list[Episode], column: str) -> torch.Tensor:
    """A column of episodes as (B, T, ...), T that of the longest, with zeros behind the shorter ones."""
    parts = [row[column] for row in rows]
    longest = max(1, *map(len, parts))
    padded_BT = np.zeros((len(parts), longest, *parts[0].shape[1:]), parts[0].dtype)
    for clip, part in zip(padded_BT, parts, strict=True):
        clip[: len(part)] = part
    return torch.from_numpy(padded_BT)


def _groups(episodes: Episodes) -> list[list[int]]:
    """Whole episodes, about a batch of frames at a time."""
    groups: list[list[int]] = [[]]
    frames = 0
    for index, length in enumerate(episodes.lengths):
        if frames + length > _FRAMES_PER_BATCH and groups[-1]:
            groups.append([])
            frames = 0
        groups[-1].append(index)
        frames += int(length)
    return groups
