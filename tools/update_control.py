"""Copy the study of control into docs/results/ and write the tables of docs/results/control.md.

python tools/update_control.py runs/studies/control
"""

from pathlib import Path
from statistics import mean

from update_results import markdown, rows_so_far, update_page
from update_world_models import score_of

from cjepa.reporting.distances import DISTANCE

PAGE = Path(__file__).parents[1] / "docs" / "results" / "control.md"
RESULTS = PAGE.with_suffix(".json")
NEAR_ENV_STEPS, FAR_ENV_STEPS = 25, (50, 75, 100)
KEPT = ("success", "seconds_per_plan", "gigaflops_per_plan", "success_difference")
_MINUS = "rate, minus that of "  # how the unit of a difference begins; the model and its run follow
MODELS = {  # name in results, without the study's prefix -> published success in % at 25, 50, 75, 100, another protocol
    "pusht-best": "96, 56, 46, 20 (LeWM, flat)",
    "pusht-best-probe": "",
    "pusht-best-probe-replan": "",
    "pusht-best-value": "",
    "pusht-best-probe-hierarchy": "89, 78, 61, 31 (HWM)",
    "object-filter": "",
    "flat-mlp": "",
    "none": "76 (OC-JEPA)",
    "object-1": "88.67 (C-JEPA)",
    "object-2": "",
    "policy": "",
    "simulator-cem": "",
    "random": "",
}


def measured(study: Path) -> list[dict]:
    """One row for every model, seed and distance that is finished."""
    rows: dict[tuple, dict] = {}
    for path in sorted([*study.glob("near-*/results.json"), *study.glob("far-*/results.json")]):
        for row in (row for row in rows_so_far(path) if row["metric"] in KEPT):
            model, seed = _model(row["model"])
            distance = row.get(DISTANCE) or NEAR_ENV_STEPS
            size = {"tokens": row["tokens"], "token_dim": row["token_dim"]}
            key = {"model": model, "seed": seed, DISTANCE: distance, **size, "commit": row["git"]}
            kept = rows.setdefault((model, seed, distance), key | {"scores": {}})
            kept["scores"][row["metric"]] = score_of(row)
            if row["metric"] == "success_difference":
                kept["against"] = row["unit"].removeprefix(_MINUS).partition(" (")[0]
    return sorted(rows.values(), key=lambda row: (list(MODELS).index(row["model"]), row["seed"], row[DISTANCE]))


def _model(name: str) -> tuple[str, int]:
    """``pusht-none-1`` -> none, 1; models of one seed only keep their names."""
    if name in MODELS:
        return name, 0
    model, _, seed = name.rpartition("-")
    return model if model in MODELS else model.removeprefix("pusht-"), int(seed)


def page_block(result: dict) -> str:
    """What stands between the markers of control.md."""
    parts = [markdown(_table(result["rows"]))]
    if differences := _differences(result["rows"]):
        parts += ["Differences in success on the same pairs, in points [95 %]:", markdown(differences)]
    return "\n\n".join([*parts, f"`{result['command']}`, on {result['machine']}."])


def _table(rows: list[dict]) -> list[list[str]]:
    """A line for every model: success by distance, and what a plan takes."""
    distances = (NEAR_ENV_STEPS, *FAR_ENV_STEPS)
    head = [
        "model",
        "tokens x dim",
        "seeds",
        *(f"+{distance}" for distance in distances),
        "s/plan, +25",
        "GFLOP/plan, +25",
    ]
    table = [[*head, "published, other protocol"]]
    for model, published in MODELS.items():
        if not (own := [row for row in rows if row["model"] == model]):
            continue
        of_each = [[row["scores"] for row in own if row[DISTANCE] == distance] for distance in distances]
        success = [percent([scores.get("success") for scores in found]) for found in of_each]
        costs = [_mean([scores.get(f"{what}_per_plan") for scores in of_each[0]]) for what in ("seconds", "gigaflops")]
        tokens = "–" if own[0]["tokens"] is None else f"{own[0]['tokens']} x {own[0]['token_dim']}"
        table.append([model, tokens, str(len({row["seed"] for row in own})), *success, *costs, published])
    return table


def _differences(rows: list[dict]) -> list[list[str]]:
    """A line for every model that was compared; empty where none was."""
    found = [row for row in rows if "success_difference" in row["scores"]]
    distances = sorted({row[DISTANCE] for row in found})
    table = [["model", "minus", *(f"+{distance}" for distance in distances)]]
    for model, against in dict.fromkeys((row["model"], row["against"]) for row in found):
        own = [row for row in found if (row["model"], row["against"]) == (model, against)]
        of_model = {row[DISTANCE]: row["scores"]["success_difference"] for row in own}
        cells = [f"{points(of_model[d])}, n = {of_model[d]['n']}" if d in of_model else "–" for d in distances]
        table.append([model, against, *cells])
    return table if found else []


def points(score: dict) -> str:
    value, low, high = (round(100 * score[key]) for key in ("value", "low", "high"))
    return f"{value:+d} [{low:+d}, {high:+d}]"


def percent(scores: list[dict | None]) -> str:
    """Means over seeds of a rate and the ends of its interval: seeds share the pairs, so that n does not grow."""
    there = [score for score in scores if score is not None]
    if not there:
        return "–"
    value, low, high = (round(100 * mean(score[key] for score in there)) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}], n = {there[0]['n']}" + (f" x {len(there)}" if len(there) > 1 else "")


def _mean(scores: list[dict | None]) -> str:
    there = [score["value"] for score in scores if score is not None]
    return f"{mean(there):.2g}" if there else "–"


if __name__ == "__main__":
    update_page(__doc__, PAGE, "control", "one CPU core, no GPU", measured, page_block, ("model", "seed", DISTANCE))
