"""What an episode or token file says about itself: known attributes have the types that readers rely on."""

import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cjepa.configuration.plain_values import NUMBER, check_mapping
from cjepa.errors import UserError
from cjepa.files import parse_json

FORMATS = ("cjepa-episodes", "cjepa-tokens")
VERSION = 1

_TYPES = {name: (str,) for name in ("format", "cjepa", "env_id", "policy", "fingerprint")}
_TYPES |= {name: (str,) for name in ("tokenizer_fingerprint", "episodes_fingerprint", "episodes_path")}
_TYPES |= {"num_slots": (int,), "token_dim": (int,), "env_steps_per_second": NUMBER}
_IN_JSON: dict[str, type] = {"env_kwargs": dict, "policy_kwargs": dict, "tokenizer": dict}
_IN_JSON |= {name: list for name in ("body_names", "attribute_names", "twin_kinds", "excluded_episodes")}
_IN_JSON |= {"episode_names": list, "left_out": list}
_JSON = {dict: "object", list: "list"}
_NAMES = ("body_names", "attribute_names", "twin_kinds", "episode_names", "left_out")


def check_attributes(path: Path, attributes: dict[str, Any]) -> None:
    """Refuse a file whose known attributes are of other types than this project writes.

    Raises:
        UserError: the attribute is named.
    """
    where = f"{path}: its attributes"
    check_mapping(where, attributes, _TYPES | dict.fromkeys(_IN_JSON, (str,)), ("format", "fingerprint"))
    for name in _IN_JSON.keys() & attributes.keys():
        from_json(path, attributes, name)
    if not attributes.get("env_steps_per_second", 1) > 0:
        raise UserError(f"{where}: env_steps_per_second is {attributes['env_steps_per_second']}, expected more than 0")


def from_json(path: Path, attributes: dict[str, Any], name: str) -> Any:
    """The value of an attribute that is stored as JSON.

    Raises:
        UserError: it is missing, is not JSON, or is of another type than this project writes.
    """
    where = f"{path}: its attribute {name}"
    if name not in attributes:
        raise UserError(f"{where} is missing; make the file again")
    value = parse_json(where, attributes[name])
    if not isinstance(value, _IN_JSON[name]):
        raise UserError(f"{where} is {attributes[name][:60]}, expected a JSON {_JSON[_IN_JSON[name]]}")
    if name in _NAMES and not all(isinstance(entry, str) for entry in value):
        raise UserError(f"{where} is {attributes[name][:60]}, expected names")
    return value


def stored_attributes(file: h5py.File) -> dict[str, Any]:
    """What a file says of itself, as plain values where it is one value."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()}


def attributes_checksum(attributes: dict[str, Any]) -> int:
    """CRC32 of what a file says of itself; HDF5 itself would not notice that a letter of it has changed."""
    said = {key: value for key, value in attributes.items() if key not in ("crc32", "columns", "attributes_crc32")}
    return zlib.crc32(json.dumps(said, sort_keys=True, default=repr).encode())
