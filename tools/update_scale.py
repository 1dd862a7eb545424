"""Copy the costs of the study of scale into docs/results/ and compute the tables of its page from them.

    python tools/update_scale.py runs/studies/scale --machine "1 CPU core of ..."
    python tools/update_scale.py     computes the tables again

Core seconds of a command = start + per unit of work x units + per episode x episodes, all at least 0, fitted to its
stages of at most 2,000 episodes; larger ones are left for the check. Of a command with fewer stages than terms, all
seconds go to its work, or to its episodes if these are its work.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls
from update_results import DOCS, markdown, write_block

from cjepa.files import read_json, write_json
from cjepa.reporting.tables import seconds_text
from cjepa.studies.definition import Stage, load_study

PAGE, RESULTS = DOCS / "results" / "scale.md", DOCS / "results" / "scale.json"
STUDY = DOCS.parent / "experiments" / "studies" / "scale.yaml"
WORK = {"fit": ("trainer.max_steps", "steps"), "plan": ("pairs", "pairs")}
"""What the work of a command is counted in, beside episodes."""
LARGEST_FITTED = 2000
A_RUN = {"fit": 3000, "plan": 100}
"""Steps and pairs of one run: those of experiments/pusht/cjepa.yaml and plan.yaml."""
SCENARIOS = ((2000, 10), (100_000, 100), (1_000_000, 1000))
"""Episodes and runs."""
CORES, MEMORY_GB = 16, 64
"""Of a machine of the prediction."""
FLEETS = (1, 10, 100)
ONCE, RUNS = ("collect", "tokenize"), ("fit", "plan")
_MB_PER_GB = 1024


class Cost(NamedTuple):
    """What a command takes: core seconds = start + work x units + episode x episodes, and so with memory."""

    start: float
    work: float
    episode: float
    memory_mb: float
    memory_mb_an_episode: float

    def seconds(self, work: float, episodes: float) -> float:
        """Core seconds."""
        return self.start + self.work * work + self.episode * episodes

    def memory_gb(self, episodes: float) -> float:
        """Of the largest process."""
        return (self.memory_mb + self.memory_mb_an_episode * episodes) / _MB_PER_GB


def measured(folder: Path) -> list[dict[str, Any]]:
    """One row a stage of the study: command, episodes, work in its units, seconds, cores, memory and bytes made."""
    stages = {stage.name: stage for stage in load_study(STUDY).stages}
    return [
        {
            "stage": record["name"],
            "command": record["command"],
            "episodes": episodes_of(stages[record["name"]], stages),
            "work": work_of(stages[record["name"]]),
            "seconds": record["seconds"],
            "cores": record["cores"],
            "peak_memory_mb": record["peak_memory_mb"],
            "bytes": sum(path.stat().st_size for path in (folder / record["name"]).rglob("*") if path.is_file()),
        }
        for record in read_json(folder / "study.json")["stages"]
    ]


def episodes_of(stage: Stage, stages: dict[str, Stage]) -> int:
    """That a stage records, or reads through the stages before it."""
    if stage.command == "collect":
        return stage.args["episodes"]
    return episodes_of(stages[stage.depends_on()[0]], stages)


def work_of(stage: Stage) -> int:
    """Steps or pairs; 0 of commands whose work are the episodes."""
    return stage.args[WORK[stage.command][0]] if stage.command in WORK else 0


def cost_of(command: str, rows: Sequence[dict[str, Any]]) -> Cost:
    """Fitted to all stages of a command that are not left for the check."""
    used = [row for row in rows if row["command"] == command and row["episodes"] <= LARGEST_FITTED]
    terms = {
        "work": [row["work"] for row in used],
        "start": [1] * len(used),
        "episode": [row["episodes"] for row in used],
    }
    names = ["work", "start", "episode"] if command in WORK else ["episode", "start"]
    core_seconds = fitted(names, terms, [row["seconds"] * row["cores"] for row in used])
    sizes = {name: terms[name] for name in ("start", "episode")}
    memory = fitted(["start", "episode"], sizes, [row["peak_memory_mb"] for row in used])
    return Cost(**core_seconds, memory_mb=memory["start"], memory_mb_an_episode=memory["episode"])


def fitted(names: Sequence[str], terms: dict[str, list[float]], values: Sequence[float]) -> dict[str, float]:
    """Coefficients of at least 0 of the first terms, as many as there are different rows; 0 of the others."""
    names = names[: len({tuple(terms[name][row] for name in terms) for row in range(len(values))})]
    found, _ = nnls(np.array([terms[name] for name in names], float).T, np.array(values, float))
    return dict.fromkeys(terms, 0.0) | dict(zip(names, map(float, found), strict=True))


def measured_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Every stage, with what its command's fitted cost says of it."""
    costs = {row["command"]: cost_of(row["command"], rows) for row in rows}
    table = [["command", "episodes", "work", "core time", "predicted", "memory", "bytes an episode"]]
    for row in sorted(rows, key=lambda row: (row["command"], row["episodes"], row["work"])):
        predicted = costs[row["command"]].seconds(row["work"], row["episodes"])
        core_seconds, checked = row["seconds"] * row["cores"], row["episodes"] > LARGEST_FITTED
        table.append(
            [
                f"`cjepa {row['command']}`",
                f"{row['episodes']:,}",
                f"{row['work']} {WORK[row['command']][1]}" if row["work"] else "",
                seconds_text(core_seconds),
                seconds_text(predicted) + (f" ({core_seconds / predicted - 1:+.0%})" if checked else ""),
                f"{row['peak_memory_mb']:,} MB",
                f"{row['bytes'] / row['episodes']:,.0f}" if row["command"] in ONCE else "",
            ]
        )
    return table


def cost_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The fitted costs; empty where the stages do not tell."""
    table = [["command", "start", "a unit of work", "an episode", "memory", "memory an episode"]]
    for command in dict.fromkeys(row["command"] for row in rows):
        cost = cost_of(command, rows)
        unit = f"{seconds_text(cost.work)} a {WORK[command][1].removesuffix('s')}" if command in WORK else ""
        seconds = [seconds_text(value) if value else "" for value in (cost.start, cost.episode)]
        more = f"{cost.memory_mb_an_episode * 1024:.1f} KB" if cost.memory_mb_an_episode else ""
        table.append([f"`cjepa {command}`", seconds[0], unit, seconds[1], f"{cost.memory_mb:,.0f} MB", more])
    return table


def prediction_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Core hours, memory, disk, and days on several machines, of every scenario."""
    head = ["episodes", "runs", *(f"{command}, core hours" for command in (*ONCE, *RUNS)), "memory a fit", "disk"]
    table = [[*head, *(f"{machines} machine{'s' if machines > 1 else ''}" for machines in FLEETS)]]
    bytes_an_episode = sum(row["bytes"] / row["episodes"] for row in rows if is_data_of_most(row))
    for episodes, runs in SCENARIOS:
        costs = {command: cost_of(command, rows) for command in (*ONCE, *RUNS)}
        hours = {command: costs[command].seconds(0, episodes) / 3600 for command in ONCE}
        hours |= {command: runs * costs[command].seconds(A_RUN[command], episodes) / 3600 for command in RUNS}
        days = [sum(elapsed(hours[c], costs[c].memory_gb(episodes), c, runs, n) for c in hours) / 24 for n in FLEETS]
        table.append(
            [
                f"{episodes:,}",
                f"{runs:,}",
                *(f"{value:,.1f}" for value in hours.values()),
                f"{costs['fit'].memory_gb(episodes):.1f} GB",
                f"{bytes_an_episode * episodes / 2**30:,.1f} GB",
                *(seconds_text(86400 * value) if value < 1 else f"{value:.1f} days" for value in days),
            ]
        )
    return table


def equal_runs(rows: Sequence[dict[str, Any]], episodes: int) -> float:
    """Runs that take as many core hours as recording and tokenizing their episodes."""
    costs = {command: cost_of(command, rows) for command in (*ONCE, *RUNS)}
    data = sum(costs[command].seconds(0, episodes) for command in ONCE)
    return data / sum(costs[command].seconds(A_RUN[command], episodes) for command in RUNS)


def is_data_of_most(row: dict[str, Any]) -> bool:
    """Whether a stage makes the data of the largest size that all commands ran on."""
    return row["command"] in ONCE and row["episodes"] == LARGEST_FITTED


def elapsed(core_hours: float, memory_gb: float, command: str, runs: int, machines: int) -> float:
    """Hours of a command on several machines, one core a process, as many processes as cores and memory allow.

    Raises:
        ValueError: not one process has room.
    """
    side_by_side = machines * min(CORES, int(MEMORY_GB / memory_gb))
    if not side_by_side:
        raise ValueError(f"{command} needs {memory_gb:.0f} GB, a machine has {MEMORY_GB} GB")
    if command in ONCE:  # one shard a process
        return core_hours / side_by_side
    rounds = -(-runs // side_by_side)
    return core_hours / runs * rounds


def page_block(result: dict[str, Any]) -> str:
    """What stands between the markers of the page."""
    rows = result["rows"]
    most = SCENARIOS[-1][0]
    checked = any(row["episodes"] > LARGEST_FITTED for row in rows)
    sizes = sorted({f"{row['episodes']:,}" for row in rows if row["episodes"] <= LARGEST_FITTED})
    brackets = " In brackets, by how much it differs from a prediction that was not fitted to it." if checked else ""
    return "\n\n".join(
        [
            f"Measured by `{result['command']}` on {result['machine']}; time is cores x seconds.{brackets}",
            markdown(measured_table(rows)),
            f"Fitted to the stages of {' and '.join(sizes)} episodes:",
            markdown(cost_table(rows)),
            f"Computed from that, for machines of {CORES} cores and {MEMORY_GB} GB, and for runs of "
            f"{A_RUN['fit']:,} steps and {A_RUN['plan']} pairs:",
            markdown(prediction_table(rows)),
            f"{equal_runs(rows, most):,.0f} runs take as many core hours as the data of {most:,} episodes. "
            "With fewer, data are the bottleneck; with more, training, and then planning. Machines beyond a core for "
            "each run do not help: the longest run decides.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("--machine", default="1 CPU core, no GPU")
    args = parser.parse_args()
    if args.study is not None:
        command = "cjepa study experiments/studies/scale.yaml"
        write_json(RESULTS, {"command": command, "machine": args.machine, "rows": measured(args.study)})
    write_block(PAGE, "scale", page_block(read_json(RESULTS)))


if __name__ == "__main__":
    main()
