"""What a report says first: sentences made from result rows, and where and when the results were measured."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from cjepa.counts import number_of
from cjepa.evaluation.planning.published import PUBLISHED_SPLIT
from cjepa.reporting.causal_claims import causal_sentences
from cjepa.reporting.distances import distances_sentence, of_one_distance
from cjepa.reporting.rungs import PLANNING, PREDICTION, REPRESENTATION, SHIFT, is_shifted
from cjepa.reporting.tables import (
    ERROR_PREFIX,
    Row,
    by_model,
    enumeration,
    error_blocks,
    features,
    seconds_text,
    success_text,
    value_with_interval,
)

_GROUPING = ("fg_ari_video", "fg_ari")


class Claim(NamedTuple):
    """A sentence, and the rung of evidence that it stands on."""

    text: str
    rung: str


def summary(rows: Iterable[Row]) -> list[Claim]:
    """Plain sentences about success, prediction, causes and planning time; empty where none was measured.

    Models with tokens are compared with each other; those without (random actions, the simulator) are references.
    """
    rows = list(rows)
    shifted = of_one_distance(row for row in rows if is_shifted(row))
    rows = [row for row in rows if not is_shifted(row)]
    one_distance = of_one_distance(rows)
    held_out, as_published = ([row for row in one_distance if _is_published(row) is wanted] for wanted in (False, True))
    claims = [Claim(_success(by_model(held_out, "success")), PLANNING)]
    claims.append(Claim(_shifted(by_model(shifted, "success")), SHIFT))
    claims.append(Claim(_as_published(by_model(as_published, "success")), PLANNING))
    claims.append(Claim(distances_sentence(rows), PLANNING))
    if blocks := error_blocks(rows):
        claims.append(Claim(_errors(by_model(rows, f"{ERROR_PREFIX}{blocks[-1]}"), blocks[-1]), PREDICTION))
    claims += [Claim(text, PREDICTION) for text in causal_sentences(rows)]
    claims.append(Claim(_seconds(by_model(rows, "seconds_per_plan")), PLANNING))
    claims.append(Claim(_grouping(rows), REPRESENTATION))
    return [claim for claim in claims if claim.text]


def facts(records: list[dict[str, Any]], seconds: float, written: datetime) -> list[tuple[str, str]]:
    """Name and value of what identifies a report: date, machine, version, code, time.

    Args:
        records: the ``run.json`` of every stage.
        seconds: of all stages together; 0 if unknown.
        written: when the newest record was written, for records that do not say it.
    """
    dates = sorted({record["finished"][:10] for record in records if record.get("finished")})
    versions = [record.get("versions") or {} for record in records]
    machines = [record.get("machine") or found.get("platform") for record, found in zip(records, versions, strict=True)]
    entries = {
        "Measured": " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else f"{written:%Y-%m-%d}",
        "Machine": _listed(machines),
        "Version": _listed(f"cjepa {found['cjepa']}" if "cjepa" in found else None for found in versions),
        "Code": _listed(commit_text(record.get("git") or {}) for record in records),
        "Time": seconds_text(seconds) if seconds else "",
    }
    return [(name, text) for name, text in entries.items() if text]


def commit_text(state: dict[str, Any]) -> str:
    """Commit and whether the tree had changes, of the ``git`` of a record; empty if unknown."""
    commit = state.get("commit")
    return f"{str(commit)[:12]}{' with uncommitted changes' if state.get('dirty') else ''}" if commit else ""


def _success(found: dict[str, Row]) -> str:
    models, others = _split(found)
    if not found:
        return ""
    if not models:
        return f"Planning success: {enumeration(f'{name} {_rate(row)}' for name, row in others.items())}."
    best = max(models, key=lambda name: models[name]["value"])
    text = f"{best} reaches the goal in {_rate(models[best])} of {_trials(models[best])}"
    if len(models) > 1:
        equal = [name for name, row in models.items() if name != best and row["value"] == models[best]["value"]]
        text = f"Of {len(models)} models that plan, {text}, the highest success"
        text += f", shared with {enumeration(equal)}" if equal else ""
        close = [name for name, row in models.items() if name not in (best, *equal) and _overlap(row, models[best])]
        text += f"; its interval overlaps with that of {enumeration(close)}" if close else ""
    references = enumeration(f"{name} {_rate(row)}" for name, row in others.items())
    return f"{text}. For reference: {references}." if references else f"{text}."


def _is_published(row: Row) -> bool:
    return row.get("split") == PUBLISHED_SPLIT


def _shifted(found: dict[str, Row]) -> str:
    rates = enumeration(f"{name} {_rate(row)}" for name, row in found.items())
    return f"Where the environment differs from its episodes: {rates}." if found else ""


def _as_published(found: dict[str, Row]) -> str:
    if not found:
        return ""
    return (
        "Not comparable with held-out pairs (drawn from training episodes, pairs solved at the start included): "
        f"{enumeration(f'{name} {_rate(row)}' for name, row in found.items())}."
    )


def _errors(found: dict[str, Row], blocks: int) -> str:
    if not found:
        return ""
    best = min(found, key=lambda name: found[name]["value"])
    lowest = ", the lowest error" if len(found) > 1 else ""
    after = f"{blocks} block{'s' if blocks > 1 else ''}"
    return (
        f"After {after}, the prediction error of {best} is {value_with_interval(found[best])} of the error of copying "
        f"the last frame{lowest}."
    )


def _seconds(found: dict[str, Row]) -> str:
    models, _ = _split(found)
    if not models:
        return ""
    fast = min(models, key=lambda name: models[name]["value"])
    text = f"A plan takes {seconds_text(models[fast]['value'])} with {fast}"
    slow = max(models, key=lambda name: models[name]["value"])
    return f"{text} and {seconds_text(models[slow]['value'])} with {slow}." if slow != fast else f"{text}."


def _grouping(rows: list[Row]) -> str:
    for metric in _GROUPING:
        if found := by_model(rows, metric):
            best = max(found, key=lambda name: found[name]["value"])
            highest = f", the highest of {len(found)}" if len(found) > 1 else ""
            return f"{best} separates objects with {metric} {value_with_interval(found[best])}{highest}."
    return ""


def _split(found: dict[str, Row]) -> tuple[dict[str, Row], dict[str, Row]]:
    """Models with tokens, and the others."""
    models = {name: row for name, row in found.items() if features(row)}
    return models, {name: row for name, row in found.items() if name not in models}


def _rate(row: Row) -> str:
    value, bracket, interval = success_text(row).partition(" [")
    return f"{value} %{bracket}{interval}"


def _trials(row: Row) -> str:
    return number_of(row["n"], "trial") if row.get("n") else "its trials"


def _overlap(one: Row, other: Row) -> bool:
    bounds = [row.get(key) for row in (one, other) for key in ("low", "high")]
    return None not in bounds and one["high"] >= other["low"] and other["high"] >= one["low"]


def _listed(texts: Iterable[str | None]) -> str:
    return "; ".join(dict.fromkeys(str(text) for text in texts if text))
