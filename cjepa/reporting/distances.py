"""Success at several distances of goals: names of the rows, and a sentence."""

from collections.abc import Iterable

from cjepa.reporting.tables import Row, by_model, success_text

DISTANCE = "goal_env_steps"
"""Key of rows that are of one of several distances: env steps from start to goal."""


def named_by_distance(rows: Iterable[Row]) -> list[Row]:
    """Rows of several distances with the distance in the model's name, so that no table takes them for one."""
    return [row | {"model": f"{row['model']}, goal +{row[DISTANCE]:g}"} if row.get(DISTANCE) else row for row in rows]


def of_one_distance(rows: Iterable[Row]) -> list[Row]:
    """The rows that are not of several distances."""
    return [row for row in rows if not row.get(DISTANCE)]


def distances_sentence(rows: Iterable[Row]) -> str:
    """``a reaches goals 25, 50 env steps ahead in 92, 60 [45, 73] %``; empty without several distances."""
    texts = []
    for model, points in success_at_distances(rows).items():
        steps = ", ".join(f"{distance:g}" for distance in points)
        success = ", ".join(map(success_text, points.values()))
        texts.append(f"{model} reaches goals {steps} env steps ahead in {success} %")
    return f"{'; '.join(texts)}." if texts else ""


def success_at_distances(rows: Iterable[Row]) -> dict[str, dict[float, Row]]:
    """Success of each model at each distance, in ascending order."""
    rows = [row for row in rows if row.get(DISTANCE)]
    lines: dict[str, dict[float, Row]] = {}
    for distance in sorted({row[DISTANCE] for row in rows}):
        for model, row in by_model((row for row in rows if row[DISTANCE] == distance), "success").items():
            lines.setdefault(model, {})[distance] = row
    return lines
