"""A checkpoint goes on with the options it was trained with: a call that names others is refused, not ignored."""

from pathlib import Path
from typing import Any, NamedTuple

from cjepa.checkpoints import WEIGHTS, home_of
from cjepa.errors import UserError
from cjepa.run_config import read_config

_MAY_CHANGE = {"path", "num_workers"}
"""Options of the data: where the file is (its content is checked when training begins), and how fast it is read."""
_LONGEST = 60
"""Characters of a value in a message."""


class _Change(NamedTuple):
    key: str
    given: Any
    kept: Any


def check_model_kept(given: dict[str, Any], hyper_parameters: dict[str, Any], checkpoint: Path) -> None:
    """Check the model of a call against that of its checkpoint; options that the checkpoint lacks are left out.

    Args:
        given: ``class_path`` and ``init_args`` of the call, as plain values.
        hyper_parameters: of the checkpoint, with its class as ``_class_path``.
        checkpoint: for the message.

    Raises:
        UserError: the first option that differs is named, with both values.
    """
    kept = {name: value for name, value in hyper_parameters.items() if not name.startswith("_")}
    found = {**given.get("init_args", {}), **given.get("dict_kwargs", {})}
    _refuse(_first_change(found, kept, "model.init_args"), checkpoint)


def check_training_kept(given: dict[str, Any], checkpoint: Path) -> None:
    """Check the seed and the data of a continued training against the ``config.yaml`` of the run it continues.

    The trainer's options may change. Without a ``config.yaml`` there is nothing to compare.

    Args:
        given: the whole call, as plain values.
        checkpoint: what is continued.

    Raises:
        UserError: the first option that differs is named, with both values; the ``config.yaml`` cannot be read.
    """
    path = _config_of(checkpoint)
    if path is None:
        return
    kept = read_config(path)
    _refuse(_first_change(_compared(given), _compared(kept), ""), checkpoint)


def _config_of(checkpoint: Path) -> Path | None:
    """The ``config.yaml`` of the run that a checkpoint is of, if it lies where a run has its checkpoints."""
    path = home_of(checkpoint) / "config.yaml"
    is_of_run = checkpoint.name == WEIGHTS or checkpoint.absolute().parent.name == "checkpoints"
    return path if is_of_run and path.is_file() and path.stat().st_size else None  # empty: a kill in early versions


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    data = config.get("data") or {}
    options = {name: value for name, value in (data.get("init_args") or {}).items() if name not in _MAY_CHANGE}
    seed = {"seed_everything": config["seed_everything"]} if "seed_everything" in config else {}
    return seed | {"data": data | {"init_args": options}}


def _first_change(given: Any, kept: Any, key: str) -> _Change | None:
    """Where two plain values differ first.

    An option of a class does not count where only one of the two has it: versions differ in their options.
    """
    if isinstance(given, dict) and isinstance(kept, dict) and _has_options(kept, key):
        pairs = [(f"{key}.{name}".lstrip("."), given[name], kept[name]) for name in kept if name in given]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = [(f"{key}.{number}", *pair) for number, pair in enumerate(zip(given, kept, strict=True))]
    else:
        return None if given == kept else _Change(key, given, kept)
    changes = (_first_change(ours, theirs, name) for name, ours, theirs in pairs)
    return next((change for change in changes if change is not None), None)


def _has_options(mapping: dict[str, Any], key: str) -> bool:
    return not key or key.endswith("init_args") or "class_path" in mapping


def _refuse(change: _Change | None, checkpoint: Path) -> None:
    if change is None:
        return
    config = _config_of(checkpoint)
    source = "give the options of its training" if config is None else f"-c {config} has every option of the run"
    raise UserError(
        f"{change.key} is {_short(change.given)}, but {checkpoint} was trained with {_short(change.kept)}; "
        f"leave {change.key} out ({source}), or train a new run without --ckpt_path"
    )


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
