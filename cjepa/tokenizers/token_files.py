"""Tokens of all frames of an episode file into a token file, and the tokenizer back from what that file names."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from cjepa.checkpoints import find_checkpoint
from cjepa.data.splits import EpisodesWithout
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episode, Episodes
from cjepa.data.store.parts import ResumableWriter, complete_file, write_part
from cjepa.errors import UserError
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, check_environment, float_frames
from cjepa.tokenizers.baselines.initialisers import hints_from_labels
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.features import DinoV2Features
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.training import load_tokenizer

_FRAMES_PER_BATCH = 512
_MOST_THREADS = 16  # every thread holds a batch or two
_CARRIED_COLUMNS = ("action", "proprio", "state")
_Batch, _Encoded = TypeVar("_Batch"), TypeVar("_Encoded")


class TokenizerSpec(NamedTuple):
    """What it takes to build a tokenizer again."""

    source: str
    """A checkpoint or ``zoo:NAME``, or ``oracle`` for the simulator's own account of the objects, ``oracle:D`` for a
    random projection of it to D values, or ``dino:SOURCE`` for patches of a pretrained DINOv2."""
    patch_grid: int = 0
    """0 for the tokenizer itself, g for a g x g grid of its encoder's features."""
    bodies: int = 0
    """Of an oracle; from the episodes."""
    attributes: tuple[str, ...] = ()
    """Of an oracle: what the columns of ``objects`` are; from the episodes."""


def tokenizer_spec(run: str, episodes: Episodes, patch_grid: int = 0) -> TokenizerSpec:
    """From what a user types, for these episodes.

    Args:
        run: a run folder, a checkpoint, ``zoo:NAME``, ``oracle``, ``oracle:D``, or ``dino:SOURCE``, see
            :class:`~cjepa.tokenizers.features.DinoV2Features`.
        episodes: that are to be tokenized.
        patch_grid: see :class:`TokenizerSpec`.

    Raises:
        UserError: there is no such checkpoint; for a DINOv2, no grid is asked for; for an oracle, one is, or the
            episodes have no ``objects``, or D is not a number above 0.
    """
    if run.startswith("dino:") and not patch_grid:
        raise UserError(f"{run}: a DINOv2 has patches only; say how many a side with patch_grid, for all of them 14")
    if not _is_oracle(run):
        return TokenizerSpec(run if run.startswith(("zoo:", "dino:")) else str(find_checkpoint(run)), patch_grid)
    if "objects" not in episodes.columns or "attribute_names" not in episodes.attributes:
        raise UserError(
            f"{episodes.path}: no column 'objects' with its 'attribute_names', which an oracle reads; collect the "
            "episodes again"
        )
    if run != "oracle" and not re.fullmatch("oracle:[1-9][0-9]*", run):
        raise UserError(f"{run}: expected `oracle`, or `oracle:D` with the number of values of a token")
    if patch_grid:
        raise UserError(f"patch_grid {patch_grid}: an oracle has no grid; it must be 0")
    bodies = episodes.columns["objects"][0][1]
    return TokenizerSpec(run, 0, bodies, tuple(json.loads(episodes.attributes["attribute_names"])))


def build_tokenizer(spec: TokenizerSpec) -> Tokenizer:
    """The frozen tokenizer in eval mode.

    Raises:
        UserError: the source is missing or not a tokenizer's, or the grid does not fit it.
    """
    if _is_oracle(spec.source):
        dim = int(spec.source.partition(":")[2] or 0)
        return OracleTokenizer(spec.bodies, tuple(spec.attributes), dim).eval()
    if spec.source.startswith("dino:"):
        trained = DinoV2Features(spec.source.removeprefix("dino:"))
    else:
        trained = load_tokenizer(find_checkpoint(spec.source))
    if not spec.patch_grid:
        return trained
    try:
        return PatchTokenizer(trained, spec.patch_grid).eval()
    except ValueError as error:
        raise UserError(f"patch_grid: {error}") from None


def _is_oracle(source: str) -> bool:
    return source.partition(":")[0] == "oracle"


def fingerprint(tokenizer: Tokenizer) -> str:
    """16 hex digits that change with the kind of tokenizer, its options and any weight."""
    digest = hashlib.sha256(f"{tokenizer.num_slots} {tokenizer.slot_dim}".encode())
    for part in tokenizer.modules():  # patches are made by a tokenizer within
        if isinstance(part, Tokenizer):
            digest.update(f"{type(part).__name__} {part.revision} {part.options}".encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def encode_clips(tokenizer: Tokenizer, rows_BT: torch.Tensor, hints_BSH: torch.Tensor | None = None) -> torch.Tensor:
    """Rows of the column that the tokenizer reads -> float32 tokens, under bf16 autocast as token files are made.

    Args:
        tokenizer: in eval mode.
        rows_BT: uint8 frames ``(B, T, Y, X, 3)``, or whatever else its column holds.
        hints_BSH: at the objects of the first frame, for a tokenizer that takes them.

    Returns:
        Tokens ``(B, T, S, D)``, on the CPU.
    """
    device = device_of(tokenizer)
    rows_BT = rows_BT.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        inputs_BT = float_frames(tokenizer, rows_BT) if tokenizer.column == "pixels" else rows_BT
        hints = () if hints_BSH is None else (hints_BSH.to(device),)
        tokens = tokenizer.encode(inputs_BT, *hints).slots_BTSD
    return tokens.float().cpu()


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
        out: the token file to make; if this very job made it before, nothing is done.
        progress: advanced by the frames of each group of episodes.
        resume: use the episodes that an interrupted run finished.
        excluded: indices of episodes that get no rows; the others keep their indices, and so their split.
        device: that encodes.

    Raises:
        UserError: ``out`` is of another job or is being made by another process, or a column is missing.
    """
    tokenizer = build_tokenizer(spec).to(device)
    check_environment(tokenizer, episodes.attributes.get("env_id"), str(episodes.path))
    if tokenizer.hint_dim and "masks" not in episodes.columns:
        raise UserError(
            f"{episodes.path}: no label images ('masks'), from which this {type(tokenizer).__name__} learns where the "
            "objects of the first frame are; collect episodes with masks"
        )
    attributes = {
        "tokenizer": spec._asdict(),
        "tokenizer_fingerprint": fingerprint(tokenizer),
        "episodes_fingerprint": episodes.fingerprint,
        "episodes_path": str(episodes.path),
        "num_slots": tokenizer.num_slots,
        "token_dim": tokenizer.slot_dim,
        "excluded_episodes": list(excluded),
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
                    write_part(writer.part(index), episode)
            for index in group:
                writer.append_part(index)
            progress.advance(int(episodes.lengths[group].sum()), new)
    return EpisodeFile(out)


def in_parallel(
    tokenizer: Tokenizer, encode: Callable[[_Batch], _Encoded], batches: Iterable[_Batch]
) -> Iterator[_Encoded]:
    """``map(encode, batches)``, in order, with as many batches at a time as PyTorch has threads.

    Slots take many small operations, so that a thread for each batch is nearly twice as fast as both of two cores for
    the same one. On an accelerator batches come one after the other.

    Args:
        tokenizer: that encodes.
        encode: a batch.
        batches: read in the calling thread, a few ahead.
    """
    available = torch.get_num_threads()
    threads = min(available, _MOST_THREADS) if device_of(tokenizer).type == "cpu" else 1
    pending: deque[Future[_Encoded]] = deque()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for batch in batches:
                pending.append(pool.submit(encode, batch))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        torch.set_num_threads(available)


def _read(episodes: Episodes, group: list[int], tokenizer: Tokenizer) -> list[Episode]:
    carried = {name for name in _CARRIED_COLUMNS if name in episodes.columns}
    encoded = {tokenizer.column, "masks"} if tokenizer.hint_dim else {tokenizer.column}
    return [episodes.episode(index, encoded | carried) for index in group]


def _token_episodes(tokenizer: Tokenizer, rows: list[Episode]) -> list[Episode]:
    # what pads the shorter episodes is cut off again, and changes nothing before it: a tokenizer is causal
    inputs_BT, hints_BSH = _padded(rows, tokenizer.column), None
    if tokenizer.hint_dim:
        first_BYX = _padded(rows, "masks")[:, 0]
        hints_BSH = hints_from_labels(first_BYX, tokenizer.num_slots, tokenizer.hint_dim)
    tokens = encode_clips(tokenizer, inputs_BT, hints_BSH).to(torch.float16).numpy()
    return [
        {**{name: row[name] for name in _CARRIED_COLUMNS if name in row}, "tokens": clip[: len(row[tokenizer.column])]}
        for row, clip in zip(rows, tokens, strict=True)
    ]


def _padded(rows: list[Episode], column: str) -> torch.Tensor:
    """A column of episodes as (B, T, ...), T that of the longest, with zeros behind the shorter ones."""
    parts = [row[column] for row in rows]
    longest = max(1, *map(len, parts))
    padded_BT = np.zeros((len(parts), longest, *parts[0].shape[1:]), parts[0].dtype)
    for clip, part in zip(padded_BT, parts, strict=True):
        clip[: len(part)] = part
    return torch.from_numpy(padded_BT)


def device_of(tokenizer: Tokenizer) -> torch.device:
    """Where its weights are."""
    return next(chain(tokenizer.parameters(), tokenizer.buffers())).device


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
