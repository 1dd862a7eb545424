"""What a file or a folder is, in a few lines."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cjepa.checkpoints import WEIGHTS, find_checkpoint, read_checkpoint
from cjepa.data.episodes import DamagedEpisode, Episodes
from cjepa.data.parts import PARTS
from cjepa.data.shards import ShardedEpisodes, open_episodes, shard_paths
from cjepa.errors import UserError
from cjepa.reporting.records import read_json

_SAMPLED_ROWS = 2000


def kind_of(path: Path) -> Literal["data", "checkpoint", "run", "study"]:
    """What there is: episodes or tokens in a file, a folder or a glob; a checkpoint; the folder of a run or a study.

    Raises:
        UserError: a folder of something else.
    """
    if path.suffix == ".ckpt" or path.name == WEIGHTS or (path / WEIGHTS).is_file():
        return "checkpoint"
    if not path.is_dir() or path.suffix == PARTS:
        return "data"
    for name, kind in (("run.json", "run"), ("study.json", "study")):
        if (path / name).is_file():
            return kind
    if any(path.glob("*.h5")):
        return "data"
    raise UserError(
        f"{path}: no run.json, study.json or .h5 files in it; expected a run folder, a study folder, a data set, "
        "an .h5 file or a .ckpt file"
    )


def inspect_path(path: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """Facts, and a table (header first, or empty) of columns.

    Raises:
        UserError: nothing is there, or nothing that this project knows.
    """
    kind = kind_of(path)
    if kind == "checkpoint":
        return _checkpoint_facts(find_checkpoint(str(path))), []
    if kind == "run":
        return _run_facts(path), []
    if kind == "study":
        return {"folder": str(path), **read_json(path / "study.json")}, []
    episodes = open_episodes(path)
    header = ["column", "dtype", "shape", "min", "mean", "max"]
    return _data_facts(episodes), [header, *map(list, _column_rows(episodes))]


def _data_facts(episodes: Episodes) -> dict[str, Any]:
    facts = {key: _parsed(value) for key, value in episodes.attributes.items()}
    lengths = episodes.lengths
    if isinstance(episodes, ShardedEpisodes):
        facts["files"] = [f"{shard.path.name}: {len(shard)} episodes" for shard in episodes.shards]
    size = sum(file.stat().st_size for file in shard_paths(episodes.path))
    facts |= {"episodes": len(episodes), "env_steps": episodes.env_steps, "megabytes": round(size / 1e6, 1)}
    facts["episode_env_steps"] = f"{lengths.min()} to {lengths.max()}" if len(episodes) else "none"
    return facts


def _column_rows(episodes: Episodes):
    """Ranges over the first rows: enough to see a wrong unit, and quick on a large file."""
    for name, (shape, dtype) in sorted(episodes.columns.items()):
        try:
            values = episodes.read(name, 0, min(_SAMPLED_ROWS, shape[0])).astype(np.float64)
            numbers = (values.min(), values.mean(), values.max()) if values.size else (np.nan,) * 3
            texts = tuple(f"{number:.4g}" for number in numbers)
        except DamagedEpisode:
            texts = ("damaged",) * 3
        yield name, str(dtype), " x ".join(map(str, shape)), *texts


def _run_facts(folder: Path) -> dict[str, Any]:
    facts = read_json(folder / "run.json")
    checkpoints = sorted(path.name for path in folder.glob("checkpoints/*.ckpt"))
    return {"folder": str(folder), "checkpoints": checkpoints, **facts}


def _checkpoint_facts(path: Path) -> dict[str, Any]:
    content = read_checkpoint(path)
    weights = [value for value in content["state_dict"].values() if isinstance(value, torch.Tensor)]
    return {
        "checkpoint": str(path),
        "class": content["hyper_parameters"].get("_class_path"),
        "values": sum(value.numel() for value in weights),
        "optimizer_steps": content["global_step"],
        "tokens_fingerprint": content.get("tokens_fingerprint"),
        "tokenizer": content.get("tokenizer"),
    }


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
    except json.JSONDecodeError:
        return value
