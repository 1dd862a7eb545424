"""Tokens of all frames of an episode file into a token file."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.origins import stored_path, stored_tokenizer
from cjepa.data.store.parts import ResumableWriter, complete_file, write_part
from cjepa.errors import UserError
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.tokenizers.encode import clips_of, device_of, encode_clips, fingerprint, in_parallel, read_columns
from cjepa.tokenizers.episode_batches import (
    CarriedColumns,
    batches_of,
    frames_at_once,
    padded,
    read_batches,
    row_bytes,
)
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer

_CARRIED_COLUMNS = ("action", "proprio", "state")
_CARRIED_ATTRIBUTES = ("env_id", "env_kwargs")  # with states, what it takes to run the simulator again
_IDENTITY = ("tokenizer_fingerprint", "episodes_fingerprint", "excluded_episodes")  # of the job


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

    The same job makes the same batches on the same kind of device, whether it is interrupted or not: they depend on the
    lengths of episodes and on the size of a GPU's memory, not on what is free of it. On a CPU the file is the same;
    on a GPU as far as its operations repeat themselves, and another card may round the last bits differently.

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
    _check_readable(tokenizer, episodes)
    lengths = episodes.lengths.copy()
    lengths[list(excluded)] = 0
    attributes = _attributes(spec, tokenizer, episodes, excluded, out)
    job = json.dumps([attributes[key] for key in _IDENTITY])
    if file := complete_file(out, job, len(episodes), resume):
        return file
    with ResumableWriter(out, "cjepa-tokens", attributes, job, resume) as writer:
        columns = read_columns(tokenizer)
        frames = frames_at_once(device_of(tokenizer), tokenizer.peak_bytes(row_bytes(episodes, columns)))
        batches = batches_of(lengths, frames)
        is_new = [not all(map(writer.has, batch)) for batch in batches]
        new = [batch for batch, is_new_batch in zip(batches, is_new, strict=True) if is_new_batch]
        carried = CarriedColumns(episodes, lengths, _CARRIED_COLUMNS)
        read = read_batches(episodes, lengths, columns, new, device_of(tokenizer))
        made = in_parallel(tokenizer, partial(_tokens, tokenizer, frames), read)
        for batch, is_new_batch in zip(batches, is_new, strict=True):
            if is_new_batch:
                for index, tokens_TSD in zip(batch, next(made), strict=True):
                    _check_finite(tokens_TSD, f"{episodes.path}: episode {index}")
                    write_part(writer.part(index), {**carried.of(index), "tokens": tokens_TSD})
            writer.append_parts(batch)
            progress.advance(int(lengths[batch].sum()), is_new_batch)
    return EpisodeFile(out)


def _check_readable(tokenizer: Tokenizer, episodes: Episodes) -> None:
    check_environment(tokenizer, episodes.attributes.get("env_id"), str(episodes.path))
    if tokenizer.info.hint_dim and "masks" not in episodes.columns:
        raise UserError(
            f"{episodes.path}: no label images ('masks'), which this {type(tokenizer).__name__} needs for the "
            "positions of objects in the first frame; collect episodes with masks"
        )
    for name in sorted(read_columns(tokenizer)):
        episodes.require(name)


def _attributes(
    spec: TokenizerSpec, tokenizer: Tokenizer, episodes: Episodes, excluded: Sequence[int], out: Path
) -> dict[str, Any]:
    """Of the token file."""
    carried = {name: episodes.attributes[name] for name in _CARRIED_ATTRIBUTES if name in episodes.attributes}
    return {
        "tokenizer": stored_tokenizer(spec.plain(), out),
        "tokenizer_fingerprint": fingerprint(tokenizer),
        "episodes_fingerprint": episodes.fingerprint,
        "episodes_path": stored_path(episodes.path, out),
        "num_slots": tokenizer.num_slots,
        "token_dim": tokenizer.slot_dim,
        "excluded_episodes": list(excluded),
        **carried,
    }


def _tokens(tokenizer: Tokenizer, frames: int, rows: list[dict[str, torch.Tensor]]) -> list[np.ndarray]:
    """float16 tokens ``(T, S, D)`` of the episodes of a batch, of which so many frames at most are encoded at once."""
    # what pads the shorter episodes is cut off again, and changes nothing before it: a tokenizer is causal
    columns = read_columns(tokenizer)
    clips = clips_of({name: padded([row[name] for row in rows], device_of(tokenizer)) for name in columns})
    tokens_BTSD = encode_clips(tokenizer, clips, torch.float16, max(1, frames // len(rows))).numpy()
    return [clip[: len(row[tokenizer.info.column])] for row, clip in zip(rows, tokens_BTSD, strict=True)]


def _check_finite(tokens_TSD: np.ndarray, where: str) -> None:
    is_finite_T = np.isfinite(tokens_TSD).all(axis=(1, 2))
    if not is_finite_T.all():
        raise UserError(
            f"{where}, frame {int(is_finite_T.argmin())}: its tokens are not finite in float16; the training of the "
            "tokenizer diverged or the frame's own values are not finite; give another tokenizer, or leave the episode "
            "out with --exclude_episodes"
        )
