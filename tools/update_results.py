"""Copy results into docs/results/ and write their tables into the pages that show them.

python tools/update_results.py runs/studies/quickstart     a study: the README and two pictures
python tools/update_results.py runs/best                   a world model and its plan/: docs/push-t.md
python tools/update_results.py loader.json                 printed by `cjepa bench loader --json`: docs/benchmarks.md
python tools/update_results.py tokenize.json               printed by `cjepa bench tokenize --json`: docs/benchmarks.md
python tools/update_results.py planner.json                printed by `cjepa bench planner --json`: docs/benchmarks.md
python tools/update_results.py train.json                  printed by `cjepa bench train --json`: docs/benchmarks.md
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from cjepa.bench.planner import planner_table
from cjepa.bench.timing import bench_table
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.reporting.comparison import to_markdown
from cjepa.reporting.figures import success_by_tokens
from cjepa.reporting.stages import elapsed_seconds, stages_table
from cjepa.reporting.tables import results_table, seconds_text
from cjepa.reporting.videos import write_png

DOCS = Path(__file__).parents[1] / "docs"
README, BENCHMARKS, PUSH_T = DOCS.parent / "README.md", DOCS / "benchmarks.md", DOCS / "push-t.md"
PLANNER = "cjepa bench planner"


def markdown(table: list[list[str]]) -> str:
    """A table, header first, as Markdown."""
    return to_markdown(table).removesuffix("\n")


def readme_block(result: dict) -> str:
    """What stands between the markers of the README, from a file of docs/results/."""
    stages = result["stages"]
    shown = ("name", "seconds", "beside")
    table = stages_table([{k: s[k] for k in shown if k in s} | {"command": f"`cjepa {s['command']}`"} for s in stages])
    where = f"{result['machine']}, version {result['version']}"
    total, memory = seconds_text(elapsed_seconds(stages)), max(stage["peak_memory_mb"] for stage in stages)
    return "\n\n".join(
        [
            markdown(results_table(result["rows"])),
            f"{total} in all on {where}, at most {memory:,} MB of memory per stage:",
            markdown(table),
        ]
    )


def bench_block(result: dict) -> str:
    """What stands between the markers of docs/benchmarks.md, from a file of docs/results/."""
    versions = ", ".join(f"{name} {version}" for name, version in result["rows"][0].get("versions", {}).items())
    where = f"`{result['command']}` on {result['machine']}" + (f", with {versions}." if versions else ".")
    table = planner_table if result["command"] == PLANNER else bench_table
    return f"{markdown(table(result['rows']))}\n\n{where}"


def run_block(result: dict) -> str:
    """What stands between the markers of docs/push-t.md, from a file of docs/results/."""
    taken = f"Trained in {seconds_text(result['training_seconds'])}, {result['parameters']:,} parameters"
    return (
        f"{markdown(results_table(result['rows']))}\n\n{taken}, at commit {result['commit'][:7]}. {result['machine']}."
    )


def block_of(page: Path, name: str) -> str:
    """What stands between the markers ``NAME:begin`` and ``NAME:end`` of a page."""
    return _around(page, name)[1].strip()


def rows_so_far(path: Path) -> list[dict]:
    """Rows of a file of results; none if nothing is measured yet."""
    try:
        return read_json(path)
    except UserError:
        return []


def write_block(page: Path, name: str, text: str) -> None:
    """Put ``text`` there."""
    before, _, after = _around(page, name)
    page.write_text(f"{before}\n{text}\n{after}")


def merged(before: list[dict], found: list[dict], key: Sequence[str]) -> list[dict]:
    """Rows with those that were found in place of older ones whose values of ``key`` are the same.

    So a part of a study, run again or on another machine, adds to what is known.
    """
    rows = {tuple(row.get(name) for name in key): row for row in [*before, *found]}
    return list(rows.values())


def results_so_far(path: Path, machine: str) -> dict:
    """A file of docs/results/: its ``machine`` and ``rows``; ``machine`` and no rows if there is none yet."""
    return read_json(path) if path.exists() else {"machine": machine, "rows": []}


def update_page(
    about: str,
    page: Path,
    study: str,
    machine: str,
    measured: Callable[[Path], list[dict]],
    block: Callable[[dict], str],
    key: Sequence[str],
    part: str | None = None,
) -> dict:
    """The command line of a tool that copies one study into docs/results/ and writes the table of its page.

    Rows that the folder of the study does not have stay as they are.

    Args:
        about: the tool's docstring.
        page: of docs/, whose markers and results file are named after it.
        study: its YAML in experiments/studies/, without the ending.
        machine: where it is measured if neither the command nor the results file says.
        measured: the rows of a study's folder.
        block: what stands between the markers.
        key: what tells rows apart.
        part: names markers and a key of the results file, for a study that the page is not mainly about.

    Returns:
        What the results file holds now of the study.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--machine")
    args = parser.parse_args()
    path = DOCS / "results" / f"{page.stem}.json"
    whole = results_so_far(path, machine)
    before = whole if part is None else whole.get(part, {"machine": machine, "rows": []})
    result = {
        "command": f"cjepa study experiments/studies/{study}.yaml",
        "machine": args.machine or before["machine"],
        "rows": merged(before["rows"], measured(args.study), key),
    }
    write_json(path, whole | (result if part is None else {part: result}))
    write_block(page, part or page.stem.replace("_", "-"), block(result))
    return result


def _around(page: Path, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.read_text().split(begin)
    block, after = rest.split(end)
    return before + begin, block, end + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="folder of a study, or a file of rows named after the benchmark")
    parser.add_argument("--machine", default="2 CPU cores, no GPU")
    args = parser.parse_args()
    if (args.result / "study.json").is_file():
        update_study(args.result, args.machine)
    elif args.result.is_dir():
        update_run(args.result, args.machine)
    else:
        update_benchmark(args.result, args.machine)


def update_benchmark(path: Path, machine: str) -> None:
    """Rows of `cjepa bench NAME --json` in NAME.json, into docs/benchmarks.md."""
    name, rows = path.stem, read_json(path)
    command = PLANNER if name == "planner" else f"cjepa bench {name} --against {rows[0]['reference']}"
    result = {"command": command, "machine": machine, "rows": rows}
    write_json(DOCS / "results" / f"{name}.json", result)
    write_block(BENCHMARKS, name, bench_block(result))


def update_run(folder: Path, machine: str) -> None:
    """A trained world model and what came of planning with it, into docs/push-t.md."""
    record = read_json(folder / "run.json")
    result = {
        "machine": machine,
        "commit": record["git"]["commit"],
        "training_seconds": record["seconds"],
        "parameters": record["model"]["parameters"],
        "rows": read_json(folder / "results.json") + read_json(folder / "plan" / "results.json"),
    }
    write_json(DOCS / "results" / f"{folder.name}.json", result)
    write_block(PUSH_T, folder.name, run_block(result))


def update_study(folder: Path, machine: str) -> None:
    """A finished study, into the README."""
    study = read_json(folder / "study.json")
    stages = [{k: v for k, v in stage.items() if k not in ("key", "cached", "folder")} for stage in study["stages"]]
    result = {
        "command": f"cjepa study experiments/studies/{study['name']}.yaml",
        "machine": machine,
        "version": read_json(next(folder.glob("*/run.json")))["versions"]["cjepa"],
        "stages": stages,
        "rows": read_json(folder / "results.json"),
    }
    write_json(DOCS / "results" / f"{study['name']}.json", result)
    write_block(README, "results", readme_block(result))
    write_png(DOCS / "images" / f"{study['name']}.png", picture(folder / "plan-cjepa-1" / "media"))
    success_by_tokens(result["rows"]).savefig(DOCS / "images" / "budgets.png", dpi=100, facecolor="white")


def picture(media: Path) -> np.ndarray:
    """Two trials as film strips, successes first: frames of the planning videos, spread over time."""
    videos = sorted(media.glob("*-success.mp4")) + sorted(media.glob("*-failure.mp4"))
    strips = []
    for path in videos[:2]:
        frames = iio.imread(path, plugin="FFMPEG")
        strips.append(np.concatenate([frames[i] for i in np.linspace(0, len(frames) - 1, 3).astype(int)], axis=1))
    return np.concatenate(strips, axis=0)


if __name__ == "__main__":
    main()
