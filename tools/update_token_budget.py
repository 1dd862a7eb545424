"""Copy the study of token budgets into docs/results/ and write the table and the figures of token_budget.md.

python tools/update_token_budget.py runs/studies/token-budget
"""

from functools import partial
from pathlib import Path

from update_results import markdown, rows_so_far, update_page
from update_world_models import on_gpu, score_of, training_time

from cjepa.files import read_json
from cjepa.reporting.pareto import success_by_features, success_by_gigaflops, success_by_seconds
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.tables import success_text, value_with_interval

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "token_budget.md"
RESULTS = PAGE.with_suffix(".json")
PUBLISHED = {  # C-JEPA, arXiv 2602.11389 -> features per frame, success in %
    "DINO-WM": (196 * 384, 91.33),
    "C-JEPA": (6 * 128, 88.67),
    "OC-JEPA": (6 * 128, 76.0),
    "OC-DINO-WM": (6 * 128, 60.67),
}
FIGURES = {
    "tokens": partial(success_by_features, published=PUBLISHED),
    "gigaflops": success_by_gigaflops,
    "seconds": success_by_seconds,
}
ERRORS = {"block@1, px": "position_error_block@1", "block@5, px": "position_error_block@5"}


def measured(study: Path) -> list[dict]:
    """One row for every model that has been planned with: its training, its card, its plans."""
    rows = []
    for plan in sorted(study.glob("plan-*/results.json")):
        model = plan.parent.name.removeprefix("plan-")
        if model == "baselines":
            rows += [{"model": row["model"], "scores": {"success": score_of(row)}} for row in _successes(plan)]
            continue
        found = read_json(plan)
        scores = {row["metric"]: score_of(row) for row in found + rows_so_far(study / f"card-{model}" / TEST_RESULTS)}
        record = read_json(study / model / "run.json")
        rows.append(
            {
                "model": model,
                "tokens": found[0]["tokens"],
                "token_dim": found[0]["token_dim"],
                "parameters": record["model"]["parameters"],
                "steps": record["model"]["optimizer_steps"],
                "seconds": record["seconds"],
                "machine": record["machine"],
                "memory_mb": read_json(plan.with_name("run.json"))["peak_memory_mb"],
                "version": record["versions"]["cjepa"],
                "commit": record["git"]["commit"],
                "scores": scores,
            }
        )
    return rows


def _successes(path: Path) -> list[dict]:
    return [row for row in read_json(path) if row["metric"] == "success"]


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    head = ["tokens", "tokens x dim", "steps", "trained in", *ERRORS, "success % [95 %]", "n", "GFLOP/plan", "s/plan"]
    by_size = sorted(result["rows"], key=lambda row: (row.get("tokens", 0) * row.get("token_dim", 0), row["model"]))
    table = [head, *(_cells(row) for row in by_size)]
    if any("memory_mb" in row for row in by_size):
        memory = [f"{row['memory_mb']:,.0f} MB" if "memory_mb" in row else "–" for row in by_size]
        table = [[*line, cell] for line, cell in zip(table, ["memory", *memory], strict=True)]
    return f"{markdown(table)}\n\n`{result['command']}`, on {result['machine']}."


def _cells(row: dict) -> list[str]:
    scores, success = row["scores"], row["scores"]["success"]
    planned = [success_text(success), str(success["n"])]
    if "tokens" not in row:
        return [row["model"], *["–"] * (3 + len(ERRORS)), *planned, "–", "–"]
    size = f"{row['tokens']} x {row['token_dim']} ({row['tokens'] * row['token_dim']:,})"
    errors = [value_with_interval(scores.get(metric)) for metric in ERRORS.values()]
    cost = [value_with_interval(scores[metric]) for metric in ("gigaflops_per_plan", "seconds_per_plan")]
    if on_gpu(row):
        cost[-1] += " (GPU)"
    return [row["model"], size, f"{row['steps']:,}", training_time([row]), *errors, *planned, *cost]


def draw(result: dict) -> None:
    """The figures of the page."""
    size = ("tokens", "token_dim")
    rows = [
        {"metric": metric, "model": row["model"], **{key: row.get(key) for key in size}, **score}
        for row in result["rows"]
        for metric, score in row["scores"].items()
        if not (on_gpu(row) and metric.startswith("seconds"))
    ]
    for name, figure in FIGURES.items():
        if (drawn := figure(rows)) is not None:
            drawn.savefig(DOCS / "images" / f"token-budget-{name}.png", dpi=110)


if __name__ == "__main__":
    draw(update_page(__doc__, PAGE, "token_budget", "one CPU core, no GPU", measured, page_block, ("model",)))
