"""``config.yaml`` of a run, read back: its shape is checked here, once; and where a running training's folder is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cjepa.checkpoints import home_of, read_checkpoint
from cjepa.configuration.plain_values import check_mapping, check_plain
from cjepa.configuration.yaml_files import read_yaml

if TYPE_CHECKING:
    import lightning as L

TESTING_VERBS = ("validate", "test", "predict")
"""Commands that take the config of the run that they name."""
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


def data_options(checkpoint: Path) -> dict[str, Any]:
    """Options of the data module that a model was trained with, as far as they are known."""
    stored = read_checkpoint(checkpoint).get("datamodule_hyper_parameters")
    config = home_of(checkpoint) / "config.yaml"
    if stored or not config.is_file():
        return stored or {}
    return (read_config(config).get("data") or {}).get("init_args") or {}


def run_folder(trainer: "L.Trainer") -> Path:
    """The folder of the run that a trainer makes: that of its first logger, which `cjepa fit` sees to.

    The trainer's ``default_root_dir`` may be elsewhere: it belongs to the user.
    """
    return Path(getattr(trainer.logger, "log_dir", None) or trainer.default_root_dir)
