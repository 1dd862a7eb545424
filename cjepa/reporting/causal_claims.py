"""Sentences about what models know of causes: influence graphs, effects of interventions, answers to questions."""

from collections.abc import Iterable

from cjepa.reporting.tables import Row, by_model, value_with_interval

_TYPES = ("descriptive", "explanatory", "predictive", "counterfactual")
_TEXT_ONLY = "text only"


def causal_sentences(rows: Iterable[Row]) -> list[str]:
    """What was measured of causes; empty sentences are left out."""
    rows = list(rows)
    return [text for text in (_influence(rows), _effects(rows), _questions(rows)) if text]


def _influence(rows: list[Row]) -> str:
    found = _whole(by_model(rows, "influence_auroc"))
    models = {name: row for name, row in found.items() if str(row.get("unit")).startswith("by ")}
    if not models:
        return ""
    best, value = _best(models)
    text = f"The influence graph of {best} has an AUROC of {value}{_among(models)}"
    rivals = {name: row for name, row in found.items() if name not in models}
    return f"{text}; without a model, {' has '.join(_best(rivals))}." if rivals else f"{text}."


def _effects(rows: list[Row]) -> str:
    found = _whole(by_model(rows, "effect_correlation"))
    if not found:
        return ""
    best, value = _best(found)
    return f"What interventions change correlates with the simulator by {value} in {best}{_among(found)}."


def _questions(rows: list[Row]) -> str:
    parts = []
    for kind in _TYPES:
        found = by_model(rows, f"question_accuracy@{kind}")
        text_only = found.pop(_TEXT_ONLY, None)
        if found:
            best, value = _best(found)
            beside = f"; {_TEXT_ONLY} {value_with_interval(text_only)}" if text_only else ""
            parts.append(f"{value} of {kind} ones ({best}{beside})")
    return f"Questions answered right: {', '.join(parts)}." if parts else ""


def _whole(found: dict[str, Row]) -> dict[str, Row]:
    """Without rows of one estimate or one kind of intervention, which are named ``MODEL: WAY``."""
    return {name: row for name, row in found.items() if ": " not in name}


def _best(found: dict[str, Row]) -> tuple[str, str]:
    """Name, and value with interval, of the highest."""
    name = max(found, key=lambda name: found[name]["value"])
    return name, value_with_interval(found[name])


def _among(found: dict[str, Row]) -> str:
    return f", the highest of {len(found)} models" if len(found) > 1 else ""
