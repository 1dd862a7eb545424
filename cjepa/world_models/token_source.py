"""What a world model on cached tokens asks of its data."""

from typing import Protocol

from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.model import PredictorDynamics


class TokenSource(Protocol):
    """What a world model on cached tokens asks of a DataModule before training."""

    tokenizer_fingerprint: str
    tokenizer: dict
    """How to build the tokenizer again, as plain values."""
    train_blocks: int
    val_blocks: int

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes to fit the scales on."""


def check_sizes(dynamics: PredictorDynamics, sample: Clip, source: TokenSource, predict_blocks: int = 1) -> None:
    """Whether a model can be trained on clips of this kind.

    Raises:
        UserError: a width or the number of tokens differs, or clips are too short for the model's history.
    """
    found = tuple(values.shape[-1] for values in sample)
    expected = (dynamics.token_dim, dynamics.proprio_dim, dynamics.action_dim)
    for name, got, want in zip(("token_dim", "proprio_dim", "action_dim"), found, expected, strict=True):
        absent = want == 0 and name != "token_dim"
        if got != want and not absent:
            key = f"model.init_args.predictor.{dynamics.predictor.sizes_key}.{name}"
            raise UserError(f"{key} is {want}, but the data have {got}; set it to {got}")
    slots, of_predictor = sample.tokens_BTSD.shape[2], dynamics.predictor.num_tokens
    if of_predictor not in (None, slots):
        raise UserError(
            f"the predictor is for {of_predictor} tokens a block, but the data have {slots}; set its num_tokens or "
            f"num_positions to {slots}"
        )
    for name, ahead in (("train_blocks", predict_blocks), ("val_blocks", 1)):
        if (blocks := getattr(source, name)) < (needed := dynamics.history_blocks + ahead):
            raise UserError(
                f"data.init_args.{name} is {blocks}, but a clip must have the model's history_blocks of "
                f"{dynamics.history_blocks} and {ahead} to predict; set it to {needed} or more"
            )
