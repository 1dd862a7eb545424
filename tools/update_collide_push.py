"""Copy the study of pushing on Collide into docs/results/control.json and write the table of control.md's section.

python tools/update_collide_push.py runs/studies/collide-push

Rows that the folder of the study does not have stay as they are. A new model needs a line in ``MODELS`` and stages that
are called after it: `NAME-SEED` (`cjepa fit`) and `plan-NAME-SEED` (`cjepa plan`).
"""

from pathlib import Path

from update_control import PAGE, percent
from update_results import markdown, rows_so_far, update_page
from update_world_models import mean_text, score_of

from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.reporting.tables import seconds_text

RESULTS = PAGE.with_suffix(".json")
PART = "collide-push"
"""Markers of the page, and key of the results file."""
MODELS = {  # stage -> name in the table
    "oracle": "`object-filter`, true places",
    "zoo": "`object-filter`",
    "slots": "`object-filter`, slots of these episodes",
    "none": "`none`",
    "object-1": "`object-1`",
    "object-2": "`object-2`",
    "dreamer": "DreamerV3's actor, without a search",
    "simulator-cem": "`simulator-cem`",
    "random": "`random`",
}
TRAININGS = {"dreamer": ("rssm", "dreamer")}  # stage -> all that was trained for it; others: what is called after it
KEPT = ("success", "seconds_per_plan")


def measured(study: Path) -> list[dict]:
    """One row for every model and seed whose plans are finished."""
    rows: dict[tuple, dict] = {}
    for path in sorted(study.glob("plan-*/results.json")):
        cell = path.parent.name.removeprefix("plan-")
        for found in (found for found in rows_so_far(path) if found["metric"] in KEPT):
            name, _, seed = (found["model"], "", 0) if cell == "baselines" else cell.rpartition("-")
            if name not in MODELS:  # goals in words, which update_family.py copies
                continue
            key = {"model": name, "seed": int(seed)}
            size = {"tokens": found["tokens"], "token_dim": found["token_dim"], "commit": found["git"]}
            trained = {"seconds": _training_seconds(study, name, seed), "scores": {}}
            row = rows.setdefault(tuple(key.values()), key | size | trained)
            row["scores"][found["metric"]] = score_of(found)
    return list(rows.values())


def _training_seconds(study: Path, name: str, seed: str | int) -> float | None:
    """Of all that was trained for a model; None where nothing was, or where it is not known."""
    parts = [study / f"{part}-{seed}" / "run.json" for part in TRAININGS.get(name, (name,))]
    try:
        return sum(read_json(path)["seconds"] for path in parts)
    except UserError:
        return None


def page_block(result: dict) -> str:
    """What stands between the markers of the section: a line for every model that is measured."""
    table = [["model", "tokens x dim", "seeds", "success % [95 %]", "s/plan", "trained in"]]
    for model, shown in MODELS.items():
        if not (own := [row for row in result["rows"] if row["model"] == model]):
            continue
        tokens = "–" if own[0]["tokens"] is None else f"{own[0]['tokens']} x {own[0]['token_dim']}"
        success, seconds = ([row["scores"].get(metric) for row in own] for metric in KEPT)
        trained = "–" if own[0]["seconds"] is None else seconds_text(own[0]["seconds"])
        table.append([shown, tokens, str(len(own)), percent(success), mean_text(seconds), trained])
    return f"{markdown(table)}\n\n`{result['command']}`, on {result['machine']}."


if __name__ == "__main__":
    where = "one core of a busy 2-core machine (shared host), no GPU"
    update_page(__doc__, PAGE, "collide_push", where, measured, page_block, ("model", "seed"), PART)
