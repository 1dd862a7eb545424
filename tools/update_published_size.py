"""Copy what tools/one_gpu.sh measured into docs/results/ and write the table of published_size.md.

python tools/update_published_size.py FOLDER --machine "one NVIDIA H100"
"""

import argparse
from pathlib import Path

from update_results import markdown, rows_so_far, write_block
from update_world_models import ERRORS, score_of

from cjepa.files import read_json, write_json
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.tables import seconds_text, success_text, value_with_interval

PAGE = Path(__file__).parents[1] / "docs" / "results" / "published_size.md"
RESULTS = PAGE.with_suffix(".json")
ORDER = ("fast", "fast-wide", "cjepa-0", "cjepa-1", "collide")
PLANNED = ("gigaflops_per_plan", "seconds_per_plan_batched")


def measured(folder: Path) -> list[dict]:
    """One row for every model that was trained: its training, its card, its plans."""
    rows = []
    for run in (folder / "runs" / name for name in ORDER):
        if not (run / "run.json").is_file():
            continue
        record = read_json(run / "run.json")
        scores = rows_so_far(run / TEST_RESULTS) + rows_so_far(folder / "plans" / run.name / "results.json")
        rows.append(
            {
                "model": run.name,
                "parameters": record["model"]["parameters"],
                "steps": record["model"]["optimizer_steps"],
                "seconds": record["seconds"],
                "tokens": scores[0]["tokens"] if scores else None,
                "token_dim": scores[0]["token_dim"] if scores else None,
                "version": record["versions"]["cjepa"],
                "scores": {row["metric"]: score_of(row) for row in scores},
            }
        )
    return rows


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    head = ["model", "tokens x dim", "parameters", "steps", "trained in", *ERRORS, "success % [95 %]", "n"]
    table = [[*head, "GFLOP/plan", "s/plan, all pairs at once"], *(_cells(row) for row in result["rows"])]
    return f"{markdown(table)}\n\n`tools/one_gpu.sh`, on {result['machine']}."


def _cells(row: dict) -> list[str]:
    scores = row["scores"]
    success = scores.get("success")
    return [
        row["model"],
        f"{row['tokens']} x {row['token_dim']}",
        f"{row['parameters']:,}",
        f"{row['steps']:,}",
        seconds_text(row["seconds"]),
        *(value_with_interval(scores.get(metric)) for metric in ERRORS.values()),
        *((success_text(success), str(success["n"])) if success else ("–", "–")),
        *(value_with_interval(scores.get(metric)) for metric in PLANNED),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", required=True)
    args = parser.parse_args()
    result = {"machine": args.machine, "rows": measured(args.folder)}
    write_json(RESULTS, result)
    write_block(PAGE, "published-size", page_block(result))


if __name__ == "__main__":
    main()
