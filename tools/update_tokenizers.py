"""Copy the studies of tokenizers into docs/results/tokenizers.json and write the tables of docs/results/tokenizers.md.

python tools/update_tokenizers.py runs/studies/tokenizers-pusht runs/studies/tokenizers-collide
"""

import argparse
from pathlib import Path

import yaml
from update_results import markdown, write_block

from cjepa.files import read_json, write_json
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.tables import seconds_text
from cjepa.studies.definition import load_study

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "tokenizers.md"
STUDIES = DOCS.parent / "experiments" / "studies"
TITLES = {"pusht": "Push-T", "collide": "Collide"}
SCORES = {  # heading -> metrics, the first that was measured is shown
    "FG-ARI": ("fg_ari",),
    "over video": ("fg_ari_video",),
    "clip consistency": ("clip_consistency",),
    "place R²": ("mlp_r2@block_x", "mlp_r2@x"),
    "angle R²": ("mlp_r2@block_angle", "mlp_r2@square_angle"),
    "kept, hidden 5": ("kept_hidden@5",),
    "PSNR": ("psnr",),
}


def measured(study: Path, before: list[dict]) -> list[dict]:
    """One row for every tokenizer of a study and seed: what it took to train, if it was, and all its scores.

    Args:
        study: its folder.
        before: rows of the results file as it is; of what was not done again, what was measured last time stays.
    """
    rows = []
    environment = study.name.removeprefix("tokenizers-")
    definition = STUDIES / f"{study.name.replace('-', '_')}.yaml"
    stages = {stage.name: stage.command for stage in load_study(definition).stages}
    for stage in (name for name, command in stages.items() if command == "test"):
        name, _, seed = stage.rpartition("-")
        key = {"environment": environment, "tokenizer": name, "seed": int(seed)}
        if not (study / stage / TEST_RESULTS).is_file():
            rows += [row for row in before if key.items() <= row.items()]
            continue
        scores = read_json(study / stage / TEST_RESULTS)
        training = _training(study / f"fit-{stage}") if f"fit-{stage}" in stages else {}
        size = {name: scores[0][name] for name in ("tokens", "token_dim")}
        values = {row["metric"]: {k: row[k] for k in ("value", "low", "high", "n")} for row in scores}
        rows.append(key | size | training | {"tested_at": scores[0]["git"], "scores": values})
    return rows


def _training(run: Path) -> dict:
    record, data = read_json(run / "run.json"), yaml.safe_load((run / "config.yaml").read_text())["data"]
    clips = data["init_args"]
    steps, processes = record["model"]["optimizer_steps"], record["model"].get("processes", 1)
    return {
        "parameters": record["model"]["parameters"],
        "steps": steps,
        "frames": steps * processes * clips["batch_size"] * clips["train_blocks"],
        "seconds": record["seconds"],
        "peak_memory_mb": record["peak_memory_mb"],
        "commit": record["git"]["commit"] + ("-dirty" if record["git"]["dirty"] else ""),
    }


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    parts = []
    for environment, title in TITLES.items():
        table = [["tokenizer", "seed", "tokens x dim", *SCORES, "parameters", "trained in", "training frames/s"]]
        for row in result["rows"]:
            if row["environment"] == environment:
                table.append(_cells(row))
        parts += [f"{title}, `cjepa study experiments/studies/tokenizers_{environment}.yaml`:", markdown(table)]
    return "\n\n".join([*parts, f"On {result['machine']}."])


def _cells(row: dict) -> list[str]:
    scores = [next((row["scores"][name] for name in names if name in row["scores"]), None) for names in SCORES.values()]
    return [
        row["tokenizer"],
        str(row["seed"]),
        f"{row['tokens']} x {row['token_dim']}",
        *("" if score is None or score["value"] is None else _score(score) for score in scores),
        *_training_cells(row),
    ]


def _training_cells(row: dict) -> list[str]:
    if "seconds" not in row:
        return ["–", "not trained", "–"]
    taken = f"{seconds_text(row['seconds'])}, {row['steps']:,} steps"
    return [f"{row['parameters']:,}", taken, f"{row['frames'] / row['seconds']:,.0f}"]


def _score(score: dict) -> str:
    digits = 1 if score["high"] > 1.1 else 3  # dB, or shares
    return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    machine = "two CPU cores (slots), or one that other runs kept busy (all others), no GPU"
    parser.add_argument("--machine", default=machine)
    args = parser.parse_args()
    path = DOCS / "results" / "tokenizers.json"
    before = read_json(path)["rows"]
    result = {
        "commands": [f"cjepa study experiments/studies/{s.name.replace('-', '_')}.yaml" for s in args.studies],
        "machine": args.machine,
        "rows": [row for study in args.studies for row in measured(study, before)],
    }
    write_json(path, result)
    write_block(PAGE, "tokenizers", page_block(result))


if __name__ == "__main__":
    main()
