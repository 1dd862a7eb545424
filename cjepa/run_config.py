"""``config.yaml`` of a run, read back: its shape is checked here, once."""

from pathlib import Path
from typing import Any

from cjepa.plain_values import check_mapping, check_plain
from cjepa.yaml_files import read_yaml

_CONFIG = {"model": (dict,), "data": (dict,), "trainer": (dict,)}
_CLASS = {"class_path": (str,), "init_args": (dict,)}


def read_config(path: Path, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a run was configured with.

    Args:
        path: of ``config.yaml``.
        required: parts that are there.

    Raises:
        UserError: missing, not YAML, a required part is missing, or model or data is not a class with arguments.
    """
    config = read_yaml(path)
    check_plain(str(path), config, finite=False)
    check_mapping(f"{path}: the config", config, _CONFIG, tuple(key for key in required if key in _CONFIG))
    for part in ("model", "data"):
        check_mapping(f"{path}: {part}", config.get(part) or {}, _CLASS, ("class_path",) if config.get(part) else ())
    return config
