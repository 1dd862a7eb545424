"""Several planner seeds on the same pairs, as one row for all and one for each."""

from collections.abc import Iterable, Sequence

import numpy as np

from cjepa.evaluation.planning.against import Rival
from cjepa.evaluation.planning.contest import Contest
from cjepa.evaluation.planning.pairs import Pairs
from cjepa.reporting.plan import Agents, fallback_row, joined, success_rows
from cjepa.reporting.tables import Row

_OF_A_SEED = "success_seed_"
_COMMON = ("model", "tokens", "token_dim", "split")


def rows_of_seeds(
    rows: Sequence[list[Row]], contests: Sequence[Contest], agents: Sequence[Agents], run: str
) -> list[Row]:
    """Rows of all seeds together, and ``success_seed_K`` of each; rows of other metrics stay those of each seed.

    Intervals take the episodes of the pairs for independent, whatever the number of seeds is.

    Args:
        rows: of each seed.
        contests: of each seed, on the same pairs.
        agents: of each seed, the same ones.
        run: name of the folder of all seeds.
    """
    contest = _of_all(contests)
    pooled: list[Row] = []
    for name in agents[0]:
        of_seeds = [_success(part, name) for part in rows]
        common = {key: of_seeds[0][key] for key in _COMMON} | {"run": run}
        together = joined([part[name] for part in agents])
        pooled += success_rows(together, contest, common)
        if any(row["metric"] == "fallbacks" for row in rows[0]):
            pooled.append(fallback_row(together, contest, common))
        pooled += [row | {"metric": f"{_OF_A_SEED}{row['seed']}"} for row in of_seeds]
    metrics = {row["metric"] for row in pooled}
    return pooled + [row for part in rows for row in part if row["metric"] not in metrics]


def named_by_seed(rows: Iterable[Row]) -> list[Row]:
    """Rows in which success of a seed is that of an agent named after the seed, for a table."""
    return [
        row | {"metric": "success", "model": f"{row['model']}, seed {row['metric'].removeprefix(_OF_A_SEED)}"}
        if row["metric"].startswith(_OF_A_SEED)
        else row
        for row in rows
    ]


def _success(rows: list[Row], model: str) -> Row:
    return next(row for row in rows if row["metric"] == "success" and row["model"] == model)


def _of_all(contests: Sequence[Contest]) -> Contest:
    """The trials of all seeds, one after the other; rivals are those that all have."""
    first = contests[0]
    trials = [pair for contest in contests for pair in contest.pairs.trials]
    rivals = []
    for rival in first.rivals:
        same = [found for contest in contests for found in contest.rivals if found.model == rival.model]
        if len(same) == len(contests):
            rivals.append(Rival(rival.model, "all seeds", np.concatenate([found.success_N for found in same])))
    return first._replace(pairs=Pairs(trials, first.pairs.num_trivial), rivals=tuple(rivals))
