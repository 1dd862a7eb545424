"""The system record of a run in words: what made a result, what it was tested on, and how to repeat it."""

from collections.abc import Mapping
from typing import Any

from cjepa.reporting.summary import commit_text
from cjepa.reporting.tables import seconds_text

_GUARD, _FALLBACK = "against_collapse", "fallback"
_LINEAGE = ("path", "fingerprint")


def system_record(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every part that ``run.json`` has something for.

    Args:
        record: of a run, of any version of cjepa.
    """
    if not record:
        return []
    objective, data, actions = (dict(record.get(name) or {}) for name in ("objective", "data", "actions"))
    lineage = [str(data[name]) for name in _LINEAGE if data.get(name)]
    versions = {name: (record.get("versions") or {}).get(name) for name in ("cjepa", "torch")}
    seconds = record.get("seconds")
    entries = {
        "Model identity": in_words(record.get("model")),
        "Objective": in_words(_without(objective, _GUARD)),
        "Collapse guard": in_words(objective.get(_GUARD)),
        "Data lineage": _joined(*lineage, in_words(_without(data, *_LINEAGE))),
        "Evaluation boundary": in_words(record.get("evaluation")),
        "Action stack": in_words(_without(actions, _FALLBACK)),
        "Fallback": in_words(actions.get(_FALLBACK)),
        "Uncertainty": in_words(record.get("uncertainty")) or "no signal",
        "Failures": in_words(record.get("failures")),
        "Change control": _joined(commit_text(record.get("git") or {}), in_words(versions)),
        "Audit trail": _joined(record.get("finished"), seconds and seconds_text(seconds), record.get("command")),
    }
    return [(name, text) for name, text in entries.items() if text]


def in_words(value: Any) -> str:
    """A plain value as text: a class before its arguments, what is inside of something in parentheses.

    What is None or empty is left out.
    """
    if isinstance(value, Mapping):
        rest = [(key, entry) for key, entry in value.items() if key != "class"]
        said = ", ".join(f"{key} {text}" for key, entry in rest if (text := _inside(entry)))
        name = in_words(value.get("class"))
        return f"{name} ({said})" if name and said else name or said
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_inside, value)))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _inside(value: Any) -> str:
    text = in_words(value)
    is_named = isinstance(value, Mapping) and "class" in value
    return f"({text})" if text and isinstance(value, Mapping | list | tuple) and not is_named else text


def _without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: entry for key, entry in value.items() if key not in keys}


def _joined(*texts: Any) -> str:
    return ", ".join(str(text) for text in texts if text)
