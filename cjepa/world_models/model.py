"""A predictor with the scales of its data: dynamics over a window of tokens."""

from typing import NamedTuple

from torch import Tensor

from cjepa.errors import UserError
from cjepa.types import Clip, Predicted, Rollout
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Prediction, Predictor


class PredictorDynamics(Dynamics):
    """A predictor in the units of tokenizer and environment.

    Args:
        predictor: of the next blocks.

    Raises:
        UserError: the predictor lacks one of its sizes.
    """

    def __init__(self, predictor: Predictor):
        super().__init__()
        if lacking := [name for name in Predictor.__annotations__ if not hasattr(predictor, name)]:
            raise UserError(f"{type(predictor).__name__}.__init__ does not set {', '.join(lacking)}")
        self.predictor = predictor
        self.token_dim, self.proprio_dim = predictor.token_dim, predictor.proprio_dim
        self.action_dim, self.history_blocks = predictor.action_dim, predictor.history_blocks
        self.token_scale = Normaliser(predictor.token_dim)
        self.proprio_scale = Normaliser(predictor.proprio_dim)
        self.action_scale = Normaliser(predictor.action_dim)

    def fit_scales(self, clips: Clip, tokens: bool = True) -> None:
        """Fit the scales on clips of training episodes, once: a fitted model keeps its own.

        Args:
            clips: in the units of tokenizer and environment.
            tokens: whether tokens are scaled too; without, they stay in the tokenizer's units.
        """
        if bool(self.token_scale.fitted):
            return
        for scale, values in zip(self._scales(), self._entities(clips), strict=True):
            if values.shape[-1] and (tokens or scale is not self.token_scale):
                scale.fit(values)
        self.token_scale.fitted.fill_(True)
        self.predictor.fit_scales(self.token_scale)

    def normalise(self, clip: Clip) -> Clip:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return Clip(*(scale(values) for scale, values in zip(self._scales(), self._entities(clip), strict=True)))

    def denormalise(self, rollout: Rollout) -> Rollout:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return rollout._replace(
            tokens_BHSD=self.token_scale.inverse(rollout.tokens_BHSD),
            proprio_BHP=self.proprio_scale.inverse(rollout.proprio_BHP),
        )

    def forward(self, clip: Clip, mask_BTE: Tensor) -> Prediction:
        """Predict as in training.

        Args:
            clip: normalised, T + F blocks; of the last F only the actions are read.
            mask_BTE: of the first T blocks, see :class:`Predictor`.
        """
        return self.predictor.unroll(*_history(clip, mask_BTE))

    def forward_members(self, clip: Clip, mask_BTE: Tensor) -> list[Prediction]:
        """The predictions that are trained, see :meth:`Predictor.unroll_members`; arguments as of :meth:`forward`."""
        return self.predictor.unroll_members(*_history(clip, mask_BTE))

    def observe(self, clip: Clip) -> NamedTuple:
        """The predictor's, of the last ``history_blocks``, see :class:`~cjepa.world_models.dynamics.Dynamics`."""
        tokens, proprio, actions = self.normalise(clip).blocks(-self.history_blocks)
        return self.predictor.observe(tokens, proprio, actions[:, :-1])

    def step(self, state: NamedTuple, actions_BA: Tensor) -> NamedTuple:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return self.predictor.step(state, self._normalised(actions_BA))

    def rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`; in one pass where the predictor can."""
        at_once = self.predictor.rollout(state, self._normalised(actions_BHA))
        return super().rollout(state, actions_BHA) if at_once is None else at_once

    def predicted(self, state: NamedTuple) -> Predicted:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return self.predictor.predicted(state)

    def sources(self, state: NamedTuple, actions_BA: Tensor) -> Tensor | None:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`."""
        return self.predictor.sources(state, self._normalised(actions_BA))

    def describe_uncertainty(self) -> list[str]:
        """See :class:`~cjepa.world_models.dynamics.Dynamics`; the predictor's."""
        return self.predictor.describe_uncertainty()

    def _normalised(self, actions: Tensor) -> Tensor:
        return self.action_scale(actions[..., : self.action_dim])

    def _scales(self) -> tuple[Normaliser, Normaliser, Normaliser]:
        return self.token_scale, self.proprio_scale, self.action_scale

    def _entities(self, clip: Clip) -> Clip:
        """The clip without the values of entities that the predictor does not have."""
        proprio = clip.proprio_BTP if self.proprio_dim else clip.proprio_BTP[..., :0]
        actions = clip.actions_BTA if self.action_dim else clip.actions_BTA[..., :0]
        return Clip(clip.tokens_BTSD, proprio, actions)


def _history(clip: Clip, mask_BTE: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a predictor is given of a clip: the blocks that the mask is of, and all actions that lead to a block."""
    blocks = mask_BTE.shape[1]
    tokens, proprio, actions = clip
    return tokens[:, :blocks], proprio[:, :blocks], actions[:, :-1], mask_BTE
