"""Facts about a file or a folder."""

import math
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from cjepa.artifacts.data_card import data_card
from cjepa.checkpoints import WEIGHTS, find_checkpoint, read_checkpoint
from cjepa.data.store.episodes import DamagedEpisode, Episodes
from cjepa.data.store.parts import PARTS
from cjepa.data.store.shards import ShardedEpisodes, open_episodes, shard_paths
from cjepa.errors import UserError
from cjepa.files import parse_json
from cjepa.reporting.reading import read_run, read_study

_EXPECTED = "a run folder, a study folder, a data set, an .h5 file or a .ckpt file"
_MOST_SHOWN = 30
"""Entries of a mapping that a person is shown; the record of a run's code has one per module."""
_RANGE = ("min", "mean", "max")
_SAMPLED_BYTES = 64e6  # of a column, and so of memory


def kind_of(path: Path) -> Literal["data", "checkpoint", "run", "study"]:
    """What there is: episodes or tokens in a file, a folder or a glob; a checkpoint or zoo:NAME; a run or a study.

    Raises:
        UserError: a file or a folder of something else.
    """
    if path.suffix == ".ckpt" or path.name == WEIGHTS or (path / WEIGHTS).is_file() or str(path).startswith("zoo:"):
        return "checkpoint"
    if path.is_file() and path.suffix != ".h5" and not h5py.is_hdf5(path):
        folder = next((folder for folder in path.parents if _record_kind(folder)), None)
        belongs = f"; it belongs to the {_record_kind(folder)} {folder}" if folder else ""
        raise UserError(f"{path}: neither data nor a checkpoint; expected {_EXPECTED}{belongs}")
    if not path.is_dir() or path.suffix == PARTS:
        return "data"
    if kind := _record_kind(path):
        return kind
    if any(path.glob("*.h5")):
        return "data"
    raise UserError(f"{path}: contains no run.json, study.json or .h5 file; expected {_EXPECTED}")


def _record_kind(folder: Path) -> Literal["run", "study"] | None:
    return next((kind for kind in ("run", "study") if (folder / f"{kind}.json").is_file()), None)


def inspect_path(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts, and for each column of data its name, dtype, shape and range, see :func:`column_table`.

    Raises:
        UserError: nothing is there, or nothing that this project knows.
    """
    kind = kind_of(path)
    if kind == "checkpoint":
        return _checkpoint_facts(find_checkpoint(str(path))), []
    if kind == "run":
        return _run_facts(path), []
    if kind == "study":
        return {"folder": str(path), **read_study(path / "study.json")}, []
    episodes = open_episodes(path)
    rows = _sampled_rows(episodes)
    columns = [
        {"column": name, "dtype": str(dtype), "shape": list(shape), **_range(episodes, name, rows)}
        for name, (shape, dtype) in sorted(episodes.columns.items())
    ]
    facts = _data_facts(episodes) | {"ranges_are_of_the_first_rows": rows}
    return facts if "tokens" in episodes.columns else facts | {"data_card": data_card(episodes)}, columns


def column_table(columns: list[dict[str, Any]]) -> list[list[str]]:
    """The columns as texts, header first; nothing of nothing."""
    rows = [
        [column["column"], column["dtype"], " x ".join(map(str, column["shape"]))]
        + ["damaged" if column["damaged"] else _short(column[name]) for name in _RANGE]
        for column in columns
    ]
    return [["column", "dtype", "shape", *_RANGE], *rows] if rows else []


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """The facts for a person: a line each, of a list of mappings, such as the stages of a study, a line per mapping."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and len(value) > _MOST_SHOWN:
            value = f"{len(value)} entries; --json shows them"
        listed = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        lines += [f"{key}:", *(f"  {item}" for item in value)] if listed else [f"{key}: {value}"]
    return lines


def _data_facts(episodes: Episodes) -> dict[str, Any]:
    facts = {key: _parsed(value) for key, value in episodes.attributes.items()}
    if isinstance(episodes, ShardedEpisodes):
        facts["files"] = {str(shard.path): len(shard) for shard in episodes.shards}
    size = sum(file.stat().st_size for file in shard_paths(episodes.path))
    facts |= {"episodes": len(episodes), "env_steps": episodes.env_steps, "megabytes": round(size / 1e6, 1)}
    for name, extreme in (("shortest", min), ("longest", max)):
        facts[f"{name}_episode_env_steps"] = extreme(episodes.lengths.tolist(), default=None)
    return facts


def _sampled_rows(episodes: Episodes) -> int:
    """How many first rows the ranges are of: enough to see a wrong unit, and quick on a large file."""
    row_bytes = [dtype.itemsize * math.prod(shape[1:]) for shape, dtype in episodes.columns.values()]
    return min(episodes.env_steps, max(1, int(_SAMPLED_BYTES / max([1, *row_bytes]))))


def _range(episodes: Episodes, column: str, rows: int) -> dict[str, float | None]:
    nothing = dict.fromkeys(_RANGE)
    try:
        values = episodes.read(column, 0, rows)
    except DamagedEpisode:
        return {**nothing, "damaged": True}
    if not values.size:
        return {**nothing, "damaged": False}
    mean = values.mean(dtype=np.float64)  # adds up as float64, without a copy of all values
    return {"min": values.min().item(), "mean": mean.item(), "max": values.max().item(), "damaged": False}


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.4g}"


def _run_facts(folder: Path) -> dict[str, Any]:
    facts = read_run(folder / "run.json")
    checkpoints = sorted(path.name for path in folder.glob("checkpoints/*.ckpt"))
    return {"folder": str(folder), "checkpoints": checkpoints, **facts}


def _checkpoint_facts(path: Path) -> dict[str, Any]:
    import torch  # takes seconds, and data need no torch

    content = read_checkpoint(path)
    weights = [value for value in content["state_dict"].values() if isinstance(value, torch.Tensor)]
    return {
        "checkpoint": str(path),
        "class": content["hyper_parameters"].get("_class_path"),
        "values": sum(value.numel() for value in weights),
        "optimizer_steps": content.get("global_step"),
        "tokenizer_fingerprint": content.get("tokenizer_fingerprint") or content.get("tokens_fingerprint"),
        "tokenizer": content.get("tokenizer"),
    }


def _parsed(value: Any) -> Any:
    try:
        return parse_json("", value) if isinstance(value, str) and value[:1] in ("{", "[") else value
    except UserError:
        return value
