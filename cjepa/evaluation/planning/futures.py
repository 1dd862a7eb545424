"""Candidate plans and what the simulator makes of them: the truth that a world model's ranking is judged by."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episodes
from cjepa.data.workers import default_workers, parallel_map
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.planning.pairs import Pair
from cjepa.evaluation.planning.plant import observe
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.perception import Observation, clip_of
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import encode_clips, in_parallel

_CLIPS_A_BATCH = 128
_FEWEST_FOR_WORKERS = 500  # plans: starting a process takes seconds

MakeEnv = Callable[[], ObjectEnv]
"""A fresh simulator; can be pickled."""


class Outcomes(NamedTuple):
    """Where N plans of each of P pairs end."""

    ends: Observation
    """P x N rows, the N of a pair together."""
    error_PN: np.ndarray
    """Task error in tolerances: the largest term of the environment's ``state_error``, below 1 at success."""


def recorded_actions(file: Episodes, pairs: Sequence[Pair], blocks: ActionBlocks, horizon_blocks: int) -> Tensor:
    """The actions that led from start to goal in the episodes, float32 ``(P, H, A)``."""
    env_steps = horizon_blocks * blocks.frame_stride
    rows = [file.read("action", pair.start_row, pair.start_row + env_steps) for pair in pairs]
    return torch.from_numpy(np.stack(rows)).float().reshape(len(pairs), horizon_blocks, -1)


def draw_candidates(
    recorded_PHA: Tensor, low_A: Tensor, high_A: Tensor, count: int, std: float, generator: torch.Generator
) -> Tensor:
    """Plans good and bad, ``(P, N, H, A)`` within the bounds.

    The first is what was recorded, which reaches the goal. It and what was recorded plus noise make up half of them;
    the standard deviation of the noise grows evenly up to ``std``. The other half are drawn as in the first iteration
    of a planner: around the middle of the bounds, with ``std``.

    Args:
        recorded_PHA: actions that lead to the goal.
        low_A: bounds of a block's actions.
        high_A: likewise.
        count: N, 2 or more.
        std: in half ranges of the actions.
        generator: of the noise, on the CPU.
    """
    around = count // 2
    noise_PNHA = torch.randn(len(recorded_PHA), count, *recorded_PHA.shape[1:], generator=generator)
    std_N = torch.cat([torch.linspace(0, std, around), torch.full((count - around,), std)])
    centre_PNHA = ((low_A + high_A) / 2).expand_as(noise_PNHA).clone()
    centre_PNHA[:, :around] = recorded_PHA[:, None]
    half_range_A = (high_A - low_A) / 2
    return (centre_PNHA + std_N[:, None, None] * half_range_A * noise_PNHA).clamp(low_A, high_A)


def look_at(env: ObjectEnv, states: Sequence[np.ndarray]) -> Observation:
    """What can be seen of one simulator in each of several states."""
    seen = []
    for state in states:
        env.set_state(state)
        seen.append(observe([env]))
    return _joined(seen)


def simulate(
    make_env: MakeEnv,
    pairs: Sequence[Pair],
    actions_PNHA: Tensor,
    blocks: ActionBlocks,
    progress: Progress,
) -> Outcomes:
    """Execute N plans from the start of each pair, on all cores where that is worth their start.

    Args:
        make_env: of the episodes' environment.
        pairs: P starts and goals.
        actions_PNHA: on the CPU.
        blocks: of the actions.
        progress: advanced by 1 for each pair.
    """
    steps = [blocks.to_env_steps(actions_NHA) for actions_NHA in actions_PNHA]
    tasks = [(make_env, pair, steps_NTA) for pair, steps_NTA in zip(pairs, steps, strict=True)]
    ends, errors = [], []
    workers = default_workers() if actions_PNHA.shape[:2].numel() >= _FEWEST_FOR_WORKERS else 1
    with parallel_map(_simulate_pair, tasks, workers) as finished:
        for seen, error_N in finished:
            ends.append(seen)
            errors.append(error_N)
            progress.advance(1)
    return Outcomes(_joined(ends), np.stack(errors))


def future_tokens(tokenizer: Tokenizer, starts: Observation, ends: Observation) -> Tensor:
    """Tokens of the ends by the slots of the starts, as a planner sees a goal: float32 ``(P, N, S, D)`` on the CPU.

    Args:
        tokenizer: in eval mode.
        starts: P rows.
        ends: P x N rows, the N of a start together.
    """
    pairs, rows = len(starts.pixels_BYXC), len(ends.pixels_BYXC)
    start_R = np.repeat(np.arange(pairs), rows // pairs)

    def encode(part: slice) -> Tensor:
        before = Observation(*(values[start_R[part]] for values in starts.shown))
        after = Observation(*(values[part] for values in ends.shown))
        return encode_clips(tokenizer, clip_of(before, after))[:, 1]

    parts = (slice(first, first + _CLIPS_A_BATCH) for first in range(0, rows, _CLIPS_A_BATCH))
    return torch.cat(list(in_parallel(tokenizer, encode, parts))).unflatten(0, (pairs, -1))


def _simulate_pair(task: tuple[MakeEnv, Pair, np.ndarray]) -> tuple[Observation, np.ndarray]:
    make_env, pair, steps_NTA = task
    env = make_env()
    seen = []
    for steps_TA in steps_NTA:
        env.set_state(pair.start_state)
        for action in steps_TA:
            env.advance(action)
        seen.append(observe([env]))
    ends = _joined(seen)
    return ends, env.state_error(ends.state_BF, pair.goal_state).max(axis=-1)


def _joined(seen: Sequence[Observation]) -> Observation:
    return Observation(*(np.concatenate(values) for values in zip(*(one.shown for one in seen), strict=True)))
