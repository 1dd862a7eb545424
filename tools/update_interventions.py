"""Copy the interventions of a study into docs/results/ and write the tables and the figure of interventions.md.

python tools/update_interventions.py runs/studies/world-models
python tools/update_interventions.py runs/studies/masking-collide
"""

import re
from collections.abc import Callable
from pathlib import Path

from masks_figure import masks_figure
from update_results import markdown, results_so_far, update_page, write_block
from update_world_models import mean_ends, mean_text, score_of

from cjepa.files import read_json
from cjepa.reporting.summary import commit_text

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
HOPS = {f"{hops} hops" if hops != "1" else "1 hop": f"influence_auroc_hops{hops}" for hops in ("1", "2", "3+")}
HIDDEN = {
    f"{frames} frames{title}": f"hidden_error{group}@{frames}"
    for group, title in (("", ""), ("_touched", ", touched"))
    for frames in (6, 10, 20)
}
SURPRISE = {
    f"{title}, {seen}": f"{metric}{suffix}"
    for title, metric in (
        ("jump against colour", "violation_auroc"),
        ("jump against none", "surprise_auroc_teleport"),
        ("colour against none", "surprise_auroc_colour"),
    )
    for seen, suffix in (("whole tokens", ""), ("places", "_places"))
}
LIGHT = "-light"
KINDS = ("object", f"object{LIGHT}", "tube", "token", "fixed", "centrality")
MASKED = re.compile(rf"(?:(?P<predictor>.+)-)?(?P<kind>{'|'.join(KINDS)})-(?P<number>\d)(?P<light>{LIGHT})?")
"""Names of models whose predictor had masks of a kind, of up to a number of objects; light ones weigh a tenth."""
TRANSFORMER = "none"
"""C-JEPA's predictor without masks, whose name models with masks do not have."""
MASKING = "cjepa study experiments/studies/masking_collide.yaml"
"""What trains and asks the fast predictor with every mask."""
MASK_SCORES = {"influence AUROC": "influence_auroc", "effect correlation": "effect_correlation"}
PREDICTORS = {TRANSFORMER: "C-JEPA's transformer", "object-filter": "fast predictor"}
RIVALS = (
    "extrapolated tracks",
    "distance",
    "random",
    "empty graph",
    "copying",
    "constant velocity",
    "true factual future",
)
REMOVAL = "remove_moved"
"""The estimate that removes one body at a time."""
OF_A_MODEL = ("removal_growth", "removal_growth_empty")
"""Metrics of rivals that depend on the model: how its error grows where the rival's graph says what to remove."""


def measured(study: Path) -> list[dict]:
    """One row for every model and seed that is finished, and one for every rival that needs no model.

    A rival's row stays where the results file has one: it hangs on the tokens, and models of others are beside it.

    The row of a model, if it has a line of its own, has ``details``: scores by each estimate of influence and each kind
    of intervention, of its factual prediction, and of removing what the graph of a rival calls irrelevant.
    """
    rows, rivals = [], {}
    for path in sorted(study.glob("collide-intervene-*/results.json")):
        cell = path.parent.name.removeprefix("collide-intervene-")
        model, _, seed = cell.rpartition("-")
        record = read_json(path.with_name("run.json"))
        own, scores = record["model"]["name"], _scores(read_json(path))
        row = {
            "model": model,
            "seed": int(seed),
            "by": f"by {record['objective']['best_estimate']}",
            "commit": commit_text(record["git"]),
            "scores": scores.pop(own),
        }
        if _has_line(model):
            of_model = {name.removeprefix(f"{own}: "): _of_a_model(name, found) for name, found in scores.items()}
            row["details"] = {name: found for name, found in of_model.items() if found}
        rows.append(row)
        for name in RIVALS:
            free = {metric: score for metric, score in scores.get(name, {}).items() if metric not in OF_A_MODEL}
            if free:
                rivals.setdefault(name, {"model": name, "seed": None, "by": None, "scores": free})
    known = {row["model"] for row in results_so_far(RESULTS, "")["rows"]}
    return [*rows, *(row for name, row in rivals.items() if name not in known)]


def _scores(rows: list[dict]) -> dict[str, dict[str, dict]]:
    """Scores by metric, by the name that the rows have in the column of models."""
    found = {}
    for row in rows:
        found.setdefault(row["model"], {})[row["metric"]] = score_of(row)
    return found


def _of_a_model(name: str, scores: dict[str, dict]) -> dict[str, dict]:
    return {metric: score for metric, score in scores.items() if name not in RIVALS or metric in OF_A_MODEL}


def page_block(result: dict) -> str:
    """What stands between the markers of the page, from the results file."""
    table = [["model", "seeds", "graph", *SCORES]]
    for model, seeds in _by_model(result).items():
        ways = ", ".join(dict.fromkeys(row["by"] for row in seeds if row["by"]))
        if any(metric in row["scores"] for metric in SCORES.values() for row in seeds):
            table.append([model, _count(seeds), ways, *_cells(seeds, SCORES)])
    return f"{markdown(table)}\n\n`{result['command']}`, on {result['machine']}."


def removal_block(result: dict) -> str:
    """What removing bodies that a graph calls irrelevant does to the error, and how stable the graph is."""
    head = ["model", "seeds", "graph", "removed", "growth", "all removed", "growth, emptied", "all emptied"]
    table = [[*head, "stability"]]
    for model, seeds in _by_model(result).items():
        known = [row for row in seeds if row.get("details")]
        best = tuple(row["by"].removeprefix("by ") for row in known)
        for graphs in dict.fromkeys([best, (REMOVAL,) * len(known)]):
            if not known or any(name not in row["details"] for row, name in zip(known, graphs, strict=True)):
                continue
            table.append([model, str(len(known)), ", ".join(dict.fromkeys(graphs)), *_removal(known, graphs)])
    return markdown(table)


def _removal(seeds: list[dict], graphs: tuple[str, ...]) -> list[str]:
    """Cells of seeds, each by its graph."""

    def cell(metric: str, everything: bool = False) -> str:
        names = ["empty graph"] * len(seeds) if everything else graphs
        return mean_text([row["details"][name].get(metric) for row, name in zip(seeds, names, strict=True)])

    ways = (cell(metric, everything) for metric in OF_A_MODEL for everything in (False, True))
    return [cell("removed_share"), *ways, cell("influence_stability")]


def _table_of(scores: dict[str, str]) -> Callable[[dict], str]:
    """A block with a line for every model and rival that has any of the scores."""

    def block(result: dict) -> str:
        lines = [
            [model, _count(seeds), *_cells(seeds, scores)]
            for model, seeds in _by_model(result).items()
            if any(metric in row["scores"] for metric in scores.values() for row in seeds)
        ]
        return markdown([["model", "seeds", *scores], *lines])

    return block


def masks_block(result: dict) -> str:
    """What models of two predictors know of causes, by what was masked."""
    head = [f"{title}: {score}" for title in PREDICTORS.values() for score in ("seeds", *MASK_SCORES)]
    found = {predictor: _by_mask(result, predictor) for predictor in PREDICTORS}
    masks = sorted(set().union(*found.values()), key=lambda mask: (mask[1] > 0, KINDS.index(mask[0]), mask[1]))
    lines = []
    for mask in masks:
        cells = []
        for by_mask in found.values():
            seeds = by_mask.get(mask, [])
            cells += [str(len(seeds)) if seeds else "", *_cells(seeds, MASK_SCORES)]
        lines.append([_name(*mask), *cells])
    return f"{markdown([['masks', *head], *lines])}\n\nFast predictor, masked: `{MASKING}`."


def _name(kind: str, number: int) -> str:
    """Of a mask, as models are named after it."""
    if not number:
        return "none"
    kind, light, _ = kind.partition(LIGHT)
    return f"{kind}-{number}{light}"


def _by_mask(result: dict, predictor: str) -> dict[tuple[str, int], list[dict]]:
    """Rows of the seeds of a predictor by kind of mask and number of objects; 0 is no mask of any kind."""
    found: dict[tuple[str, int], list[dict]] = {}
    for row in result["rows"]:
        masked = MASKED.fullmatch(row["model"])
        if row["model"] == predictor:
            found.setdefault((KINDS[0], 0), []).append(row)
        elif masked and (masked["predictor"] or TRANSFORMER) == predictor:
            found.setdefault((masked["kind"] + (masked["light"] or ""), int(masked["number"])), []).append(row)
    return found


def _draw_masks(result: dict) -> None:
    series = {
        (title, kind): {
            number: {
                score: mean_ends([row["scores"][metric] for row in seeds]) for score, metric in MASK_SCORES.items()
            }
            for (of, number), seeds in by_mask.items()
            if of == kind or not number
        }
        for title, by_mask in ((title, _by_mask(result, predictor)) for predictor, title in PREDICTORS.items())
        for kind in KINDS
    }
    masks_figure(series, list(MASK_SCORES)).savefig(DOCS / "images" / "masks-and-causes.png", dpi=110)


def _has_line(model: str) -> bool:
    """Whether it has a line of its own; masks of cells are left to the table of masks."""
    masked = MASKED.fullmatch(model)
    return masked is None or masked["kind"] == KINDS[0]


def _by_model(result: dict) -> dict[str, list[dict]]:
    """Rows of the seeds of every model, models by name and then the rivals."""
    models = {row["model"] for row in result["rows"] if _has_line(row["model"])}
    order = [*sorted(models - set(RIVALS)), *(name for name in RIVALS if name in models)]
    return {model: [row for row in result["rows"] if row["model"] == model] for model in order}


def _count(seeds: list[dict]) -> str:
    return str(len(seeds)) if seeds[0]["seed"] is not None else ""


def _cells(seeds: list[dict], scores: dict[str, str]) -> list[str]:
    return [mean_text([row["scores"].get(metric) for row in seeds]) for metric in scores.values()]


BLOCKS = {  # markers -> what stands between them
    "interventions": page_block,
    "masks": masks_block,
    "hops": _table_of(HOPS),
    "removal": removal_block,
    "hidden": _table_of(HIDDEN),
    "surprise": _table_of(SURPRISE),
}


if __name__ == "__main__":
    where = "one CPU core for each model, no GPU"
    result = update_page(__doc__, PAGE, "world_models", where, measured, page_block, ("model", "seed"))
    for name, block in BLOCKS.items():
        write_block(PAGE, name, block(result))
    _draw_masks(result)
