"""Times that can be compared: contenders take turns, so that what else the machine does hits all of them alike."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cjepa.evaluation.intervals import bootstrap
from cjepa.progress import Progress

Row = dict[str, Any]


def take_turns(contenders: dict[str, Callable[[int], float]], rounds: int, progress: Progress) -> dict[str, np.ndarray]:
    """Run every contender once a round, each round beginning with another one.

    Args:
        contenders: name -> function that does the work of the round with this number and returns its seconds.
        rounds: how many.
        progress: advanced by 1 after every turn.

    Returns:
        Seconds (rounds,) of each contender.
    """
    names = list(contenders)
    seconds = {name: np.zeros(rounds) for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds[name][number] = contenders[name](number)
            progress.advance(1)
    return seconds


def rows_against(reference: str, seconds: dict[str, np.ndarray], samples: int, unit: str) -> list[Row]:
    """One row a contender: mean seconds a round, and how many times faster than the reference it is.

    Args:
        reference: name of the contender that the others are compared with.
        seconds: of each round, from :func:`take_turns`.
        samples: how many of ``unit`` one round goes through.
        unit: what a sample is.

    Returns:
        ``{name, reference, seconds, samples_per_s, unit, ratio, low, high, n}``; ratio = seconds of the reference /
        seconds of this, low and high its 95 % bootstrap interval over the n rounds.
    """
    rows = []
    for name, own in seconds.items():
        ratio = bootstrap(seconds[reference], own)
        low, high = ratio.bounds
        rows.append(
            {
                "name": name,
                "reference": reference,
                "seconds": float(own.mean()),
                "samples_per_s": samples / float(own.mean()),
                "unit": unit,
                "ratio": ratio.value,
                "low": low,
                "high": high,
                "n": ratio.n,
            }
        )
    return rows


def seconds_now(device: torch.device) -> float:
    """A clock to take differences of, read when a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def working_memory_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Most memory that work takes beyond what is held before it, in MiB; None where Linux does not say.

    Args:
        work: to do.
        device: a GPU for tensors that are there, else what counts is the process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not held any more
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _status_mb("VmRSS")
        work()
        return round(_status_mb("VmHWM") - before, 1)
    except (OSError, AttributeError):
        return None


def _status_mb(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def bench_table(rows: list[Row]) -> list[list[str]]:
    """Rows as text, header first; with the peak memory where it was taken."""
    header = ["name", f"{rows[0]['unit']}/s", f"x {rows[0]['reference']} [95 %]", "rounds"]
    body = [
        [
            row["name"],
            number_text(row["samples_per_s"]),
            interval_text(row["ratio"], row["low"], row["high"], "{:.2f}".format),
            str(row["n"]),
        ]
        for row in rows
    ]
    table = [header, *body]
    if "peak_memory_mb" in rows[0]:
        table = [[*cells, end] for cells, end in zip(table, ["peak MB", *map(_memory, rows)], strict=True)]
    return table


def interval_text(value: float, low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    """A value with its interval, if there is one."""
    return form(value) if low is None else f"{form(value)} [{form(low)}, {form(high)}]"


def number_text(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _memory(row: Row) -> str:
    return f"{row['peak_memory_mb']:,.0f}"
