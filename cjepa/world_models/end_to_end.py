"""Training from pixels: a tokenizer and a predictor at once, from nothing but the predictor's own errors."""

from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import at_least, share
from cjepa.data.clip_module import EpisodeClips
from cjepa.moving_average import frozen_copy, move_towards
from cjepa.tokenizers.base import Tokenizer
from cjepa.types import Clip, VideoBatch
from cjepa.world_models.collapse import Spread, check_spread, spread_of
from cjepa.world_models.from_pixels import EndToEnd, encoded
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.adaln_transformer import AdaLNTransformer
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.regularisers import Regulariser
from cjepa.world_models.token_source import check_data

_WATCH_EVERY = 50
"""Steps between two looks at whether the tokens have collapsed."""


class LeWorldModel(EndToEnd):
    """LeWorldModel (arXiv 2603.19312): mean squared error of the next token, and a regulariser against collapse.

    The targets are tokens of the same encoder, with their gradient: no second encoder, no moving average, unless
    ``target_momentum`` asks for one. Tokens are used as they are; actions are normalised. An
    :class:`AdaLNTransformer` predicts every block of its history from those before it, then the other blocks of the
    clip. Other predictors, such as ``PrefixTransformer`` (Fast-LeWM), predict all blocks from the first one.

    From the checkpoint `cjepa plan` and `cjepa test` take both parts, `cjepa tokenize` the tokenizer alone.

    Args:
        tokenizer: one token per frame.
        predictor: without proprioception: the model sees pixels alone. Its history is one block if it is no
            :class:`AdaLNTransformer`: others may look at a block of the history to predict it.
        regulariser: of the tokens of a batch.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate; afterwards collapsed tokens stop the training.
        least_rank: effective rank below which the tokens of a batch count as collapsed.
        least_deviation: standard deviation below which they do.
        step_seed: of what the regulariser draws, together with rank and step.
        target_momentum: m for targets of a second tokenizer without gradient, of whose weights a step keeps the share m
            and takes 1 - m from the first one's; 0 stops the gradient and averages nothing. None for targets of the
            same tokenizer, with their gradient.

    Raises:
        ValueError: a number is out of its range; the tokenizer has several tokens per frame; the predictor has
            proprioception, a history, layer-normed tokens, or tokens of another width than the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        predictor: Predictor,
        regulariser: Regulariser,
        lr: float = 5e-5,
        weight_decay: float = 1e-3,
        warmup_steps: int = 200,
        least_rank: float = 2.0,
        least_deviation: float = 0.05,
        step_seed: int = 0,
        target_momentum: float | None = None,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(0, least_rank=least_rank, least_deviation=least_deviation)
        self.save_hyperparameters()
        if tokenizer.num_slots > 1:
            raise ValueError(f"the tokenizer has {tokenizer.num_slots} tokens per frame, expected 1 for LeWorldModel")
        if predictor.proprio_dim:
            raise ValueError(f"proprio_dim is {predictor.proprio_dim}, expected 0: LeWorldModel sees pixels alone")
        if predictor.token_dim != tokenizer.slot_dim:
            raise ValueError(f"token_dim is {predictor.token_dim}, expected the tokenizer's dim = {tokenizer.slot_dim}")
        if predictor.history_blocks > 1 and not isinstance(predictor, AdaLNTransformer):
            raise ValueError(
                f"history_blocks is {predictor.history_blocks}, expected 1 for a {type(predictor).__name__}: only an "
                "AdaLNTransformer predicts every block of its history from those before it"
            )
        if predictor.layer_normed:
            raise ValueError(f"{type(predictor).__name__} predicts layer-normed tokens, LeWorldModel has others")
        self.tokenizer = tokenizer
        self.dynamics = PredictorDynamics(predictor)
        self.regulariser = regulariser
        self.least = Spread(least_rank, least_deviation)
        self.loss_weights = {"prediction": 1.0, **regulariser.weights}
        targets = "targets keep their gradient"
        self.target_tokenizer = None
        self.target_momentum = target_momentum
        if target_momentum is not None:
            share(target_momentum=target_momentum)
            self.target_tokenizer = frozen_copy(tokenizer)
            targets = f"targets of a moving average (momentum {target_momentum:g}), without gradient"
        self.against_collapse = f"{type(regulariser).__name__} of the tokens; {targets}"

    def loss_terms(self, batch: VideoBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The error of all blocks but the first, the mean over members, and the regulariser's terms."""
        clip = self.dynamics.normalise(self.clip_of(batch))
        tokens = clip.tokens_BTSD
        visible_BTS = torch.zeros_like(tokens[:, : self.dynamics.history_blocks, :, 0], dtype=torch.bool)
        each = self.dynamics.forward_members(clip, visible_BTS)
        if self.global_step >= self.warmup_steps and self.global_step % _WATCH_EVERY == 0:
            check_spread(spread_of(tokens), self.global_step, self.least)
        predicted_MBUSD = torch.stack([_after_the_first(prediction) for prediction in each]).float()
        error = (predicted_MBUSD - self.targets(batch, tokens)[:, 1:]).square().mean()
        by_time = tokens.flatten(2).transpose(0, 1), predicted_MBUSD.mean(dim=0).flatten(2).transpose(0, 1)
        return {"prediction": error} | self.regulariser(by_time[0], generator, by_time[1])

    def targets(self, batch: VideoBatch, tokens_BTSD: Tensor) -> Tensor:
        """What the predictor should say: the batch's tokens, or those of the second tokenizer."""
        if self.target_tokenizer is None:
            return tokens_BTSD
        with torch.no_grad():
            return encoded(self.target_tokenizer, batch)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the moving average follows."""
        super().optimizer_step(*args, **kwargs)
        if self.target_tokenizer is not None:
            move_towards(self.target_tokenizer, self.tokenizer, self.target_momentum)

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Also how the tokens spread."""
        clip = self.clip_of(batch)
        self.log_rollout_errors(clip)
        spread = spread_of(clip.tokens_BTSD)
        values = {"val/effective_rank": spread.rank, "val/deviation": spread.deviation}
        self.log_dict(values, batch_size=len(batch.pixels_BTYXC), on_epoch=True, sync_dist=True)

    def check_data(self, actions_NTA: Tensor, data: EpisodeClips) -> None:
        """See :class:`EndToEnd`: widths, and clips long enough for the history and all blocks of a pass."""
        no_tokens = torch.zeros(0, 1, self.tokenizer.num_slots, self.tokenizer.slot_dim)
        check_data(self.dynamics, Clip(no_tokens, torch.zeros(0, 0), actions_NTA), data)


def _after_the_first(prediction: Prediction) -> Tensor:
    """All predicted blocks but the first ``(B, U, S, D)``."""
    return torch.cat([prediction.history_BTSD[:, 1:], prediction.future_BFSD], dim=1)
