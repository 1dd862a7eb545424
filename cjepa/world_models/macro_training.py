"""Training of dynamics over long blocks, together with the macro-actions that drive them (HWM, arXiv 2604.03208).

File letter: M values of a macro-action, the predictor's ``action_dim``.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cjepa.arguments import above, at_least, check
from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.dynamics import rollout_clip
from cjepa.world_models.dynamics_training import TokenTraining
from cjepa.world_models.macro import MacroDynamics
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Predictor, start_at_zero
from cjepa.world_models.token_source import TokenSource


class ActionEncoder(nn.Module):
    """Mean and log variance of the macro-action that stands for the actions of a long block.

    Args:
        action_dim: A, the action values of one long block.
        code_dim: M.
        dim: of the hidden layers.
    """

    def __init__(self, action_dim: int, code_dim: int, dim: int):
        super().__init__()
        self.scale = Normaliser(action_dim)
        hidden = [nn.Linear(action_dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU()]
        self.layers = nn.Sequential(*hidden, nn.Linear(dim, 2 * code_dim))
        start_at_zero(self.layers[-1])  # all codes are 0 at first, so that the dynamics do not scale them

    def forward(self, actions_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, T, M)`` each, of actions in the environment's units."""
        mean_BTM, log_variance_BTM = self.layers(self.scale(actions_BTA)).float().chunk(2, dim=-1)
        return mean_BTM, log_variance_BTM


class MacroModel(TokenTraining):
    """Trains a predictor over long blocks together with the macro-actions that drive it, as a variational autoencoder.

    ``future`` and ``proprio`` are the errors of the blocks after the history, given codes that are drawn from the
    encoder of their actions; ``code`` is the divergence of the codes from a standard normal, which a search draws
    from. The divergence lets a code hold only what changes the outcome.

    Args:
        predictor: of the next long block; its ``action_dim`` is the width of a macro-action, its history is one block:
            a plan starts from the present frame alone, and goes on from each that is predicted.
        action_dim: A, the action values of one long block: those of an env step times ``data.init_args.frame_stride``.
        encoder_dim: hidden width of the encoder of actions.
        lr: peak learning rate of AdamW.
        weight_decay: on matrices.
        warmup_steps: of the learning rate.
        code_weight: weight of the codes' divergence; more makes macro-actions coarser, and easier to search.
        proprio_weight: weight of the proprioception term.
        predict_blocks: F, how many long blocks after the history the loss is over.
        step_seed: of the codes, together with rank and step.
        matrix_lr: peak learning rate of Muon, with which matrices learn; None for AdamW, as all other parameters.

    Raises:
        ValueError: a number is out of its range, or the predictor has a history.
    """

    dynamics: MacroDynamics

    def __init__(
        self,
        predictor: Predictor,
        action_dim: int,
        encoder_dim: int = 256,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        code_weight: float = 3e-3,
        proprio_weight: float = 1.0,
        predict_blocks: int = 1,
        step_seed: int = 0,
        matrix_lr: float | None = None,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(1, action_dim=action_dim, encoder_dim=encoder_dim, predict_blocks=predict_blocks)
        at_least(0, code_weight=code_weight, proprio_weight=proprio_weight)
        if matrix_lr is not None:
            above(0, matrix_lr=matrix_lr)
        check(predictor.history_blocks == 1, "history_blocks", predictor.history_blocks, "1: plans start from a frame")
        self.save_hyperparameters()
        self.dynamics = MacroDynamics(predictor)
        self.action_dim = action_dim
        self.encoder = ActionEncoder(action_dim, predictor.action_dim, encoder_dim)
        self.predict_blocks = predict_blocks
        self.loss_weights = {"future": 1.0, "proprio": proprio_weight, "code": code_weight}
        self.matrix_lr = matrix_lr

    def clip_of(self, batch: Clip) -> Clip:
        """The clip with the most likely macro-actions in place of actions."""
        return batch._replace(actions_BTA=self.encoder(batch.actions_BTA)[0])

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class."""
        history = self.dynamics.history_blocks
        batch = batch.blocks(0, history + self.predict_blocks)
        mean_BTM, log_variance_BTM = self.encoder(batch.actions_BTA)
        noise_BTM = torch.randn(mean_BTM.shape, generator=generator).to(mean_BTM)
        code_BTM = mean_BTM + noise_BTM * (log_variance_BTM / 2).exp()
        rollout, followed = rollout_clip(self.dynamics, batch._replace(actions_BTA=code_BTM))
        found = {"future": (rollout.tokens_BHSD.float() - followed.tokens_BHSD).square().mean()}
        if self.dynamics.proprio_dim:
            found["proprio"] = (rollout.proprio_BHP.float() - followed.proprio_BHP).square().mean()
        used_BTM = mean_BTM[:, :-1], log_variance_BTM[:, :-1]
        return found | {"code": divergence(*used_BTM).mean()}

    @torch.no_grad()
    def scale_sample(self, source: TokenSource) -> Clip:
        """See :class:`TokenTraining`; the encoder scales actions before it makes codes of them.

        Raises:
            UserError: the data have blocks of another number of action values.
        """
        sample = source.normalisation_sample()
        if (found := sample.actions_BTA.shape[-1]) != self.action_dim:
            raise UserError(
                f"model.init_args.action_dim is {self.action_dim}, but blocks of the data have {found} action values; "
                f"set it to {found}, or choose another data.init_args.frame_stride"
            )
        if not bool(self.encoder.scale.fitted):
            self.encoder.scale.fit(sample.actions_BTA)
        return self.clip_of(sample.on(self.device))

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`~cjepa.world_models.dynamics_training.DynamicsTraining`."""
        return super().describe_objective() | {"predict_blocks": self.predict_blocks, "matrix_lr": self.matrix_lr}


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a diagonal normal from the standard normal, summed over the last axis, in nats.

    Args:
        mean: ``(..., K)``.
        log_variance: ``(..., K)``, natural logarithms.

    Returns:
        ``(...)``, non-negative.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
