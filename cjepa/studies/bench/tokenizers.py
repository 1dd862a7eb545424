"""`cjepa bench tokenize`: frames a second and peak memory of every tokenizer, untrained, on the same frames."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from cjepa.data.recording import run_episode
from cjepa.data.workers import end_with_parent
from cjepa.envs.collide import Collide
from cjepa.envs.policies import StillPolicy
from cjepa.errors import UserError
from cjepa.reporting.progress import ProgressBar
from cjepa.reporting.records import json_text, peak_memory_mb
from cjepa.studies.bench.timing import Row, bench_table, rows_against, take_turns
from cjepa.studies.done import Done
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.cache import encode_clips, in_parallel
from cjepa.tokenizers.features import ConvFeatures
from cjepa.tokenizers.global_token import GlobalTokenizer
from cjepa.tokenizers.initialisers import GaussianSlots
from cjepa.tokenizers.patches import PatchTokenizer
from cjepa.tokenizers.queries import QueryTokenizer
from cjepa.tokenizers.savi import SAVi
from cjepa.tokenizers.slots import SlotTokenizer
from cjepa.tokenizers.starts import LearnedStart, SeededStart
from cjepa.tokenizers.videosaur import VideoSAUR

_WIDTH = 32
_CLIPS_AT_A_TIME = 4
CONTENDERS: dict[str, Callable[[], Tokenizer]] = {
    "slots-2": lambda: SlotTokenizer(LearnedStart(2, _WIDTH)),
    "slots-6-seeded": lambda: SlotTokenizer(SeededStart(6, _WIDTH)),
    "queries-2": lambda: QueryTokenizer(LearnedStart(2, _WIDTH)),
    "savi-6": lambda: SAVi(GaussianSlots(6, 64)),
    "videosaur-6-conv": lambda: VideoSAUR(ConvFeatures(), GaussianSlots(6, 128)),
    "global": GlobalTokenizer,
    "patch-4x4": lambda: PatchTokenizer(SlotTokenizer(LearnedStart(2, _WIDTH)), 4),
}
"""Name -> how to build it at its default size for 64 px; speed does not depend on what the weights are."""


def tokenize_command(
    against: str = "savi-6", clips: int = 16, blocks: int = 64, rounds: int = 5, json: bool = False
) -> Done:
    """Frames a second and peak memory of every tokenizer, each in a process of its own.

    Args:
        against: the reference, one of the tokenizers.
        clips: to encode; four at a time go to each thread, as in `cjepa tokenize`.
        blocks: frames a clip.
        rounds: how often the tokenizers take turns.
        json: print rows for programs.
    """
    if against not in CONTENDERS:
        raise UserError(f"--against {against}: expected one of {', '.join(CONTENDERS)}")
    rows = compare_tokenizers(list(CONTENDERS), against, clips, blocks, rounds)
    if json:
        return Done([json_text(rows)])
    return Done([], bench_table(rows))


def compare_tokenizers(names: list[str], reference: str, clips: int, blocks: int, rounds: int) -> list[Row]:
    """Rows of :func:`rows_against`, with the peak memory of each process (MiB; PyTorch alone takes some 300)."""
    frames = _frames(clips, blocks)
    with ExitStack() as stack, ProgressBar("tokenizers", len(names) * (rounds + 1), "turns") as bar:
        spawn = multiprocessing.get_context("spawn")
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, spawn, end_with_parent)) for name in names}
        for name, pool in pools.items():  # the first call of a shape also pays for kernel selection
            pool.submit(_encode, name, frames).result()
            bar.advance(1)
        turns = {name: lambda _, n=name, p=pool: p.submit(_encode, n, frames).result() for name, pool in pools.items()}
        seconds = take_turns(turns, rounds, lambda: bar.advance(1))
        memory = {name: pool.submit(peak_memory_mb).result() for name, pool in pools.items()}
    rows = rows_against(reference, seconds, clips * blocks, "frames")
    return [{**row, "peak_memory_mb": memory[row["name"]]} for row in rows]


_BUILT: dict[str, Tokenizer] = {}


def _encode(name: str, frames_BTYXC: np.ndarray) -> float:
    if name not in _BUILT:
        torch.manual_seed(0)
        _BUILT[name] = CONTENDERS[name]().eval()
    started = time.perf_counter()
    tokenizer = _BUILT[name]
    batches = torch.from_numpy(frames_BTYXC).split(_CLIPS_AT_A_TIME)
    deque(in_parallel(tokenizer, partial(encode_clips, tokenizer), batches), maxlen=0)
    return time.perf_counter() - started


def _frames(clips: int, blocks: int) -> np.ndarray:
    """Collide frames, uint8 (clips, blocks, 64, 64, 3)."""
    env, policy = Collide(), StillPolicy()
    return np.stack([run_episode(env, policy, seed, blocks, False)["pixels"] for seed in range(clips)])
