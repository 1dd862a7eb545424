"""Copy the study of planners into docs/results/ and write the tables of docs/results/planners.md.

python tools/update_planners.py runs/studies/planners
"""

from pathlib import Path

from update_control import points
from update_results import markdown, rows_so_far, update_page
from update_world_models import score_of

from cjepa.files import read_json
from cjepa.reporting.tables import success_text, value_with_interval

PAGE = Path(__file__).parents[1] / "docs" / "results" / "planners.md"
RESULTS = PAGE.with_suffix(".json")
TABLES = {  # table -> its stages; what success is compared with
    "planner": (("icem", "cem", "mppi", "gradient", "random-shooting"), "icem"),
    "planner, other pairs": (("again-icem", "again-cem", "again-mppi", "again-gradient"), "icem"),
    "search": (("certify",), "the first"),
    "pairs": (("held-out", "as-published"), None),
}
TRIVIAL = "solved_at_start"
KEPT = ("success", "seconds_per_plan", "gigaflops_per_plan", "success_difference")


def measured(study: Path) -> list[dict]:
    """One row for every search that is finished, in the order of the tables."""
    rows: dict[tuple, dict] = {}
    for table, stage in ((table, stage) for table, (stages, _) in TABLES.items() for stage in stages):
        for found in rows_so_far(study / stage / "results.json"):
            name = found["model"].removeprefix("pusht-best, ").removesuffix(" (as published)")
            key = {"table": table, "name": name}
            row = rows.setdefault(tuple(key.values()), key | {"commit": found["git"], "scores": {}})
            if found["metric"] in KEPT:
                row["scores"][found["metric"]] = score_of(found)
            elif found["metric"] == TRIVIAL:
                row[TRIVIAL] = int(found["value"])
            if table != "search":  # whose names say it
                row["search"] = _size(read_json(study / stage / "run.json")["actions"]["planner"])
    return list(rows.values())


def _size(planner: dict) -> str:
    """Samples, or starts of gradients, times iterations, from a run's record."""
    return " x ".join(str(planner[name]) for name in ("num_samples", "num_starts", "iterations") if name in planner)


def page_block(result: dict) -> str:
    """What stands between the markers of the page: a table for each question."""
    own = {name: [row for row in result["rows"] if row["table"] == name] for name in TABLES}
    tables = [markdown(_table(name, rows)) for name, rows in own.items() if rows]
    return "\n\n".join([*tables, f"`{result['command']}`, on {result['machine']}."])


def _table(name: str, rows: list[dict]) -> list[list[str]]:
    _, against = TABLES[name]
    table = [[name, "success % [95 %]", "n"]]
    if against is None:
        table[0].append("solved at the start")
    else:
        table[0] += [f"points more than {against}", "s/plan", "GFLOP/plan"]
    for row in rows:
        scores, search = row["scores"], row.get("search")
        cells = [row["name"] + (f" ({search})" if search else ""), success_text(scores["success"])]
        cells.append(str(scores["success"]["n"]))
        if against is None:
            cells.append(str(row.get(TRIVIAL, "left out")))
        else:
            difference = scores.get("success_difference")
            cells.append(points(difference) if difference else "–")
            cells += [value_with_interval(scores.get(f"{what}_per_plan")) for what in ("seconds", "gigaflops")]
        table.append(cells)
    return table


if __name__ == "__main__":
    update_page(__doc__, PAGE, "planners", "one CPU core, no GPU", measured, page_block, ("table", "name"))
