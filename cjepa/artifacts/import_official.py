"""Weights of the published C-JEPA code as a model of ours, in the layout of an exported run."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
import yaml
from safetensors.torch import save
from torch import Tensor

import cjepa.world_models.official  # noqa: F401 - loading finds the class by its name
from cjepa.artifacts.pickled_modules import PickledWeights, open_weights
from cjepa.checkpoints import CONFIG, WEIGHTS, load_module, read_checkpoint
from cjepa.data.store.shards import open_episodes
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.files import new_folder, write_json, write_text
from cjepa.types import Clip
from cjepa.world_models.dynamics_training import DynamicsTraining
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.official import OfficialTransformer

_MODEL = "cjepa.world_models.official.OfficialWorldModel"
_PREDICTOR = "cjepa.world_models.predictors.official.OfficialTransformer"
_MASK = {"class_path": "cjepa.world_models.masks.FixedMask", "init_args": {"num_masked": 1}}
_DATA = "cjepa.data.token_clips.TokenClips"
_MARK = "time_pos_embed"
_PUBLISHED_BLOCKS = {4: 1, 16: 10}
"""Of the released models: how many blocks are predicted, by the number of time embeddings."""
_CLEVRER_STRIDE = 2
_VALIDATION_BLOCKS = 5
"""Ahead of the history, at least."""
_RENAMED = {
    r"mask_token": "mask_token",
    r"time_pos_embed": "time_embedding",
    r"id_projector\.(.*)": r"embed_anchor.\1",
    r"to_out\.(.*)": r"token_head.\1",
    r"transformer\.norm\.(.*)": r"norm.\1",
    r"transformer\.layers\.(\d+)\.0\.(.*)": r"blocks.\1.attention.\2",
    r"transformer\.layers\.(\d+)\.1\.(.*)": r"blocks.\1.mlp.\2",
}
_EMBEDDINGS = {
    r"proprio_encoder\.patch_embed\.(.*)": r"embed_proprio.\1",
    r"action_encoder\.patch_embed\.(.*)": r"embed_action.\1",
}
_WIDTHS = ("embed_proprio.weight", "embed_action.weight")
_EXTRA_AXES = {"mask_token": (3, (0, 1)), "time_embedding": (4, (0, 2))} | dict.fromkeys(_WIDTHS, (3, (2,)))
"""Of published tensors: how many axes they have, and which of these are of length 1 and not in ours. Convolutions are
over one block."""


class OfficialWeights(NamedTuple):
    """A published predictor: arguments of :class:`OfficialTransformer`, and its state dict."""

    sizes: dict[str, Any]
    weights: dict[str, Tensor]


def read_official(path: Path, num_heads: int = 16, predict_blocks: int | None = None) -> OfficialWeights:
    """The predictor in a file of the published code: a state dict, a checkpoint, or a pickled module.

    Args:
        path: the file.
        num_heads: of the attention, which weights do not tell.
        predict_blocks: how many of the blocks of the time embedding are predicted, which weights do not tell either;
            None: 1 of 4 (Push-T) and 10 of 16 (CLEVRER).

    Raises:
        UserError: not such a file, a tensor is missing or has another shape, or the number of blocks is needed.
    """
    stored = open_weights(path)
    weights = _renamed(stored)
    blocks, token_dim = weights["time_embedding"].shape
    if predict_blocks is None and blocks not in _PUBLISHED_BLOCKS:
        raise UserError(f"{path}: has {blocks} time embeddings; give --predict_blocks, how many of them are predicted")
    predict_blocks = predict_blocks or _PUBLISHED_BLOCKS[blocks]
    if predict_blocks >= blocks:
        expected = f"the file has {blocks} time embeddings, expected 1 to {blocks - 1}"
        raise UserError(f"{path}: --predict_blocks {predict_blocks}: {expected}")
    widths = {name: weights[name].shape[1] for name in _WIDTHS if name in weights}
    sizes = {
        "token_dim": token_dim,
        "proprio_dim": widths.get("embed_proprio.weight", 0),
        "action_dim": widths.get("embed_action.weight", 0),
        "history_blocks": blocks - predict_blocks,
        "predict_blocks": predict_blocks,
        "depth": len({name.split(".")[1] for name in weights if name.startswith("blocks.")}),
        "num_heads": num_heads,
        "mlp_dim": weights["blocks.0.mlp.1.bias"].numel() if "blocks.0.mlp.1.bias" in weights else 0,
        "matching": "hungarian" if "embed_action.weight" in widths else "index",  # as the code of either does
    }
    _check_fit(path, sizes, weights)
    return OfficialWeights(sizes, weights)


def import_official(
    path: Path, data: str, folder: Path, num_heads: int, predict_blocks: int | None, frame_stride: int | None
) -> OfficialWeights:
    """Write a published predictor as an exported model.

    Args:
        path: see :func:`read_official`, as the next two.
        data: token file: proprioception and actions are normalised by its training episodes, since the published code
            keeps their scales outside of its weights. Its tokenizer is the model's.
        folder: to make.
        num_heads: H.
        predict_blocks: F.
        frame_stride: env steps of a block; None: what the width of an action says, else 2 (CLEVRER).

    Raises:
        UserError: see :func:`read_official`; or the tokens do not fit the weights. Nothing is written then.
    """
    official = read_official(path, num_heads, predict_blocks)
    clips = _token_clips(data, official.sizes, frame_stride)
    sample = clips.normalisation_sample()
    _check_widths(data, official.sizes, sample)
    dynamics = PredictorDynamics(OfficialTransformer(**official.sizes))
    dynamics.predictor.load_state_dict(official.weights)
    dynamics.fit_scales(sample, tokens=False)
    with new_folder(folder, "--out") as made:
        (made / WEIGHTS).write_bytes(save({f"dynamics.{name}": value for name, value in dynamics.state_dict().items()}))
        write_json(made / CONFIG, _checkpoint(official.sizes, clips) | {"run_folder": str(folder.resolve())})
        write_text(made / "config.yaml", yaml.safe_dump(_run_config(official.sizes, clips), sort_keys=False))
        load_module(DynamicsTraining, read_checkpoint(made / WEIGHTS), made / WEIGHTS)
    return official


def _renamed(stored: PickledWeights) -> dict[str, Tensor]:
    """The predictor's tensors, and those of the embeddings beside it, under our names and in our shapes."""
    marks = [name for name in stored.tensors if name == _MARK or name.endswith(f".{_MARK}")]
    if len(marks) != 1:
        raise UserError(
            f"{stored.path}: contains {len(marks)} tensors named {_MARK}, expected one, of a predictor of the "
            "published C-JEPA code"
        )
    prefix = marks[0].removesuffix(_MARK)
    found = {}
    for name in stored.tensors:
        if ours := _our_name(name, prefix):
            found[ours] = stored.read(name)
        elif name.startswith(prefix):
            raise UserError(f"{stored.path}: has a tensor {name} that the published predictor does not have")
    shaped = {name: _in_our_shape(name, value) for name, value in found.items()}
    for name in ("time_embedding", *_WIDTHS):  # whose sizes are read off
        if name in shaped and shaped[name].ndim != 2:
            raise UserError(f"{stored.path}: the tensor that we call {name} has shape {tuple(found[name].shape)}")
    return shaped


def _our_name(name: str, prefix: str) -> str | None:
    """Our name of a tensor of the predictor, whose names begin with ``prefix``, or of the embeddings beside it."""
    for start, names in ((prefix, _RENAMED), (prefix.removesuffix("predictor."), _EMBEDDINGS)):
        for pattern, ours in names.items():
            if match := re.fullmatch(re.escape(start) + pattern, name):
                return match.expand(ours)
    return None


def _in_our_shape(name: str, value: Tensor) -> Tensor:
    """Without the axes that ours does not have, where they are of length 1; any other shape stays, and is refused."""
    num_axes, extra = _EXTRA_AXES.get(name, (0, ()))
    return value.squeeze(extra) if value.ndim == num_axes else value


def _check_fit(path: Path, sizes: dict[str, Any], weights: dict[str, Tensor]) -> None:
    try:
        with torch.device("meta"):
            expected = OfficialTransformer(**sizes).state_dict()
    except ValueError as error:
        raise UserError(f"{path}: not a predictor of the published C-JEPA code as described ({error})") from None
    for name, value in expected.items():
        if name not in weights:
            raise UserError(f"{path}: lacks the tensor that we call {name}; expected a predictor of the published code")
        if weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)}, expected {tuple(value.shape)}"
            raise UserError(f"{path}: the tensor that we call {name} has shape {shapes}")
        if not bool(weights[name].isfinite().all()):
            raise UserError(f"{path}: the tensor that we call {name} contains values that are not finite")
    if unknown := sorted(set(weights) - set(expected)):
        raise UserError(f"{path}: has a tensor {unknown[0]} that the published predictor does not have")


def _token_clips(data: str, sizes: dict[str, Any], frame_stride: int | None) -> TokenClips:
    """The token file, opened, with clips that the model can be judged on."""
    history, ahead = sizes["history_blocks"], max(sizes["predict_blocks"], _VALIDATION_BLOCKS)
    blocks = {"train_blocks": history + sizes["predict_blocks"], "val_blocks": history + ahead}
    stride = frame_stride or _CLEVRER_STRIDE
    if frame_stride is None and sizes["action_dim"]:
        columns = open_episodes(data).columns
        width = columns["action"][0][1] if "action" in columns else 0
        if not width or sizes["action_dim"] % width:
            raise UserError(f"{data}: has actions of {width} values, of which {sizes['action_dim']} are no whole block")
        stride = sizes["action_dim"] // width
    clips = TokenClips(data, frame_stride=stride, **blocks)
    clips.setup("fit")
    return clips


def _check_widths(data: str, sizes: dict[str, Any], sample: Clip) -> None:
    names = ("token_dim", "proprio_dim", "action_dim")
    for name, values in zip(names, sample, strict=True):
        if sizes[name] and values.shape[-1] != sizes[name]:
            raise UserError(
                f"{data}: its {name} is {values.shape[-1]}, but the weights take {sizes[name]}; give --data tokens of "
                f"that width (`cjepa tokenize oracle:{sizes['token_dim']} EPISODES` makes some)"
            )


def _checkpoint(sizes: dict[str, Any], clips: TokenClips) -> dict[str, Any]:
    """What an exported model holds beside its weights."""
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "hyper_parameters": {
            "_class_path": _MODEL,
            "_instantiator": "lightning.pytorch.cli.instantiate_module",
            "predictor": {"class_path": _PREDICTOR, "init_args": sizes},
            "mask": _MASK,
        },
        "datamodule_hyper_parameters": _data_options(clips),
        "lineage": clips.lineage._asdict(),
        "tokenizer": clips.tokenizer,
        "tokenizer_fingerprint": clips.tokenizer_fingerprint,
    }


def _run_config(sizes: dict[str, Any], clips: TokenClips) -> dict[str, Any]:
    """What ``cjepa test`` builds the same model and its data from."""
    predictor = {"class_path": _PREDICTOR, "init_args": sizes}
    return {
        "experiment": "official",
        "seed_everything": 0,
        "model": {"class_path": _MODEL, "init_args": {"predictor": predictor, "mask": _MASK}},
        "data": {"class_path": _DATA, "init_args": _data_options(clips)},
        "trainer": {"accelerator": "auto", "devices": 1, "precision": "32-true"},
    }


def _data_options(clips: TokenClips) -> dict[str, Any]:
    names = ("path", "frame_stride", "train_blocks", "val_blocks", "batch_size", "split_seed")
    return {name: getattr(clips, name) for name in names}
