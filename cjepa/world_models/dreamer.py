"""Training of a recurrent state-space model as DreamerV3 trains its world model, on cached tokens."""

from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.types import Clip
from cjepa.world_models.dynamics_training import TokenTraining
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.rssm import ObjectRSSM


class DreamerWorldModel(TokenTraining):
    """DreamerV3's world model (arXiv 2301.04104) on object tokens; no rewards, no actor and no critic.

    The terms, each summed over values and entities, mean over samples and blocks:

    - ``tokens`` and ``proprio``: squared errors of what is decoded from posterior latents;
    - ``dynamics``: KL divergence of the prior from the posterior, with a gradient for the prior alone;
    - ``representation``: the same divergence, with a gradient for the posterior alone.

    A divergence below ``free_nats``, per entity, is not reduced. The first block of a clip has none: clips begin
    anywhere in an episode, where the prior knows nothing.

    Args:
        predictor: whose states are trained.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        proprio_weight: weight of proprioception.
        dynamics_weight: weight of the prior's divergence.
        representation_weight: weight of the posterior's.
        free_nats: see above.
        step_seed: of the latents that are drawn, together with rank and step.

    Raises:
        ValueError: a number is out of its range.
    """

    predict_blocks = 1

    def __init__(
        self,
        predictor: ObjectRSSM,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        proprio_weight: float = 1.0,
        dynamics_weight: float = 1.0,
        representation_weight: float = 0.1,
        free_nats: float = 1.0,
        step_seed: int = 0,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        weights = {"dynamics_weight": dynamics_weight, "representation_weight": representation_weight}
        at_least(0, proprio_weight=proprio_weight, free_nats=free_nats, **weights)
        self.save_hyperparameters()
        self.dynamics = PredictorDynamics(predictor)
        self.free_nats = free_nats
        self.loss_weights = {"tokens": 1.0, "proprio": proprio_weight}
        self.loss_weights |= {"dynamics": dynamics_weight, "representation": representation_weight}

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class; ``proprio`` is missing with that entity."""
        tokens, proprio, actions = self.dynamics.normalise(batch)
        visible_BTS = torch.zeros_like(tokens[..., 0], dtype=torch.bool)
        found, _ = self.dynamics.predictor.infer(tokens, proprio, actions[:, :-1], visible_BTS, generator)
        terms = {"tokens": (found.tokens_BTSD - tokens).square().sum(dim=(2, 3)).mean()}
        if self.dynamics.proprio_dim:
            terms["proprio"] = (found.proprio_BTP - proprio).square().sum(dim=2).mean()
        prior, posterior = found.prior_BVEKC, found.posterior_BVEKC
        terms["dynamics"] = self._divergence(posterior.detach(), prior)
        terms["representation"] = self._divergence(posterior, prior.detach())
        return terms

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`~cjepa.world_models.dynamics_training.DynamicsTraining`."""
        return super().describe_objective() | {"free_nats": self.free_nats}

    def _divergence(self, of_BVEKC: Tensor, from_BVEKC: Tensor) -> Tensor:
        """KL divergence of log-probabilities in nats, at least ``free_nats`` per entity."""
        divergence_BVE = (of_BVEKC.exp() * (of_BVEKC - from_BVEKC)).sum(dim=(3, 4))
        return divergence_BVE.clamp(min=self.free_nats).sum(dim=2).mean()
