"""`cjepa bench planner`: seconds per plan of the published search and of ours, with the same random weights.

Contenders run a part of their search; a plan's time is that part's, times how much longer the whole search is.
"""

from collections.abc import Callable
from functools import partial

from jsonargparse.typing import PositiveInt

from cjepa.bench.searches import FULL, HALF, HORIZON_BLOCKS, REFERENCE, SEED, Search, make_searches
from cjepa.bench.timing import (
    Row,
    interval_text,
    number_text,
    rows_against,
    seconds_now,
    take_turns,
    working_memory_mb,
)
from cjepa.command_result import CommandResult
from cjepa.devices import chosen_device, cpu_threads
from cjepa.errors import UserError
from cjepa.evaluation.intervals import bootstrap
from cjepa.files import json_text
from cjepa.progress import Progress, ProgressBar
from cjepa.reporting.records import installed


def planner_command(
    iterations: PositiveInt = 2,
    candidates: PositiveInt = 300,
    patch_candidates: PositiveInt = 4,
    rounds: PositiveInt = 5,
    cores: PositiveInt = 2,
    device: str = "cpu",
    environments: PositiveInt = 1,
    json: bool = False,
) -> CommandResult:
    """Seconds per plan: published search, ours with the same network, the recommended planner, and patches.

    Times of CEM are extrapolated to 300 candidates and 30 iterations, linearly; those of iCEM are of whole plans.

    Args:
        iterations: of CEM that are timed in a round.
        candidates: of CEM that are timed in an iteration.
        patch_candidates: the same for patches, which take far longer.
        rounds: rounds in which every planner searches once.
        cores: threads.
        device: PyTorch device of the networks, cpu or cuda; the memory of a GPU is that of tensors,
            and actions of searches are compared on a CPU only.
        environments: that the recommended planner plans for at once; its seconds are those of one plan among them.
        json: print rows for programs.
    """
    if min(candidates, patch_candidates) < 2:
        raise UserError(
            f"--candidates is {candidates} and --patch_candidates {patch_candidates}, expected 2 or more of both"
        )
    used = chosen_device(device)
    with cpu_threads(cores):
        searches = make_searches(iterations, candidates, patch_candidates, used, environments)
        with ProgressBar("planners", len(searches) * (rounds + 1), "turns") as bar:
            rows = compare_searches(searches, rounds, bar)
    if json:
        return CommandResult([json_text([{**row, "cores": cores} for row in rows])])
    return CommandResult([], planner_table(rows))


def compare_searches(searches: dict[str, Search], rounds: int, progress: Progress) -> list[Row]:
    """Rows of :func:`rows_against`, of whole plans, with what else the table shows."""
    first = {}
    for name, search in searches.items():
        first[name] = search.run(SEED)  # the first pass also pays for kernel selection
        progress.advance(1)
    part_seconds = take_turns({name: _turn(search) for name, search in searches.items()}, rounds, progress)
    seconds = {
        name: part_seconds[name] * search.whole / search.timed / search.environments
        for name, search in searches.items()
    }
    versions, rows = installed(("cjepa", "torch")), []
    for row in rows_against(REFERENCE, seconds, 1, "plans"):
        search, (low, high) = searches[row["name"]], bootstrap(seconds[row["name"]]).bounds
        # on a GPU, ours draws there and the published search does not: random numbers differ
        agrees = row["name"] in (FULL, HALF) and search.device.type == "cpu"
        rows.append(
            {
                **row,
                "seconds_low": low,
                "seconds_high": high,
                "calls": search.whole * HORIZON_BLOCKS * search.members,
                "gigaflops": search.gigaflops(),
                "working_memory_mb": working_memory_mb(partial(search.run, SEED), search.device),
                "device": str(search.device),
                "environments": search.environments,
                "tokens": search.tokens,
                "token_dim": search.token_dim,
                "timed": search.timed,
                "whole": search.whole,
                "difference": (first[row["name"]] - first[REFERENCE]).abs().max().item() if agrees else None,
                "versions": versions,
            }
        )
    return rows


def planner_table(rows: list[Row]) -> list[list[str]]:
    """Rows as text, header first."""
    header = ["name", "s/plan [95 %]", f"x {rows[0]['reference']} [95 %]", "predictions", "TFLOP", "MB"]
    table = [[*header, "tokens x dim", "candidates timed", "actions differ by"]]
    for row in rows:
        table.append(
            [
                row["name"],
                interval_text(row["seconds"], row["seconds_low"], row["seconds_high"], number_text),
                interval_text(row["ratio"], row["low"], row["high"], number_text),
                f"{row['calls']:,}",
                f"{row['gigaflops'] / 1000:.3g}",
                "" if row["working_memory_mb"] is None else f"{row['working_memory_mb']:,.0f}",
                f"{row['tokens']} x {row['token_dim']}",
                f"{row['timed']:,} of {row['whole']:,}",
                "" if row["difference"] is None else f"{row['difference']:.2g}",
            ]
        )
    return table


def _turn(search: Search) -> Callable[[int], float]:
    """Seconds that a search takes."""

    def turn(number: int) -> float:
        started = seconds_now(search.device)
        search.run(number)
        return seconds_now(search.device) - started

    return turn
