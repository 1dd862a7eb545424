"""Which numbers of the model card go with success in planning, over all models at hand; prints a table.

    python tools/card_against_success.py runs/studies/quickstart runs/more

A model counts that has a card (results_test.json, by `cjepa test RUN`) and a plan (results.json and run.json, by
`cjepa plan RUN`) below the folders. Writes docs/results/card_success.json.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from update_results import DOCS, markdown

from cjepa.errors import UserError
from cjepa.evaluation.ranking import spearman
from cjepa.files import read_json, write_json
from cjepa.reporting.records import TEST_RESULTS

RESULTS = DOCS / "results" / "card_success.json"
_FEWEST_MODELS = 4
_RESAMPLES = 2000


class Model(NamedTuple):
    """A model with its card and the outcome of its plans."""

    folder: str
    card: dict[str, float]
    """Metric name -> value; unknown values are left out."""
    success: float
    pairs: int


def find_models(folders: list[Path], execute_blocks: int) -> list[Model]:
    """All models below these folders that have both, sorted by folder.

    Args:
        folders: searched with all of their subfolders.
        execute_blocks: plans that execute another number of blocks before the next plan are not counted.

    Raises:
        UserError: a model has several plans of this kind, or fewer than four models have a card and a plan.
    """
    cards = {path.parent.resolve() for folder in folders for path in folder.rglob(TEST_RESULTS)}
    plans = _plans(folders, execute_blocks)
    models = []
    for card in sorted(cards):
        own = [plan for plan in plans if _is_of(plan, card)]
        if len(own) > 1:
            raise UserError(f"{card}: several plans, {own[0]} and {own[1]}; give folders with one of them")
        if own:
            rows = {row["metric"]: row["value"] for row in read_json(card / TEST_RESULTS)}
            values = {name: float(value) for name, value in rows.items() if value is not None and np.isfinite(value)}
            (success,) = (row for row in read_json(own[0] / "results.json") if row["metric"] == "success")
            models.append(Model(str(card), values, success["value"], success["n"]))
    if len(models) < _FEWEST_MODELS:
        where = ", ".join(map(str, folders))
        raise UserError(
            f"{where}: {len(models)} models have both a card and a plan, expected {_FEWEST_MODELS} or more; make them "
            "with `cjepa test RUN` and `cjepa plan RUN`"
        )
    return models


def correlations(models: list[Model]) -> list[dict[str, Any]]:
    """Spearman's correlation of every number of the card with success, the strongest first.

    Returns:
        ``{metric, value, low, high, n}``; low and high are a 95 % bootstrap interval over the n models that have it.
    """
    rows = []
    for metric in sorted({name for model in models for name in model.card}):
        pairs = np.array([(model.card[metric], model.success) for model in models if metric in model.card])
        if len(pairs) >= _FEWEST_MODELS and np.ptp(pairs, axis=0).all():
            value, low, high = _with_interval(*pairs.T)
            rows.append({"metric": metric, "value": value, "low": low, "high": high, "n": len(pairs)})
    return sorted(rows, key=lambda row: -abs(row["value"]))


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Rows as text, header first."""
    body = [[r["metric"], f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]", str(r["n"])] for r in rows]
    return [["number of the card", "Spearman with success [95 %]", "models"], *body]


def _plans(folders: list[Path], execute_blocks: int) -> list[Path]:
    found = sorted({path.parent.resolve() for folder in folders for path in folder.rglob("run.json")})
    with_results = [plan for plan in found if (plan / "results.json").is_file()]
    return [
        plan
        for plan in with_results
        if ((read_json(plan / "run.json").get("evaluation") or {}).get("execute_blocks") == execute_blocks)
        and any(row["metric"] == "success" for row in read_json(plan / "results.json"))
    ]


def _is_of(plan: Path, run: Path) -> bool:
    """Whether a plan was made with a checkpoint of a run; a record may name it from where the command was typed."""
    checkpoint = (read_json(plan / "run.json").get("model") or {}).get("checkpoint")
    if checkpoint is None:  # a baseline
        return False
    parts = Path(checkpoint).parent.parent.parts
    return run.parts[-len(parts) :] == parts


def _with_interval(value_M: np.ndarray, success_M: np.ndarray) -> tuple[float, float, float]:
    picks = np.random.default_rng(0).integers(0, len(value_M), (_RESAMPLES, len(value_M)))
    draws = spearman(value_M[picks], success_M[picks])
    low, high = np.nanpercentile(draws, [2.5, 97.5])  # NaN: a draw of one success rate alone
    return float(spearman(value_M[None], success_M[None])[0]), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="studies or folders of runs")
    parser.add_argument("--execute_blocks", type=int, default=5, help="of the plans that count (default: whole plans)")
    args = parser.parse_args()
    models = find_models(args.folders, args.execute_blocks)
    rows = correlations(models)
    shown = [{"folder": Path(m.folder).name, "success": m.success, "pairs": m.pairs} for m in models]
    write_json(RESULTS, {"execute_blocks": args.execute_blocks, "models": shown, "rows": rows})
    print(markdown(table(rows)))


if __name__ == "__main__":
    main()
