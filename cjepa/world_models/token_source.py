"""What a world model on cached tokens asks of its data."""

from typing import Protocol, runtime_checkable

import torch

from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Predictor

_NORMED = 0.05
"""How far means and deviations of layer-normed tokens may be from 0 and 1, on average: files hold float16."""


@runtime_checkable
class TokenSource(Protocol):
    """What a world model on cached tokens asks of a DataModule before training."""

    tokenizer_fingerprint: str
    tokenizer: dict
    """How to build the tokenizer again, as plain values."""
    train_blocks: int
    val_blocks: int

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes to fit the scales on."""


def check_source(model: object, data: object, expected: type = TokenSource) -> None:
    """Whether a DataModule has what a model on cached tokens asks for: that it is of a type.

    Raises:
        UserError: it does not give tokens.
    """
    if not isinstance(data, expected):
        raise UserError(
            f"{type(model).__name__} is trained on tokens, but {type(data).__name__} does not give tokens; set "
            "data.class_path to cjepa.data.token_clips.TokenClips and data.init_args.path to a file of `cjepa tokenize`"
        )


def check_data(
    dynamics: PredictorDynamics, sample: Clip, source: TokenSource, predict_blocks: int | None = None
) -> None:
    """Whether a model can be trained on clips of this kind.

    Args:
        dynamics: the model.
        sample: clips of training episodes.
        source: of the clips.
        predict_blocks: how many blocks after the history the loss is over; None for all of a training clip.

    Raises:
        UserError: a width or the number of tokens differs, clips are too short for the model's history, or a pass of
            the predictor has blocks that the loss leaves out.
    """
    found = tuple(values.shape[-1] for values in sample)
    expected = (dynamics.token_dim, dynamics.proprio_dim, dynamics.action_dim)
    for name, got, want in zip(("token_dim", "proprio_dim", "action_dim"), found, expected, strict=True):
        absent = want == 0 and name != "token_dim"
        if got != want and not absent:
            raise UserError(f"{_key(dynamics.predictor, name)} is {want}, but the data have {got}; set it to {got}")
    dynamics.predictor.check_tokens(sample.tokens_BTSD.shape[2])
    trained = predict_blocks or max(1, source.train_blocks - dynamics.history_blocks)
    for name, ahead in (("train_blocks", trained), ("val_blocks", 1)):
        if (blocks := getattr(source, name)) < (needed := dynamics.history_blocks + ahead):
            raise UserError(
                f"data.init_args.{name} is {blocks}, but a clip must have the model's history_blocks of "
                f"{dynamics.history_blocks} and {ahead} to predict; set it to {needed} or more"
            )
    if (of_pass := dynamics.predictor.pass_blocks) > trained:
        more = f"model.init_args.predict_blocks to {of_pass}"
        if predict_blocks is None:
            more = f"data.init_args.train_blocks to {dynamics.history_blocks + of_pass}"
        raise UserError(
            f"{_key(dynamics.predictor, dynamics.predictor.pass_key)} is {of_pass}, but the loss is over {trained} of "
            f"the predicted blocks, so the others would not be trained; set it to {trained}, or {more}"
        )


def check_layer_norm(predictor: Predictor, sample: Clip, scale_tokens: bool) -> None:
    """Whether a predictor whose tokens are layer-normed can reach its targets.

    Args:
        predictor: any; others than such ones are accepted.
        sample: clips of training episodes.
        scale_tokens: whether training normalises tokens over the data.

    Raises:
        UserError: it cannot.
    """
    if not predictor.layer_normed:
        return
    name = type(predictor).__name__
    if scale_tokens:
        raise UserError(
            f"{name} predicts layer-normed tokens, but this training scales its tokens; set model.class_path to "
            "cjepa.world_models.teacher_forcing.TeacherForcedModel and model.init_args.scale_tokens to false"
        )
    deviation_BTS, mean_BTS = torch.std_mean(sample.tokens_BTSD, dim=-1, correction=0)
    if mean_BTS.abs().mean() > _NORMED or (deviation_BTS - 1).abs().mean() > _NORMED:
        raise UserError(
            f"{name} predicts tokens whose values have a mean of 0 and a deviation of 1, but those of the data have "
            f"means of about {mean_BTS.abs().mean():.2g} and deviations of about {deviation_BTS.mean():.2g}; make "
            "tokens as experiments/pusht/vjepa2_ac.yaml says, with the layer_norm of PatchTokenizer"
        )


def _key(predictor: Predictor, name: str) -> str:
    """Of a predictor's argument in a config."""
    return f"model.init_args.predictor.{predictor.sizes_key}.{name}"
