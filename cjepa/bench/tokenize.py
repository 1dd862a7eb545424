"""`cjepa bench tokenize`: frames per second and peak memory of every tokenizer, untrained, on the same frames.

What reading and writing add is in a row of its own, of `cjepa tokenize` as a whole.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cjepa.bench.timing import Row, bench_table, rows_against, take_turns
from cjepa.command_result import CommandResult
from cjepa.data.collect import Collection, collect
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.workers import default_workers, end_with_parent
from cjepa.devices import chosen_device
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError
from cjepa.files import json_text
from cjepa.progress import NoProgress, ProgressBar
from cjepa.reporting.records import peak_memory_mb
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.baselines.global_token import GlobalTokenizer
from cjepa.tokenizers.baselines.initialisers import GaussianSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.queries import QueryTokenizer
from cjepa.tokenizers.baselines.savi import SAVi
from cjepa.tokenizers.baselines.videosaur import VideoSAUR
from cjepa.tokenizers.encode import clips_of, encode_clips, in_parallel, read_columns
from cjepa.tokenizers.episode_batches import frames_at_once, row_bytes
from cjepa.tokenizers.features import ConvFeatures
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.starts import LearnedStart, SeededStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.tokenizers.specs import tokenizer_spec
from cjepa.tokenizers.token_files import tokenize
from cjepa.types import VideoBatch

_WIDTH = 32
CONTENDERS: dict[str, Callable[[], Tokenizer]] = {
    "slots-2": lambda: SlotTokenizer(LearnedStart(2, _WIDTH), sprite_side=24),
    "slots-6-seeded": lambda: SlotTokenizer(SeededStart(6, _WIDTH)),
    "queries-2": lambda: QueryTokenizer(LearnedStart(2, _WIDTH)),
    "savi-6": lambda: SAVi(GaussianSlots(6, 64)),
    "videosaur-6-conv": lambda: VideoSAUR(ConvFeatures(), GaussianSlots(6, 128)),
    "global": GlobalTokenizer,
    "patch-4x4": lambda: PatchTokenizer(SlotTokenizer(LearnedStart(2, _WIDTH)), 4),
    "oracle": lambda: OracleTokenizer(len(PushT.body_names), PushT.attribute_names),
}
"""Name -> how to build it at its default size for 64 px; speed does not depend on what the weights are."""
FILE_TO_FILE = "slots-2-to-file"


def tokenize_command(
    against: str = "savi-6",
    clips: int = 32,
    blocks: int = 64,
    rounds: int = 5,
    device: str = "cpu",
    json: bool = False,
) -> CommandResult:
    """Frames per second and peak memory of every tokenizer, each in a separate process.

    Args:
        against: the reference, one of the tokenizers; slots-2-to-file is `cjepa tokenize zoo:pusht-slots`.
        clips: clips to encode, as many at a time as in `cjepa tokenize`: eight a thread on a CPU; a GPU is busy from
            some thousand on.
        blocks: frames per clip.
        rounds: rounds in which every tokenizer runs once.
        device: PyTorch device, cpu or cuda; the peak memory of a GPU is that of tensors.
        json: print rows for programs.
    """
    names = [*CONTENDERS, FILE_TO_FILE]
    if against not in names:
        raise UserError(f"--against {against}: expected one of {', '.join(names)}")
    used = chosen_device(device)
    with TemporaryDirectory() as scratch:
        episodes = _make_episodes(Path(scratch) / "episodes.h5", clips, blocks)
        rows = compare_tokenizers(names, against, episodes, rounds, used)
    if json:
        return CommandResult([json_text(rows)])
    return CommandResult([], bench_table(rows))


def compare_tokenizers(
    names: list[str], reference: str, episodes: EpisodeFile, rounds: int, device: torch.device
) -> list[Row]:
    """Rows of :func:`rows_against`, with the peak memory of each process (MiB; PyTorch alone takes some 300)."""
    path = episodes.path
    with ExitStack() as stack, ProgressBar("tokenizers", len(names) * (rounds + 1), "turns") as bar:
        spawn = multiprocessing.get_context("spawn")
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, spawn, end_with_parent)) for name in names}
        for name, pool in pools.items():  # the first call of a shape also pays for kernel selection
            pool.submit(_encode, name, path, device).result()
            bar.advance(1)
        turns = {
            name: lambda _, n=name, p=pool: p.submit(_encode, n, path, device).result() for name, pool in pools.items()
        }
        seconds = take_turns(turns, rounds, bar)
        memory = {name: pool.submit(_peak_memory_mb, device).result() for name, pool in pools.items()}
    rows = rows_against(reference, seconds, episodes.env_steps, "frames")
    return [{**row, "device": str(device), "peak_memory_mb": memory[row["name"]]} for row in rows]


def _peak_memory_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_memory_mb()


def _encode(name: str, path: Path, device: torch.device) -> float:
    """Seconds that the tokens of all episodes take: of rows in memory, or from file to file."""
    try:
        return _seconds(name, path, device)
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()  # for the others, which need it for batches of their own


def _seconds(name: str, path: Path, device: torch.device) -> float:
    if name == FILE_TO_FILE:
        out = path.with_name("tokens.h5")
        out.unlink(missing_ok=True)
        started = time.perf_counter()
        episodes = EpisodeFile(path)
        tokenize(tokenizer_spec("zoo:pusht-slots", episodes), episodes, out, NoProgress(), device=device)
        return time.perf_counter() - started
    tokenizer, batches = _prepared(name, path, device)
    started = time.perf_counter()
    deque(in_parallel(tokenizer, partial(encode_clips, tokenizer), batches), maxlen=0)
    return time.perf_counter() - started


@cache
def _prepared(name: str, path: Path, device: torch.device) -> tuple[Tokenizer, list[VideoBatch]]:
    """A tokenizer and batches of what it reads, once a process."""
    torch.manual_seed(0)
    tokenizer = CONTENDERS[name]().eval().to(device)
    columns, file = read_columns(tokenizer), EpisodeFile(path)
    frames = frames_at_once(device, tokenizer.peak_bytes(row_bytes(file, columns)))
    at_a_time = max(1, frames // int(file.lengths[0]))
    episodes = list(file.episodes(columns))
    batches = [episodes[first : first + at_a_time] for first in range(0, len(episodes), at_a_time)]
    stacked = [{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in columns} for rows in batches]
    return tokenizer, [clips_of(batch) for batch in stacked]


def _make_episodes(path: Path, episodes: int, env_steps: int) -> EpisodeFile:
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), episodes, env_steps, seed=0, with_masks=False)
    return collect(job, path, {"env_id": job.env_id}, default_workers(), NoProgress())
