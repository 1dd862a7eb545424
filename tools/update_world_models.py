"""Copy the study of world models into docs/results/world_models.json and write the tables of world_models.md.

python tools/update_world_models.py runs/studies/world-models
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from update_results import markdown, write_block

from cjepa.files import read_json, write_json
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.tables import seconds_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "world_models.md"
RESULTS = DOCS / "results" / "world_models.json"
TITLES = {"pusht": "Push-T", "collide": "Collide"}
SCORES = {  # heading -> metric
    "error@1": "rollout_error@1",
    "error@5": "rollout_error@5",
    "error@10": "rollout_error@10",
    "pick": "pick_error",
    "true / predicted cost": "plan_cost_ratio",
    "success": "plan_success",
}


def measured(study: Path) -> list[dict]:
    """One row for every model and seed that is finished: what it took to train, and its card."""
    rows = []
    for card in sorted(study.glob(f"*-card-*/{TEST_RESULTS}")):
        environment, _, rest = card.parent.name.partition("-card-")
        model, _, seed = rest.rpartition("-")
        if not seed.isdigit():  # set aside by a later run of the study
            continue
        record = read_json(study / f"{environment}-{rest}" / "run.json")
        scores = read_json(card)
        rows.append(
            {
                "environment": environment,
                "model": model,
                "seed": int(seed),
                "parameters": record["model"]["parameters"],
                "steps": record["model"]["optimizer_steps"],
                "seconds": record["seconds"],
                "commit": record["git"]["commit"] + ("-dirty" if record["git"]["dirty"] else ""),
                "scores": {row["metric"]: {key: row[key] for key in ("value", "low", "high", "n")} for row in scores},
            }
        )
    return rows


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    parts = []
    for environment, title in TITLES.items():
        rows = [row for row in result["rows"] if row["environment"] == environment]
        shown = {name: key for name, key in SCORES.items() if any(key in row["scores"] for row in rows)}
        table = [["model", "seeds", *shown, "parameters", "trained in"]]
        for model in dict.fromkeys(row["model"] for row in rows):
            table.append(_cells([row for row in rows if row["model"] == model], shown.values()))
        parts += [f"{title}:", markdown(table)] if rows else []
    return "\n\n".join([*parts, f"`{result['command']}`, on {result['machine']}."])


def _cells(seeds: list[dict], metrics: Iterable[str]) -> list[str]:
    return [
        seeds[0]["model"],
        str(len(seeds)),
        *(_mean([row["scores"].get(metric) for row in seeds]) for metric in metrics),
        f"{seeds[0]['parameters']:,}",
        seconds_text(mean(row["seconds"] for row in seeds)),
    ]


def _mean(scores: list[dict | None]) -> str:
    """The mean over seeds, and that of the ends of their intervals: seeds share the episodes, so n does not grow."""
    if any(score is None or score["value"] is None for score in scores):
        return "–"
    value, low, high = (mean(score[key] for score in scores) for key in ("value", "low", "high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--machine", default="one CPU core for each model, no GPU")
    args = parser.parse_args()
    command = "cjepa study experiments/studies/world_models.yaml"
    result = {"command": command, "machine": args.machine, "rows": measured(args.study)}
    write_json(RESULTS, result)
    write_block(PAGE, "world-models", page_block(result))


if __name__ == "__main__":
    main()
