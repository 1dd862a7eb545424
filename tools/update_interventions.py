"""Copy the interventions of the study of world models into docs/results/ and write the table of interventions.md.

python tools/update_interventions.py runs/studies/world-models
"""

from pathlib import Path

from update_results import markdown, update_page
from update_world_models import mean_text, score_of

from cjepa.files import read_json

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "interventions.md"
RESULTS = PAGE.with_suffix(".json")
SCORES = {  # heading -> metric
    "influence AUROC": "influence_auroc",
    "AP": "influence_average_precision",
    "wrong edges": "influence_shd",
    "effect correlation": "effect_correlation",
    "effect size": "effect_size",
    "who is affected, AUROC": "affected_auroc",
    "error, affected": "counterfactual_error_affected",
    "error, unaffected": "counterfactual_error_unaffected",
}
RIVALS = ("extrapolated tracks", "distance", "random", "empty graph", "copying", "true factual future")


def measured(study: Path) -> list[dict]:
    """One row for every model and seed that is finished, and one for every rival that needs no model."""
    rows, rivals = [], {}
    for path in sorted(study.glob("collide-intervene-*/results.json")):
        cell = path.parent.name.removeprefix("collide-intervene-")
        model, _, seed = cell.rpartition("-")
        found = read_json(path)
        own = [row for row in found if row["model"] == f"collide-{cell}"]
        by = next((row["unit"] for row in own if row["metric"] == "influence_auroc"), None)
        rows.append({"model": model, "seed": int(seed), "by": by, "scores": _scores(own)})
        for name in RIVALS:
            if scores := _scores([row for row in found if row["model"] == name]):
                rivals.setdefault(name, {"model": name, "seed": None, "by": None, "scores": scores})
    return [*rows, *rivals.values()]


def _scores(rows: list[dict]) -> dict[str, dict]:
    return {row["metric"]: score_of(row) for row in rows}


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    table = [["model", "seeds", "graph", *SCORES]]
    models = {row["model"] for row in result["rows"]}
    for model in [*sorted(models - set(RIVALS)), *(name for name in RIVALS if name in models)]:
        seeds = [row for row in result["rows"] if row["model"] == model]
        cells = [mean_text([row["scores"].get(metric) for row in seeds]) for metric in SCORES.values()]
        ways = ", ".join(dict.fromkeys(row["by"] for row in seeds if row["by"]))
        table.append([model, str(len(seeds)) if seeds[0]["seed"] is not None else "", ways, *cells])
    return f"{markdown(table)}\n\n`{result['command']}`, on {result['machine']}."


if __name__ == "__main__":
    update_page(
        __doc__, PAGE, "world_models", "one CPU core for each model, no GPU", measured, page_block, ("model", "seed")
    )
