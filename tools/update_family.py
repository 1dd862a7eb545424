"""Copy studies of the JEPA family and its relatives into docs/results/family.json and write the tables of family.md.

python tools/update_family.py runs/studies/family runs/studies/relatives runs/studies/guards

Rows of systems that the studies do not have stay as they are. A new system needs a line in ``SYSTEMS`` and stages that
are called after it: `fit-NAME-SEED`, and `NAME-SEED` (`cjepa test`) or `plan-NAME-SEED` (`cjepa plan`), or both. Plans
of goals in words are in ``TOLD``, by the same names, and need no training of their own.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from update_results import markdown, merged, rows_so_far, write_block
from update_world_models import mean_text, score_of

from cjepa.data.clip_windows import evenly_spread
from cjepa.files import read_json, replacing, write_json
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.records import read_metrics
from cjepa.reporting.style import legend_below, new_figure, plain_log_ticks, series_colours, style
from cjepa.reporting.tables import seconds_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "family.md"
RESULTS, FIGURE = PAGE.with_suffix(".json"), DOCS / "images" / "guards.png"
ENCODERS = {"ijepa": "I-JEPA", "vjepa": "V-JEPA", "vjepa2.1": "V-JEPA 2.1", "mcjepa": "MC-JEPA"}
ENCODERS |= {"mcjepa-simulator": "MC-JEPA, flow of the simulator"}
SYSTEMS = {  # stage -> system, environment
    **{stage: (name, "Push-T") for stage, name in ENCODERS.items()},
    **{f"{stage}-predicted": (f"{name}'s patches, predicted", "Push-T") for stage, name in ENCODERS.items()},
    **{f"{stage}-slots": (f"VideoSAUR on {name}", "Push-T") for stage, name in ENCODERS.items()},
    "rssm": ("DreamerV3's world model, on slots", "Push-T"),
    "dreamer": ("DreamerV3's actor and critic, on slots", "Push-T"),
    "language": ("VL-JEPA, goals in words, on slots", "Push-T"),
    "language-collide": ("VL-JEPA, goals in words, on slots", "Collide"),
    "act-jepa": ("ACT-JEPA, on slots", "Push-T"),
    "policy": ("the planners' policy, on slots", "Push-T"),
    "pixels": ("pixels", "Push-T"),
    "object-filter": ("object-filter, on slots", "Push-T"),
}
KEY = ("system", "environment", "seed")  # what tells rows apart
SCORES = {  # heading -> metrics, the first that was measured is shown
    "place R²": ("mlp_r2@block_x", "mlp_r2@x"),
    "angle R²": ("mlp_r2@block_angle", "mlp_r2@square_angle"),
    "velocity R²": ("mlp_r2@block_velocity", "mlp_r2@velocity"),
    "flow error": ("flow_error",),
    "error@1": ("rollout_error@1",),
    "success": ("success",),
    "s/plan": ("seconds_per_plan",),
}
TOLD = {  # stage of goals in words -> what its plans aim at, environment
    "language": ("the token that the sentence wants", "Push-T"),
    "language-text": ("the embedding of the sentence, by its cosine", "Push-T"),
    "language-pose": ("a frame with the block at the nearest such place, at its old angle", "Push-T"),
    "language-hierarchy": ("what a slow level that reads the sentence wants to see after 25 env steps", "Push-T"),
    "language-random": ("nothing: random actions", "Push-T"),
    "language-collide": ("the token that the sentence wants", "Collide"),
    "language-collide-random": ("nothing: random actions", "Collide"),
}
GUARDS = ("none", "stop-gradient", "ema", "vicreg", "sigreg", "barlow-twins")
LEAST_RANK, LEAST_DEVIATION = 2.0, 0.05
"""Below either, a training of LeWorldModel stops: its tokens have collapsed."""


def measured(study: Path) -> list[dict]:
    """One row for every system and seed that is trained: what it took, and all its scores."""
    rows = []
    for name, (system, environment) in SYSTEMS.items():
        for path in sorted(study.glob(f"fit-{name}-[0-9]*/run.json")):
            cell = path.parent.name.removeprefix("fit-")
            scores = rows_so_far(study / cell / TEST_RESULTS) + rows_so_far(study / f"plan-{cell}" / "results.json")
            if not scores:
                continue
            own = [row for row in scores if row["model"] not in ("random", "simulator-cem")]
            row = {"system": system, "environment": environment, "seed": int(cell.rpartition("-")[2])}
            row |= {name: own[0][name] for name in ("tokens", "token_dim")} | _training(path)
            rows.append(row | {"scores": {score["metric"]: score_of(score) for score in own}})
    return rows


def guards(study: Path) -> list[dict]:
    """One row for every guard and seed that is trained: how its tokens spread over the steps."""
    rows = []
    for path in (path for name in GUARDS for path in sorted(study.glob(f"{name}-[0-9]*/run.json"))):
        name, _, seed = path.parent.name.rpartition("-")
        logged = [row for row in read_metrics(path.with_name("metrics.csv")) if "val/effective_rank" in row]
        if not logged:
            continue
        curves = {
            key: [float(row[f"val/{key}"]) for row in logged] for key in ("effective_rank", "deviation", "error@1")
        }
        steps = [int(float(row["step"])) + 1 for row in logged]
        rows.append({"guard": name, "seed": int(seed), "steps": steps} | curves | {"training": _training(path)})
    return rows


def told(study: Path) -> list[dict]:
    """One row for every way and seed that goals in words were planned for."""
    rows = []
    for name, (aim, environment) in TOLD.items():
        for path in sorted(study.glob(f"plan-{name}-[0-9]*/results.json")):
            own = read_json(path)
            row = {"system": aim, "environment": environment, "seed": int(path.parent.name.rpartition("-")[2])}
            rows.append(row | {"commit": own[0]["git"], "scores": {score["metric"]: score_of(score) for score in own}})
    return rows


def collapsed_from(row: dict) -> int | None:
    """The first measured step from which the tokens stay collapsed; None if they end well."""
    last = None
    for step, rank, deviation in zip(row["steps"], row["effective_rank"], row["deviation"], strict=True):
        spread = rank >= LEAST_RANK and deviation >= LEAST_DEVIATION
        last = None if spread else last or step
    return last


def systems_block(result: dict) -> str:
    """What stands between the markers ``family`` of the page, with the columns that any row has."""
    measured_anywhere = {metric for row in result["rows"] for metric in row["scores"]}
    shown = {name: metrics for name, metrics in SCORES.items() if measured_anywhere & {*metrics}}
    table = [["system", "environment", "seeds", "tokens x dim", *shown, "parameters", "trained in"]]
    for named in dict.fromkeys(_named(row) for row in result["rows"]):
        rows = [row for row in result["rows"] if _named(row) == named]
        scores = [[_first(row["scores"], metrics) for row in rows] for metrics in shown.values()]
        one = rows[0]
        table.append(
            [
                *named,
                str(len(rows)),
                f"{one['tokens']} x {one['token_dim']}",
                *(mean_text(of_seeds) for of_seeds in scores),
                f"{one['parameters']:,}",
                f"{seconds_text(one['seconds'])}, {one['steps']:,} steps",
            ]
        )
    return f"{markdown(table)}\n\nOn {result['machine']}."


def words_block(result: dict) -> str:
    """What stands between the markers ``words`` of the page."""
    heads = {"success": "success", "success_difference": "minus the first row", "seconds_per_plan": "s/plan"}
    table = [["plans aim at", "environment", *heads.values()]]
    for aim in dict.fromkeys(_named(row) for row in result["words"]):
        scores = [row["scores"] for row in result["words"] if _named(row) == aim]
        table.append([*aim, *(mean_text([score.get(metric) for score in scores]) for metric in heads)])
    return markdown(table)


def guards_block(result: dict) -> str:
    """What stands between the markers ``guards`` of the page."""
    rows = result["guards"]
    shown = evenly_spread(np.array(rows[0]["steps"]), 4).tolist() if rows else []
    heads = [f"rank, step {step}" for step in shown]
    table = [["guard", *heads, "deviation at the end", "collapsed from step", "trained in"]]
    for guard in dict.fromkeys(row["guard"] for row in rows):
        cells = [_cells_of_guard(row, shown) for row in rows if row["guard"] == guard]
        table.append([guard, *(" / ".join(of_seeds) for of_seeds in zip(*cells, strict=True))])
    return f"{markdown(table)}\n\n`cjepa study experiments/studies/guards.yaml`, on {result['machine']}."


def _cells_of_guard(row: dict, shown: list[int]) -> list[str]:
    """Of one seed."""
    ranks = [f"{row['effective_rank'][row['steps'].index(step)]:.1f}" for step in shown]
    end = [f"{row['deviation'][-1]:.3g}", str(collapsed_from(row) or "–")]
    return [*ranks, *end, seconds_text(row["training"]["seconds"])]


def draw_guards(rows: list[dict]) -> None:
    """Effective rank and deviation of the tokens over the steps, a line per guard and seed, into :data:`FIGURE`."""
    colours = dict(zip(GUARDS, series_colours(len(GUARDS)), strict=True))
    with style():
        figure = new_figure(7.2, 3.0)
        titles = {"effective_rank": "effective rank", "deviation": "standard deviation"}
        for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            for row in rows:
                axes.plot(row["steps"], row[key], color=colours[row["guard"]])
            axes.set(title=title, xlabel="optimizer steps", yscale="log")
            plain_log_ticks(axes.yaxis)
        names = dict.fromkeys(row["guard"] for row in rows)
        legend_below(figure, [Line2D([], [], color=colours[name], label=name) for name in names])
        with replacing(FIGURE) as partial:
            figure.savefig(partial, dpi=120, format="png")


def _training(path: Path) -> dict:
    record = read_json(path)
    return {
        "parameters": record["model"]["parameters"],
        "steps": record["model"]["optimizer_steps"],
        "seconds": record["seconds"],
        "commit": record["git"]["commit"] + ("-dirty" if record["git"]["dirty"] else ""),
    }


def _named(row: dict) -> tuple[str, str]:
    """What the rows of all seeds share: system and environment."""
    return row["system"], row["environment"]


def _first(scores: dict[str, dict], metrics: tuple[str, ...]) -> dict | None:
    return next((scores[metric] for metric in metrics if metric in scores), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--machine", default="one CPU core for each system, beside other work, no GPU")
    args = parser.parse_args()
    before = read_json(RESULTS)
    found = [row for study in args.studies for row in measured(study)]
    of_guards = [row for study in args.studies for row in guards(study)] or before["guards"]
    words = merged(before["words"], [row for study in args.studies for row in told(study)], KEY)
    rows = merged(before["rows"], found, KEY)
    result = {"machine": args.machine, "rows": rows, "words": words, "guards": of_guards}
    write_json(RESULTS, result)
    write_block(PAGE, "family", systems_block(result))
    write_block(PAGE, "words", words_block(result))
    write_block(PAGE, "guards", guards_block(result))
    if of_guards:
        draw_guards(of_guards)


if __name__ == "__main__":
    main()
