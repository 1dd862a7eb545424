"""A trained model as a folder to share: weights, config, record and a card that says what it is."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cjepa.checkpoints import CONFIG, WEIGHTS, find_checkpoint, home_of, load_module, read_checkpoint
from cjepa.configuration.run_config import read_config
from cjepa.errors import UserError
from cjepa.files import new_folder, replacing, write_text
from cjepa.reporting.reading import TEST_RESULTS, read_rows, read_training
from cjepa.reporting.system_record import system_record

if TYPE_CHECKING:
    import torch

_RESULTS = ("results.json", TEST_RESULTS)
_RECORDS = ("config.yaml", "run.json", *_RESULTS)
_NOT_EXPORTED = ("optimizer_states", "lr_schedulers", "loops", "callbacks", "state_dict", "run_folder")


def export_run(run: str, folder: Path, half: bool = False) -> Path:
    """Export a run's last checkpoint.

    Args:
        run: run folder or checkpoint; its record and results are copied if they exist.
        folder: to make.
        half: store weights as float16; they are float32 again when loaded.

    Returns:
        The weights.

    Raises:
        UserError: no such checkpoint, it cannot be loaded, a record of the run is damaged, or the folder exists and is
            not empty. The folder is made as a whole or not at all.
    """
    checkpoint = find_checkpoint(run)
    source = home_of(checkpoint)
    with new_folder(folder, "--out") as made:
        card = _card(folder.name, source)
        if (source / "config.yaml").is_file():
            read_config(source / "config.yaml")  # a damaged one is of no use to anybody
        export_checkpoint(checkpoint, made, half)
        for name in _RECORDS:
            if (source / name).is_file():
                shutil.copyfile(source / name, made / name)
        write_text(made / "README.md", "\n".join(card) + "\n")
    return folder / WEIGHTS


def export_checkpoint(checkpoint: Path, folder: Path, half: bool = False) -> Path:
    """Weights as safetensors and all else that loading needs as JSON, into a folder of their own.

    Args:
        checkpoint: of a run.
        folder: to make.
        half: store weights as float16, half the size; they are float32 again when loaded. Buffers, such as scales of
            data, stay as they are.

    Raises:
        UserError: the folder holds a model already, the checkpoint cannot be loaded, or a weight is too large for
            float16.
    """
    import lightning as L
    from safetensors.torch import save

    weights = folder / WEIGHTS
    if weights.exists():
        raise UserError(f"{folder} already contains a model; choose another folder or delete it first")
    content = read_checkpoint(checkpoint)
    model = load_module(L.LightningModule, content, checkpoint)
    halved = {name for name, _ in model.named_parameters(remove_duplicate=False)} if half else set()
    stored = {
        name: _stored(value, name in halved, f"{checkpoint}: {name}") for name, value in content["state_dict"].items()
    }
    config = {key: value for key, value in content.items() if key not in _NOT_EXPORTED}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    with replacing(weights) as partial:
        partial.write_bytes(save(stored))  # its own writer raises no OSError where the disk is full
    return weights


def _stored(value: "torch.Tensor", half: bool, where: str) -> "torch.Tensor":
    if half and value.is_floating_point():
        value = value.half()
        if not bool(value.isfinite().all()):
            raise UserError(f"{where} has values beyond 65,504, the largest of float16; export it without --half")
    return value.contiguous()


def _card(title: str, folder: Path) -> list[str]:
    """Lines of the model card, of the records in the folder of a run."""
    lines = [f"# {title}", "", "`model.safetensors` holds the weights, `config.json` what builds the model."]
    if (folder / "run.json").is_file():
        record = read_training(folder / "run.json")
        lines += ["", *(f"- {name}: {text}" for name, text in system_record(record))]
    rows = [row for name in _RESULTS if (folder / name).is_file() for row in read_rows(folder / name)]
    if rows:
        lines += ["", "| split | metric | value [95 %] | n |", "| --- | --- | --- | --- |"]
        lines += [f"| {row.get('split')} | {row['metric']} | {_value(row)} | {row.get('n') or ''} |" for row in rows]
    return lines


def _value(row: dict) -> str:
    numbers = [row.get(key) for key in ("value", "low", "high")]
    value, low, high = ("?" if number is None else f"{number:.4g}" for number in numbers)
    return value if row.get("low") is None else f"{value} [{low}, {high}]"
