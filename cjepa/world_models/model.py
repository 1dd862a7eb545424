"""A predictor with the scales of its data: dynamics over a window of tokens."""

from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Prediction, Predictor


class Window(NamedTuple):
    """The last blocks of a history, normalised."""

    tokens_BTSD: Tensor
    proprio_BTP: Tensor
    actions_BUA: Tensor
    """Of the blocks before the last one: U = T - 1."""


class PredictorDynamics(Dynamics):
    """Feeds the predictions of a predictor back into it.

    Args:
        predictor: of the next block.
    """

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.predictor = predictor
        self.token_dim, self.proprio_dim = predictor.token_dim, predictor.proprio_dim
        self.action_dim, self.history_blocks = predictor.action_dim, predictor.history_blocks
        self.token_scale = Normaliser(predictor.token_dim)
        self.proprio_scale = Normaliser(predictor.proprio_dim)
        self.action_scale = Normaliser(predictor.action_dim)

    def fit_scales(self, clips: Clip) -> None:
        """Fit the scales on clips of training episodes, once: a fitted model keeps its own."""
        if bool(self.token_scale.fitted):
            return
        for scale, values in zip(self._scales(), self._entities(clips), strict=True):
            if values.shape[-1]:
                scale.fit(values)

    def normalise(self, clip: Clip) -> Clip:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return Clip(*(scale(values) for scale, values in zip(self._scales(), self._entities(clip), strict=True)))

    def denormalise(self, rollout: Rollout) -> Rollout:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return Rollout(self.token_scale.inverse(rollout.tokens_BHSD), self.proprio_scale.inverse(rollout.proprio_BHP))

    def forward(self, clip: Clip, mask_BTS: Tensor | None = None) -> Prediction:
        """Predict from a normalised history, see :class:`Predictor`; no mask means that everything is visible."""
        if mask_BTS is None:
            mask_BTS = torch.zeros(clip.tokens_BTSD.shape[:3], dtype=torch.bool, device=clip.tokens_BTSD.device)
        return self.predictor(clip.tokens_BTSD, clip.proprio_BTP, clip.actions_BTA, mask_BTS)

    def observe(self, clip: Clip) -> Window:
        """The last ``history_blocks`` of a clip, see :class:`~cjepa.world_models.dynamics.Dynamics`."""
        tokens, proprio, actions = (values[:, -self.history_blocks :] for values in self.normalise(clip))
        return Window(tokens, proprio, actions[:, :-1])

    def step(self, state: Window, actions_BA: Tensor) -> Window:
        """Append the next block, see :class:`~cjepa.world_models.dynamics.Dynamics`."""
        tokens, proprio, actions = state
        actions = torch.cat([actions, self.action_scale(actions_BA[..., : self.action_dim])[:, None]], dim=1)
        prediction = self(Clip(tokens, proprio, actions))
        tokens = torch.cat([tokens, prediction.future_BFSD[:, :1].to(tokens.dtype)], dim=1)
        proprio = torch.cat([proprio, prediction.proprio_BFP[:, :1].to(proprio.dtype)], dim=1)
        keep = self.history_blocks
        return Window(tokens[:, -keep:], proprio[:, -keep:], actions[:, max(0, tokens.shape[1] - keep) :])

    def predicted(self, state: Window) -> tuple[Tensor, Tensor]:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return state.tokens_BTSD[:, -1], state.proprio_BTP[:, -1]

    def _scales(self) -> tuple[Normaliser, Normaliser, Normaliser]:
        return self.token_scale, self.proprio_scale, self.action_scale

    def _entities(self, clip: Clip) -> Clip:
        """The clip without the values of entities that the predictor does not have."""
        proprio = clip.proprio_BTP if self.proprio_dim else clip.proprio_BTP[..., :0]
        actions = clip.actions_BTA if self.action_dim else clip.actions_BTA[..., :0]
        return Clip(clip.tokens_BTSD, proprio, actions)
