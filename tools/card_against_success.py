"""Which numbers of the model card go with success in planning, over all models of the study of world models.

    python tools/update_world_models.py runs/studies/world-models
    python tools/update_control.py runs/studies/control
    python tools/card_against_success.py

Reads what the others have written: cards, whole plans and plans made again after every block, and those of the study
of control, which begin at a policy's; writes docs/results/card_success.json and the tables of its page.
"""

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np
import update_control
import update_world_models
from update_results import DOCS, markdown, write_block

from cjepa.errors import UserError
from cjepa.evaluation.ranking import spearman
from cjepa.files import read_json, write_json

RESULTS, PAGE = DOCS / "results" / "card_success.json", DOCS / "results" / "card_success.md"
KINDS = {
    "plan": "whole plans",
    "replan": "planned again after every block",
    "control": "planned again after every block, from a policy",
}
_FEWEST_MODELS = 4
_SHOWN = 12
_RESAMPLES = 2000


def correlations(rows: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Spearman's correlation of every number of the card with success, the strongest first.

    Args:
        rows: one for each trained model, with all its ``scores``; those without a plan of this kind do not count.
        kind: of :data:`KINDS`.

    Returns:
        ``{metric, value, low, high, n}``; low and high are a 95 % bootstrap interval over the n models that have it.

    Raises:
        UserError: fewer than four models have such plans.
    """
    success = f"success, {kind}"
    planned = [row["scores"] for row in rows if success in row["scores"]]
    if len(planned) < _FEWEST_MODELS:
        raise UserError(f"{len(planned)} models have a card and plans, expected {_FEWEST_MODELS} or more")
    found = []
    for metric in sorted({name for scores in planned for name in scores if ", " not in name}):
        both = [(scores[metric]["value"], scores[success]["value"]) for scores in planned if metric in scores]
        pairs = np.array([pair for pair in both if pair[0] is not None and np.isfinite(pair[0])])
        if len(pairs) >= _FEWEST_MODELS and np.ptp(pairs, axis=0).all():
            value, low, high = _with_interval(*pairs.T)
            found.append({"metric": metric, "value": value, "low": low, "high": high, "n": len(pairs)})
    return sorted(found, key=lambda row: -abs(row["value"]))


def page_block(result: dict[str, Any]) -> str:
    """What stands between the markers of the page: of each kind the strongest that all its models have."""
    parts = []
    for kind, rows in result.items():
        table = [["number of the card", "Spearman with success [95 %]", "models"]]
        most = max(row["n"] for row in rows)
        for row in [row for row in rows if row["n"] == most][:_SHOWN]:
            bounds = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            table.append([f"`{row['metric']}`", bounds, str(row["n"])])
        parts += [f"{KINDS[kind].capitalize()}:", markdown(table)]
    return "\n\n".join(parts)


def _with_interval(value_M: np.ndarray, success_M: np.ndarray) -> tuple[float, float, float]:
    picks = np.random.default_rng(0).integers(0, len(value_M), (_RESAMPLES, len(value_M)))
    draws = spearman(value_M[picks], success_M[picks])
    low, high = np.nanpercentile(draws, [2.5, 97.5])  # NaN: a draw of one success rate alone
    return float(spearman(value_M[None], success_M[None])[0]), float(low), float(high)


def from_results() -> dict[str, list[dict[str, Any]]]:
    """The correlations of each kind of plans, from the results files of today."""
    files = (update_world_models.RESULTS, update_world_models.RIVALS_RESULTS)
    # success at other episodes, such as those of twice the speed, is another measure
    rows = [row for file in files for row in read_json(file)["rows"] if row["environment"] == "pusht"]
    of_each = {(row["model"], row["optimiser"], row["seed"]): row for row in rows}
    replanned = read_json(update_control.RESULTS)["rows"]
    for row in (row for row in replanned if row[update_control.DISTANCE] == update_control.NEAR_ENV_STEPS):
        if card := of_each.get((row["model"], "Muon", row["seed"])):
            card["scores"]["success, control"] = row["scores"]["success"]
    return {kind: correlations(of_each.values(), kind) for kind in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    result = from_results()
    write_json(RESULTS, result)
    write_block(PAGE, "card-success", page_block(result))


if __name__ == "__main__":
    main()
