"""Copy the study of world models into docs/results/ and write the tables of world_models.md and rivals.md.

python tools/update_world_models.py runs/studies/world-models

Several folders may hold parts of the study, of several versions or machines, or of the study of masking, which trains
its models alike; of a model and seed that several hold, the first counts. Rows that none of them holds stay as they
are.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean

from update_results import markdown, results_so_far, rows_so_far, write_block

from cjepa.files import read_json, write_json
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.summary import commit_text
from cjepa.reporting.tables import seconds_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE, RIVALS_PAGE = DOCS / "results" / "world_models.md", DOCS / "results" / "rivals.md"
RESULTS, RIVALS_RESULTS = PAGE.with_suffix(".json"), RIVALS_PAGE.with_suffix(".json")
TITLES = {"pusht": "Push-T", "pusht-hard": "Push-T, episodes of twice the speed", "collide": "Collide"}
SCORES = {  # heading -> metric
    "error@1": "rollout_error@1",
    "error@5": "rollout_error@5",
    "error@10": "rollout_error@10",
    "pick": "pick_error",
    "true / predicted cost": "plan_cost_ratio",
    "success": "plan_success",
}
ERRORS = dict(list(SCORES.items())[:3])
PLANS = {  # heading -> metric of a plan's stage
    "success, whole plans": "success, plan",
    "s/plan": "seconds_per_plan, plan",
    "success, replanned": "success, replan",
}
PLAN_STAGES = {
    "plan": "plan",
    "plan-few": "plan",
    "replan": "replan",
    "choose-plan": "plan on validation pairs",
    "choose-replan": "replan on validation pairs",
}
SEARCHES = {"whole plans": "plan", "replanned": "replan"}  # what validation pairs choose between, the quicker one first
RIVALS = {  # model of the study -> success that was published on Push-T, in %
    "dino-wm": "90",
    "jepa-wm": "70.2",
    "vjepa2-ac": "",
    "lewm": "96",
    "fast-lewm": "96",
    "wag": "90.7",
    "interaction-network": "",
}
BESIDE = {  # what rivals are compared with
    "object-filter": "",
    "object-1": "88.67 (C-JEPA)",
    "object-1-light": "",
    "object-3": "",
    "none": "76 (OC-JEPA)",
    "flat-mlp": "",
    "linear": "",
}


def measured(study: Path) -> list[dict]:
    """One row for every model and seed that is finished: what it took to train, its card, its plans."""
    rows = []
    for card in sorted(study.glob(f"*/{TEST_RESULTS}")):
        environment, model, run = _card_of(card.parent)
        name, _, seed = model.rpartition("-")
        record = read_json(run / "run.json")
        scores = read_json(card)
        rows.append(
            {
                "environment": environment,
                "model": name,
                "seed": int(seed),
                "tokens": scores[0]["tokens"],
                "token_dim": scores[0]["token_dim"],
                "parameters": record["model"]["parameters"],
                "steps": record["model"]["optimizer_steps"],
                "optimiser": "AdamW" if record["objective"].get("matrix_lr") is None else "Muon",
                "version": record["versions"]["cjepa"],
                "seconds": record["seconds"],
                "machine": record["machine"],
                "commit": commit_text(record["git"]),
                "scores": {row["metric"]: score_of(row) for row in scores} | _plans(study, environment, model),
            }
        )
    return rows


def _card_of(stage: Path) -> tuple[str, str, Path]:
    """Environment, model with its seed, and folder of the training that a card is of."""
    environment, card, model = stage.name.partition("-card-")
    if card:
        return environment, model, stage.with_name(f"{environment}-{model}")
    return "pusht", stage.name.replace("-with-proprio", ""), stage.with_name(f"fit-{stage.name}")  # of masking.yaml


def first_of_each(rows: list[dict]) -> list[dict]:
    """The first row of every model, seed and optimiser; today's optimiser above that of earlier versions."""
    keys = ("environment", "optimiser", "model", "seed")
    first = {tuple(row[key] for key in keys): row for row in reversed(rows)}
    environments = list(TITLES)
    return [
        first[key] for key in sorted(first, key=lambda key: (environments.index(key[0]), key[1] == "AdamW", *key[2:]))
    ]


def _plans(study: Path, environment: str, cell: str) -> dict[str, dict]:
    """Scores of the finished plans of a model and seed, named after the metric and the kind of plan."""
    found = {}
    for stage, kind in PLAN_STAGES.items():
        rows = rows_so_far(study / f"{environment}-{stage}-{cell}" / "results.json")
        found |= {f"{row['metric']}, {kind}": score_of(row) for row in rows}
    return found


def score_of(row: dict) -> dict:
    """What the results files keep of a row of results."""
    return {key: row[key] for key in ("value", "low", "high", "n")}


def page_block(result: dict) -> str:
    """What stands between the markers of world_models.md."""
    own = [row for row in _renewed(result["rows"]) if row["model"] not in RIVALS and row["environment"] != "pusht-hard"]
    return _block(result, lambda rows: _table(rows, SCORES), own)


def rivals_block(result: dict) -> str:
    """What stands between the markers of rivals.md."""
    return _block(result, _rivals_table, [row for row in _renewed(result["rows"]) if row["model"] in BESIDE | RIVALS])


def _renewed(rows: list[dict]) -> list[dict]:
    """The rows without those of AdamW of models that Muon has trained too, which stay in the results files."""
    renewed = {(row["environment"], row["model"]) for row in rows if row["optimiser"] == "Muon"}
    return [row for row in rows if row["optimiser"] == "Muon" or (row["environment"], row["model"]) not in renewed]


def _block(result: dict, table_of: Callable[[list[dict]], list[list[str]]], shown: list[dict]) -> str:
    parts = []
    for environment, title in TITLES.items():
        if rows := [row for row in shown if row["environment"] == environment]:
            parts += [f"{title}:", markdown(table_of(rows))]
    return "\n\n".join([*parts, f"`{result['command']}`, on {result['machine']}{_gpu_text(shown)}."])


def _gpu_text(rows: list[dict]) -> str:
    """Which models were trained on a GPU, and which seeds of others; empty if none were."""
    on, of = Counter(row["model"] for row in rows if on_gpu(row)), Counter(row["model"] for row in rows)
    if not on:
        return ""
    (gpu,) = {row["machine"].rpartition(", ")[2] for row in rows if on_gpu(row)}
    some = [row for row in rows if on_gpu(row) and on[row["model"]] < of[row["model"]]]
    seeds = ", ".join(f"{row['seed']} of `{row['model']}`" for row in some)
    return f'; "(GPU)"{" and seed " * bool(seeds)}{seeds}: one {gpu}, beside other models'


def _table(rows: list[dict], scores: dict[str, str]) -> list[list[str]]:
    """A line for every model, with the scores that any of them has."""
    shown = {name: key for name, key in scores.items() if any(key in row["scores"] for row in rows)}
    table = [["model", "optimiser", "seeds", *shown, "parameters", "steps", "trained in"]]
    for kind in dict.fromkeys((row["model"], row["optimiser"]) for row in rows):
        table.append(_cells([row for row in rows if (row["model"], row["optimiser"]) == kind], shown.values()))
    return table


def _rivals_table(rows: list[dict]) -> list[list[str]]:
    order = [*BESIDE, *RIVALS]
    rows = sorted(rows, key=lambda row: (order.index(row["model"]), row["optimiser"], row["seed"]))
    head, *table = _table(rows, ERRORS | PLANS)
    tokens = {row["model"]: f"{row['tokens']} x {row['token_dim']}" for row in rows}
    published, chosen = BESIDE | RIVALS, {model: chosen_text(rows, model) for model in tokens}
    ends = {"chosen": chosen} if any(chosen.values()) else {}
    ends |= {"published success": published} if rows[0]["environment"] == "pusht" else {}
    return [
        [head[0], "tokens x dim", *head[1:], *ends],
        *([line[0], tokens[line[0]], *line[1:], *(end[line[0]] for end in ends.values())] for line in table),
    ]


def chosen_text(rows: list[dict], model: str) -> str:
    """The search that solves more validation pairs with a model, and what both solve; empty where they chose none."""
    keys = {name: f"success, {search} on validation pairs" for name, search in SEARCHES.items()}
    scores = [row["scores"] for row in rows if row["model"] == model and set(keys.values()) <= row["scores"].keys()]
    if not scores:
        return ""
    solved = {name: mean(one[key]["value"] for one in scores) for name, key in keys.items()}
    best = max(solved, key=solved.__getitem__)
    return f"{best} ({', '.join(f'{100 * value:.0f}' for value in solved.values())} %)"


def _cells(seeds: list[dict], metrics: Iterable[str]) -> list[str]:
    return [
        seeds[0]["model"],
        seeds[0]["optimiser"],
        str(len(seeds)),
        *(mean_text([row["scores"].get(metric) for row in seeds]) for metric in metrics),
        f"{seeds[0]['parameters']:,}",
        f"{seeds[0]['steps']:,}",
        training_time(seeds),
    ]


def training_time(seeds: list[dict]) -> str:
    """Mean time of the seeds that were trained on one core; of the others where there are none."""
    timed = [row for row in seeds if not on_gpu(row)]
    where = "" if timed else " (GPU)"
    return seconds_text(mean(row["seconds"] for row in timed or seeds)) + where


def on_gpu(row: dict) -> bool:
    """Whether a row was measured on a GPU, whose times are no match for a core's."""
    return "no GPU" not in row.get("machine", "no GPU")


def mean_ends(scores: Sequence[dict]) -> tuple[float, float, float]:
    """Means over seeds of value, low and high."""
    value, low, high = (mean(score[key] for score in scores) for key in ("value", "low", "high"))
    return value, low, high


def mean_text(scores: list[dict | None]) -> str:
    """The mean over seeds, and that of the ends of their intervals: seeds share the episodes, so n does not grow."""
    there = [score for score in scores if score is not None]
    if not there or any(score["value"] is None for score in there):
        return "–"
    value, low, high = mean_ends(there)
    seeds = "" if len(there) == len(scores) else f" (seeds: {len(there)})"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]{seeds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--machine")
    args = parser.parse_args()
    before = [results_so_far(path, "one CPU core for each model, no GPU") for path in (RESULTS, RIVALS_RESULTS)]
    found = [row for study in args.studies for row in measured(study)]
    result = {
        "command": "cjepa study experiments/studies/world_models.yaml",
        "machine": args.machine or before[0]["machine"],
        "rows": first_of_each(found + [row for so_far in before for row in so_far["rows"]]),
    }
    rivals = result | {"rows": [row for row in result["rows"] if row["model"] in BESIDE | RIVALS]}
    write_json(RESULTS, result | {"rows": [row for row in result["rows"] if row["model"] not in RIVALS]})
    write_json(RIVALS_RESULTS, rivals)
    write_block(PAGE, "world-models", page_block(result))
    write_block(RIVALS_PAGE, "rivals", rivals_block(rivals))


if __name__ == "__main__":
    main()
