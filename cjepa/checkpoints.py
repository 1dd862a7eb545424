"""Checkpoints: found by what a user types, and read without running anything."""

import importlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cjepa.configuration.class_paths import HOW_TO_FIND, look_in_current_folder
from cjepa.configuration.moved import current
from cjepa.configuration.parser_messages import one_line
from cjepa.configuration.plain_values import check_mapping, check_plain
from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.tensor_files import check_plain_tensor, load_tensors

if TYPE_CHECKING:  # torch and Lightning take seconds to import; finding a checkpoint needs neither
    import lightning as L

ZOO = Path(__file__).parent / "zoo"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_WITH_CLASS_PATHS = ("hyper_parameters", "datamodule_hyper_parameters", "tokenizer")
_PARTS = {"state_dict": (dict,), "hyper_parameters": (dict,), "datamodule_hyper_parameters": (dict,)}
_PARTS |= {"tokenizer": (dict,), "lineage": (dict,), "loops": (dict,), "callbacks": (dict,)}
_PARTS |= {name: (str,) for name in ("tokenizer_fingerprint", "tokens_fingerprint", "env_id", "run_folder")}
_PARTS |= {"global_step": (int,)}
_PARTS |= {"optimizer_states": (list,), "lr_schedulers": (list,), "pytorch-lightning_version": (str,)}
_INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
_LINEAGE = {"episodes_fingerprint": (str,), "split_seed": (int,), "excluded": (list,), "identities": (list,)}
_MISFITS = {
    r'Missing key\(s\) in state_dict: "(.+?)"': "they lack {}",
    r'Unexpected key\(s\) in state_dict: "(.+?)"': "they have {}, which the model does not",
    r"size mismatch for ([^:]+)": "{} has another shape",
}
"""Of an error of torch, and what it means."""

Module = TypeVar("Module", bound="L.LightningModule")


class RunKind(NamedTuple):
    """What the runs of a class are: its attribute ``kind``, for messages to whoever gives a run of another kind."""

    name: str
    """With its article."""
    made_by: str
    """The command that makes one."""
    used_by: str
    """The command that takes one as RUN."""


def find_checkpoint(run: str) -> Path:
    """The checkpoint that is meant by a run folder (its last), an exported folder, a file, or ``zoo:NAME``.

    Raises:
        UserError: there is none.
    """
    if run.startswith("zoo:"):
        return _zoo_weights(run.removeprefix("zoo:"))
    path = Path(run)
    if path.is_dir():
        path = path / WEIGHTS if (path / WEIGHTS).is_file() else path / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; give a run folder of `cjepa fit`, a .ckpt file, or zoo:NAME")
    return path


def read_checkpoint(path: Path) -> dict:
    """What a checkpoint of Lightning, or an exported one, holds, on the CPU.

    Raises:
        UserError: the file is missing or is not a checkpoint.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; give a run folder of `cjepa fit`, or a .ckpt file")
    content = _exported(path) if path.name == WEIGHTS else load_tensors(path, what="a checkpoint")
    _check_parts(content, path)
    return content | {key: current(content[key]) for key in _WITH_CLASS_PATHS if key in content}


def _exported(weights: Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = check_mapping(str(weights.parent / CONFIG), read_json(weights.parent / CONFIG), {})
    try:
        return config | {"state_dict": load_file(weights)}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{weights}: not a checkpoint, or damaged ({' '.join(str(error).split())})") from None


def _check_parts(content: Any, path: Path) -> None:
    """What every reader of a checkpoint relies on: weights by name, the class, and plain values of known types.

    Raises:
        UserError: one of them is missing or of another type; it is named.
    """
    import torch

    where = f"{path}: not a checkpoint of `cjepa fit`"
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(where)
    check_plain(str(path), content, finite=False)
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"{where}: its state_dict is not a mapping of names to tensors")
    check_mapping(where, content, _PARTS)
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(f"{where}: its state_dict is not a mapping of names to tensors ({name})")
        check_plain_tensor(f"{path}: {name}", value)
    if not isinstance((content.get("hyper_parameters") or {}).get("_class_path"), str):
        raise UserError(f"{where}: its hyper_parameters do not name a class")
    if content["hyper_parameters"].get("_instantiator") not in (None, _INSTANTIATOR):  # Lightning would call it
        raise UserError(f"{where}: its hyper_parameters name another _instantiator than {_INSTANTIATOR}")
    if lineage := content.get("lineage"):
        check_mapping(f"{path}: its lineage", lineage, _LINEAGE, tuple(_LINEAGE))
        if not all(type(entry) is int for key in ("excluded", "identities") for entry in lineage[key]):
            raise UserError(f"{path}: its lineage: excluded and identities are lists of integers")


def home_of(checkpoint: Path) -> Path:
    """The run folder, or the exported folder, that a checkpoint is in."""
    if checkpoint.name == WEIGHTS:
        return checkpoint.parent
    return (checkpoint if len(checkpoint.parts) > 2 else checkpoint.absolute()).parent.parent


def config_of(checkpoint: Path) -> Path:
    """The ``config.yaml`` of the run that a checkpoint is of.

    Raises:
        UserError: there is none beside it.
    """
    path = home_of(checkpoint) / "config.yaml"
    if not path.is_file():
        raise UserError(f"{checkpoint}: in no run folder ({path} is missing); give one of `cjepa fit`, or zoo:NAME")
    return path


def load_module(cls: type[Module], content: dict, checkpoint: Path) -> Module:
    """The module, on the CPU, from what :func:`read_checkpoint` gave of this checkpoint.

    Raises:
        UserError: the checkpoint is of another kind, its weights are not finite or do not fit the module as it is now,
            or its parameters are not those of the module.
    """
    import torch
    from jsonargparse import ArgumentError

    trained = class_of(content)
    if hasattr(cls, "kind") and not issubclass(trained, cls):
        raise another_kind(checkpoint, trained, cls.kind)
    check_finite(content, checkpoint)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    try:
        return trained.load_from_checkpoint(buffer, map_location="cpu", weights_only=True)
    except (RuntimeError, ArgumentError, TypeError, LookupError, ValueError, AttributeError) as error:
        if "state_dict" in str(error):
            said = misfit(str(error))
            reason = f"its weights come from another version of cjepa ({said}); train the model again"
        else:
            name = content["hyper_parameters"]["_class_path"].rpartition(".")[-1]
            reason = f"its parameters do not fit {name} ({one_line(str(error))[:300]})"
        raise UserError(f"{checkpoint}: {reason}") from error


def load_frozen(cls: type[Module], checkpoint: Path, tokenizer_fingerprint: str) -> Module:
    """A trained module of a tokenizer's tokens, on the CPU, frozen and in eval mode.

    Args:
        cls: of the module; it remembers its tokenizer as ``tokenizer_fingerprint``.
        checkpoint: of the module.
        tokenizer_fingerprint: of the tokens that it is wanted for.

    Raises:
        UserError: what :func:`load_module` refuses, or it was trained on other tokens.
    """
    module = load_module(cls, read_checkpoint(checkpoint), checkpoint).requires_grad_(False).eval()
    if module.tokenizer_fingerprint != tokenizer_fingerprint:
        raise UserError(
            f"{checkpoint}: it was trained on tokens of tokenizer {module.tokenizer_fingerprint}, but those of the "
            f"world model are of {tokenizer_fingerprint}; train it on the tokens of the world model"
        )
    return module


def misfit(error: str) -> str:
    """What torch says first of weights that do not fit a module."""
    for pattern, said in _MISFITS.items():
        if found := re.search(pattern, error):
            return said.format(found[1])
    return one_line(error)[:300]


def check_finite(content: dict, checkpoint: Path) -> None:
    """Refuse weights that are not numbers: whatever is computed with them means nothing.

    Raises:
        UserError: the first such tensor is named.
    """
    for name, value in content["state_dict"].items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UserError(f"{checkpoint}: {name} contains values that are not finite")


def another_kind(checkpoint: Path, trained: type, expected: RunKind) -> UserError:
    """The message about a checkpoint of a class that is not of the expected kind."""
    found = getattr(trained, "kind", None)
    line = f"{checkpoint}: {found.name if found else trained.__name__}, not {expected.name}; "
    line += f"give a run of `{expected.made_by}`"
    return UserError(f"{line}, or use this one with `{found.used_by}`" if found else line)


def class_of(content: dict) -> type["L.LightningModule"]:
    """The class that a checkpoint was trained as.

    Raises:
        UserError: the class, or one that its parameters name, cannot be imported, or is no LightningModule.
    """
    import lightning as L

    _import_classes(content["hyper_parameters"])
    path = content["hyper_parameters"]["_class_path"]
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None) if module else None
    if not (isinstance(found, type) and issubclass(found, L.LightningModule)):
        raise UserError(f"the checkpoint names {path}, which is no LightningModule; {HOW_TO_FIND}")
    return found


def _import_classes(value: Any) -> None:
    """Import the modules of all classes that a checkpoint's parameters name, which may be the user's own.

    Modules in the current folder are found too.

    Raises:
        UserError: there is no such module.
    """
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in ("class_path", "_class_path") and isinstance(entry, str) and "." in entry:
                _import_module(entry)
            else:
                _import_classes(entry)
    elif isinstance(value, list):
        for entry in value:
            _import_classes(entry)


def _import_module(class_path: str) -> None:
    module = class_path.rpartition(".")[0]
    look_in_current_folder()
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"the checkpoint names {class_path}, but {module} cannot be imported ({error}); {HOW_TO_FIND}"
        ) from None


def _zoo_weights(name: str) -> Path:
    weights = ZOO / name / WEIGHTS
    if Path(name).name != name or not weights.is_file():  # a path would lead out of the zoo
        known = ", ".join(f"zoo:{path.parent.name}" for path in sorted(ZOO.glob(f"*/{WEIGHTS}"))) or "none yet"
        raise UserError(f"zoo:{name}: no such model; expected one of {known}")
    return weights
