"""Copy the answers of the study of questions into docs/results/ and write the table of its page.

python tools/update_questions.py runs/studies/questions
"""

from pathlib import Path

from update_results import markdown, update_page
from update_world_models import mean_text, score_of

from cjepa.files import read_json

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "questions.md"
RESULTS = DOCS / "results" / "questions.json"
READERS = {  # name in the results -> in the table, in this order
    "text only": "text only",
    "aloe-none": "ALOE without a world model",
    "aloe-collide-best": "ALOE on the rollout of `zoo:collide-best`",
    "tokens, constant velocity": "symbolic, straight tracks",
    "collide-none": "symbolic, C-JEPA's transformer",
    "collide-best": "symbolic, `zoo:collide-best`",
    "collide-bodies": "symbolic, `zoo:collide-bodies`",
}
SCORES = {  # heading -> metric
    "descriptive": "question_accuracy@descriptive",
    "explanatory": "question_accuracy@explanatory",
    "its options": "option_accuracy@explanatory",
    "predictive": "question_accuracy@predictive",
    "its options ": "option_accuracy@predictive",
    "counterfactual": "question_accuracy@counterfactual",
    "its options  ": "option_accuracy@counterfactual",
}


def measured(study: Path) -> list[dict]:
    """One row for every reader; those that stand in several results have the same scores in all."""
    found: dict[str, dict] = {}
    for path in sorted(study.glob("answer-*/results.json")):
        for row in read_json(path):
            found.setdefault(row["model"], {})[row["metric"]] = score_of(row)
    trained = {path.parent.name: read_json(path) for path in sorted(study.glob("aloe-*/run.json"))}
    return [
        {"reader": name, "scores": found[name]}
        | ({"steps": trained[name]["model"]["optimizer_steps"]} if name in trained else {})
        for name in READERS
        if name in found
    ]


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    table = [["reader", *(heading.strip() for heading in SCORES)]]
    for row in sorted(result["rows"], key=lambda row: list(READERS).index(row["reader"])):
        table.append([READERS[row["reader"]], *(mean_text([row["scores"].get(name)]) for name in SCORES.values())])
    counts = {name: score["n"] for row in result["rows"] for name, score in row["scores"].items()}
    table.append(["chance", *(_chance(name, counts) for name in SCORES.values())])
    steps = sorted({row["steps"] for row in result["rows"] if "steps" in row})
    trained = f" ALOE learned for {' or '.join(f'{count:,}' for count in steps)} steps." if steps else ""
    counted, where = _counted(counts), f"`{result['command']}`, on {result['machine']}."
    return f"{markdown(table)}\n\nOf {counted} questions.{trained} {where}"


def _chance(metric: str, counts: dict[str, int]) -> str:
    """Of a coin for every option; questions have two options or four, so their numbers say how many have four."""
    of, _, kind = metric.partition("_accuracy@")
    options, questions = (counts.get(f"{of_what}_accuracy@{kind}") for of_what in ("option", "question"))
    if not options:
        return "–"
    four = options / 2 - questions
    return "0.5" if of == "option" else f"{((questions - four) / 4 + four / 16) / questions:.3f}"


def _counted(counts: dict[str, int]) -> str:
    """How many questions, and options, of each type."""
    kinds = [metric.partition("@")[2] for metric in SCORES.values() if metric.startswith("question_")]
    said = [
        f"{counts[f'question_accuracy@{kind}']:,} {kind}"
        + (f" ({counts[f'option_accuracy@{kind}']:,} options)" if f"option_accuracy@{kind}" in counts else "")
        for kind in kinds
        if f"question_accuracy@{kind}" in counts
    ]
    return ", ".join(said)


if __name__ == "__main__":
    update_page(__doc__, PAGE, "questions", "one CPU core for each stage, no GPU", measured, page_block, ("reader",))
