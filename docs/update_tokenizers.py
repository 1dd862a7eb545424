"""Copy the studies of tokenizers into docs/results/tokenizers.json and write the tables of docs/tokenizer-metrics.md.

python docs/update_tokenizers.py runs/studies/tokenizers-pusht runs/studies/tokenizers-collide
"""

import argparse
from pathlib import Path

import yaml
from update_results import markdown, write_block

from cjepa.reporting.records import TEST_RESULTS, read_json, write_json
from cjepa.reporting.tables import seconds_text

DOCS = Path(__file__).parent
PAGE = DOCS / "tokenizer-metrics.md"
STUDIES = DOCS.parent / "experiments" / "studies"
TITLES = {"pusht": "Push-T", "collide": "Collide"}
SCORES = {  # heading -> metrics, the first that was measured is shown
    "FG-ARI": ("fg_ari",),
    "over video": ("fg_ari_video",),
    "clip consistency": ("clip_consistency",),
    "place R²": ("mlp_r2@block_x", "mlp_r2@x"),
    "angle R²": ("mlp_r2@block_angle", "mlp_r2@square_angle"),
    "PSNR": ("psnr",),
}


def trained(study: Path, before: list[dict]) -> list[dict]:
    """One row for every tokenizer of a study and seed: what it took to train, and all its scores.

    Args:
        study: its folder.
        before: rows of the results file as it is.
    """
    rows = []
    definition = STUDIES / f"{study.name.replace('-', '_')}.yaml"
    for stage, content in yaml.safe_load(definition.read_text())["stages"].items():
        if content["command"] != "fit":
            continue
        folder = study / stage
        name, _, seed = stage.removeprefix("fit-").rpartition("-")
        environment = study.name.removeprefix("tokenizers-")
        if not (study / f"{name}-{seed}" / TEST_RESULTS).is_file():  # not done again: what was measured last time stays
            rows += [row for row in before if (row["environment"], row["tokenizer"]) == (environment, name)]
            continue
        record, data = read_json(folder / "run.json"), yaml.safe_load((folder / "config.yaml").read_text())["data"]
        scores = read_json(study / f"{name}-{seed}" / TEST_RESULTS)
        clips = data["init_args"]
        steps, processes = record["model"]["optimizer_steps"], record["model"].get("processes", 1)
        rows.append(
            {
                "environment": environment,
                "tokenizer": name,
                "seed": int(seed),
                "tokens": scores[0]["tokens"],
                "token_dim": scores[0]["token_dim"],
                "parameters": record["model"]["parameters"],
                "steps": steps,
                "frames": steps * processes * clips["batch_size"] * clips["train_blocks"],
                "seconds": record["seconds"],
                "peak_memory_mb": record["peak_memory_mb"],
                "commit": record["git"]["commit"] + ("-dirty" if record["git"]["dirty"] else ""),
                "scores": {row["metric"]: {k: row[k] for k in ("value", "low", "high", "n")} for row in scores},
            }
        )
    return rows


def page_block(result: dict) -> str:
    """What stands between the markers of the page."""
    parts = []
    for environment, title in TITLES.items():
        table = [["tokenizer", "seed", "tokens x dim", *SCORES, "parameters", "trained in", "frames/s"]]
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
        f"{row['parameters']:,}",
        f"{seconds_text(row['seconds'])}, {row['steps']:,} steps",
        f"{row['frames'] / row['seconds']:,.0f}",
    ]


def _score(score: dict) -> str:
    digits = 1 if score["high"] > 1.1 else 3  # dB, or shares
    return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--machine", default="one core of a CPU machine that was busy with other runs, no GPU")
    args = parser.parse_args()
    path = DOCS / "results" / "tokenizers.json"
    before = read_json(path)["rows"]
    result = {
        "commands": [f"cjepa study experiments/studies/{s.name.replace('-', '_')}.yaml" for s in args.studies],
        "machine": args.machine,
        "rows": [row for study in args.studies for row in trained(study, before)],
    }
    write_json(path, result)
    write_block(PAGE, "tokenizers", page_block(result))


if __name__ == "__main__":
    main()
