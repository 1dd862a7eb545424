"""A checkpoint goes on with the options it was trained with: a call that names others is refused, not ignored."""

import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.checkpoints import WEIGHTS, home_of
from cjepa.configuration.run_config import read_config
from cjepa.errors import UserError

_MAY_CHANGE = {"path", "num_workers"}
"""Options of the data: where the file is (its content is checked when training begins), and how fast it is read."""
_PLAIN = (type(None), bool, int, float, str, list)
"""Types of defaults that a config says in the same way."""
_LONGEST = 60
"""Characters of a value in a message."""


class _Change(NamedTuple):
    key: str
    given: Any
    kept: Any
    is_default: bool = False
    """Whether the checkpoint does not know the option, so that ``kept`` is the default of its class."""


def check_model_kept(given: dict[str, Any], hyper_parameters: dict[str, Any], checkpoint: Path) -> None:
    """Check the model of a call against that of its checkpoint.

    An option that came after the checkpoint is not in it: the model is then built with the default of its class.

    Args:
        given: ``class_path`` and ``init_args`` of the call, as plain values.
        hyper_parameters: of the checkpoint, with its class as ``_class_path``.
        checkpoint: for the message.

    Raises:
        UserError: the first option that differs is named, with both values.
    """
    kept = {name: value for name, value in hyper_parameters.items() if not name.startswith("_")}
    found = {**given.get("init_args", {}), **given.get("dict_kwargs", {})}
    _refuse(_first_change(found, kept, "model.init_args", given["class_path"]), checkpoint)


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


def _first_change(given: Any, kept: Any, key: str, owner: str | None = None) -> _Change | None:
    """Where two plain values differ first; an option that only ``kept`` has does not count: versions differ in theirs.

    Args:
        given: of the call.
        kept: of the checkpoint, or of the run's ``config.yaml``.
        key: of both.
        owner: the class, by its path, whose options the two are; None if they are something else.
    """
    if isinstance(given, dict) and isinstance(kept, dict) and _has_options(kept, key):
        inside = given.get("class_path")
        found = (_first_change(given[name], kept[name], _below(key, name), inside) for name in kept if name in given)
        changes = chain(found, _not_the_default(given, kept, key, owner))
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        changes = (_first_change(*pair, _below(key, str(number))) for number, pair in pairs)
    else:
        return None if given == kept else _Change(key, given, kept)
    return next((change for change in changes if change is not None), None)


def _not_the_default(given: dict[str, Any], kept: dict[str, Any], key: str, owner: str | None) -> Iterator[_Change]:
    """Options that ``kept`` does not know and that differ from the defaults of their class."""
    defaults = _defaults(owner) if owner else {}
    for name in given:
        if name in defaults and name not in kept and given[name] != defaults[name]:
            yield _Change(_below(key, name), given[name], defaults[name], is_default=True)


def _defaults(class_path: str) -> dict[str, Any]:
    """The plain defaults of what a class takes, also from its base classes; of a function likewise."""
    module, _, name = class_path.rpartition(".")
    taken = getattr(import_module(module), name)
    makers = [cls.__init__ for cls in reversed(taken.__mro__)] if inspect.isclass(taken) else [taken]
    options = (option for maker in makers for option in inspect.signature(maker).parameters.values())
    defaults = {option.name: option.default for option in options if option.default is not option.empty}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    return {name: value for name, value in plain.items() if isinstance(value, _PLAIN)}


def _below(key: str, name: str) -> str:
    return f"{key}.{name}".lstrip(".")


def _has_options(mapping: dict[str, Any], key: str) -> bool:
    return not key or key.endswith("init_args") or "class_path" in mapping


def _refuse(change: _Change | None, checkpoint: Path) -> None:
    if change is None:
        return
    config = _config_of(checkpoint)
    if change.is_default:
        own = "" if config is None else f", or use the run's own config: -c {config}"
        raise UserError(
            f"{change.key} is {_short(change.given)}, but {checkpoint} is older than this option and was trained as "
            f"with {_short(change.kept)}; type --{change.key} {_short(change.kept)}{own}"
        )
    source = "give the options of its training" if config is None else f"-c {config} has every option of the run"
    raise UserError(
        f"{change.key} is {_short(change.given)}, but {checkpoint} was trained with {_short(change.kept)}; "
        f"leave {change.key} out ({source}), or train a new run without --ckpt_path"
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)  # as YAML and command lines have it
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
