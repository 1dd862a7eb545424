"""The contract of a predictor: from a partly hidden history of entities to its hidden cells and the next blocks.

File letters: F predicted blocks after the history, 1 or more; U = T + F - 1 blocks whose actions are known; V = T - 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.errors import UserError
from cjepa.shapes import check_given
from cjepa.types import Predicted, Rollout
from cjepa.world_models.masks import split_mask
from cjepa.world_models.normalise import Normaliser


class Prediction(NamedTuple):
    """What a predictor makes of a history, in normalised units."""

    history_BTSD: Tensor
    """Object tokens of the history again; those of hidden cells are the ones that count."""
    future_BFSD: Tensor
    """Object tokens of the blocks after the history."""
    proprio_BFP: Tensor
    """Proprioception of the blocks after the history; P is 0 where the predictor has no such entity."""


class Window(NamedTuple):
    """The last blocks of a history, seen or predicted, normalised."""

    tokens_BTSD: Tensor
    proprio_BTP: Tensor
    actions_BVA: Tensor
    """Of the blocks before the last one."""


class Predictor(nn.Module, ABC):
    """Predicts hidden history and the next blocks from a history of T blocks. All values are normalised.

    A predictor of one block writes :meth:`forward` alone: its predictions are fed back into it. One that carries a
    state of its own from block to block overrides :meth:`begin`, or :meth:`unroll` as a whole, and :meth:`observe`,
    :meth:`step` and :meth:`predicted`. One that predicts several blocks in one pass sets ``pass_blocks`` and, where it
    can roll out in one pass too, overrides :meth:`rollout`.

    Subclasses set ``token_dim`` (D), ``proprio_dim`` (P), ``action_dim`` (A) and ``history_blocks``, the longest T.
    A width of 0 means that there is no such entity: no agent, or no proprioception. ``stop_gradient`` cuts the gradient
    of a loss over several blocks between a block and those before it that were predicted and fed back.
    """

    token_dim: int
    proprio_dim: int
    action_dim: int
    history_blocks: int
    stop_gradient: bool = False
    num_tokens: int | None = None
    """The only number of tokens of a block that it can predict, see :meth:`check_tokens`; None: any."""
    pass_blocks: int = 1
    """How many blocks one pass predicts: a training over fewer would leave a part of the predictor untrained."""
    pass_key = "predict_blocks"
    """The argument that ``pass_blocks`` comes from, where it is more than 1."""
    layer_normed = False
    """Whether the values of every predicted token have a mean of 0 and a deviation of 1, so that targets need them."""
    sizes_key = "init_args"
    """Where a config has the sizes, below the predictor."""

    @abstractmethod
    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """Predict the next block, or blocks, see the class.

        Args:
            tokens_BTSD: normalised object tokens of the history; what ``mask_BTE`` hides is never read.
            proprio_BTP: normalised proprioception of the history; the same holds.
            actions_BTA: normalised actions; row t leads from block t to t + 1.
            mask_BTE: bool, True = hidden. Row 0, the identity anchor, is visible. One column per object; one more is
                that of proprioception. :func:`~cjepa.world_models.masks.split_mask` takes both kinds.
        """

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """Predict F = U - T + 1 blocks; the other arguments are those of :meth:`forward`."""
        blocks = tokens_BTSD.shape[1]
        first, state = self.begin(tokens_BTSD, proprio_BTP, actions_BUA[:, :blocks], mask_BTE)
        tokens, proprio = [first.future_BFSD[:, 0]], [first.proprio_BFP[:, 0]]
        for actions_BA in actions_BUA[:, blocks:].unbind(1):
            if self.stop_gradient:
                state = type(state)(*(values.detach() for values in state))
            state = self.step(state, actions_BA)
            predicted = self.predicted(state)
            tokens.append(predicted.tokens_BSD)
            proprio.append(predicted.proprio_BP)
        return Prediction(first.history_BTSD, torch.stack(tokens, dim=1), torch.stack(proprio, dim=1))

    def begin(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor
    ) -> tuple[Prediction, NamedTuple]:
        """What :meth:`forward` predicts, and the state at the predicted block."""
        prediction = _checked(self, self(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE), tokens_BTSD, proprio_BTP)
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, tokens_BTSD.shape[2])
        seen_BTSD = torch.where(mask_BTS[..., None], prediction.history_BTSD.to(tokens_BTSD.dtype), tokens_BTSD)
        seen_BTP = torch.where(hidden_BT1, proprio_BTP[:, :1], proprio_BTP)  # its history is not predicted
        return prediction, self._appended(Window(seen_BTSD, seen_BTP, actions_BTA), prediction)

    def unroll_members(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor
    ) -> list[Prediction]:
        """The predictions that have a loss of their own: those of all members of an ensemble, else :meth:`unroll`."""
        return [self.unroll(tokens_BTSD, proprio_BTP, actions_BUA, mask_BTE)]

    def check_tokens(self, found: int) -> None:
        """Whether it can predict so many tokens of a block.

        Raises:
            UserError: it is for another number.
        """
        if self.num_tokens not in (None, found):
            raise UserError(
                f"the predictor is for {self.num_tokens} tokens a block, but there are {found}; set its num_tokens or "
                f"num_positions to {found}"
            )

    def fit_scales(self, token_scale: Normaliser) -> None:  # noqa: B027 - most have nothing to learn
        """Learn from how tokens are normalised, once, before training."""

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> NamedTuple:
        """The state after a history of which everything is visible: a NamedTuple of tensors, batch first."""
        return Window(tokens_BTSD, proprio_BTP, actions_BVA)

    def step(self, state: NamedTuple, actions_BA: Tensor) -> NamedTuple:
        """The state one block later."""
        actions_BTA = torch.cat([state.actions_BVA, actions_BA[:, None]], dim=1)
        visible_BTS = torch.zeros(state.tokens_BTSD.shape[:3], dtype=torch.bool, device=actions_BA.device)
        window = state._replace(actions_BVA=actions_BTA)
        return self._appended(window, self.following(state.tokens_BTSD, state.proprio_BTP, actions_BTA, visible_BTS))

    def following(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """What :meth:`forward` predicts where nothing is hidden; what it says of the history is never read."""
        return self(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def rollout(self, state: NamedTuple, actions_BHA: Tensor) -> Rollout | None:
        """The H blocks after a state in one pass; None for a predictor that goes :meth:`step` by step."""
        return None

    def predicted(self, state: NamedTuple) -> Predicted:
        """What is predicted for a state's present block."""
        return Predicted(state.tokens_BTSD[:, -1], state.proprio_BTP[:, -1])

    def watched(self, generator: torch.Generator | None = None) -> AbstractContextManager[list[Tensor]]:
        """While open, passes draw what they choose at random from the generator, and the list gets what they chose.

        That is, of each pass, how many paths lead from the entity of a column to that of a row: float ``(B, E, E)``.
        Most predictors choose nothing, and the list stays empty.

        Args:
            generator: on the CPU; None for the most probable choice.
        """
        return nullcontext([])

    def sources(self, state: NamedTuple, actions_BA: Tensor) -> Tensor | None:
        """From which entities the next block of each one is computed, by edges that the predictor itself chooses.

        Returns:
            bool ``(B, E, E)``, True where that of the row depends on the column and on the diagonal; None for a
            predictor in which all entities act on all.
        """
        return None

    def describe_uncertainty(self) -> list[str]:
        """What its predictions say of their own errors, for ``run.json``."""
        return []

    def _appended(self, window: Window, prediction: Prediction) -> Window:
        """A window with as many actions as blocks, and the predicted block after it; no longer than a history."""
        tokens, proprio, actions = window
        tokens = torch.cat([tokens, prediction.future_BFSD[:, :1].to(tokens.dtype)], dim=1)
        proprio = torch.cat([proprio, prediction.proprio_BFP[:, :1].to(proprio.dtype)], dim=1)
        keep = self.history_blocks
        return Window(tokens[:, -keep:], proprio[:, -keep:], actions[:, max(0, tokens.shape[1] - keep) :])


def _checked(predictor: Predictor, prediction: object, tokens_BTSD: Tensor, proprio_BTP: Tensor) -> Prediction:
    """What :meth:`Predictor.forward` gives for a history, which may be the user's own.

    Raises:
        UserError: it is no prediction, or a part of it has another shape.
    """
    name = f"{type(predictor).__name__}.forward"
    if not isinstance(prediction, Prediction):
        raise UserError(f"{name} gives a {type(prediction).__name__}, expected a Prediction")
    batch, _, *token = tokens_BTSD.shape
    future = prediction.future_BFSD
    blocks = max(1, future.shape[1]) if isinstance(future, Tensor) and future.ndim == tokens_BTSD.ndim else 1
    check_given(prediction.history_BTSD, tuple(tokens_BTSD.shape), f"{name}: history_BTSD")
    check_given(future, (batch, blocks, *token), f"{name}: future_BFSD")
    check_given(prediction.proprio_BFP, (batch, blocks, proprio_BTP.shape[2]), f"{name}: proprio_BFP")
    return prediction


def start_at_zero(*layers: nn.Linear | None) -> None:
    """Let heads begin with zeros, so that an untrained predictor says: nothing changes. None is a head it lacks."""
    for layer in filter(None, layers):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def check_sizes(positive: Mapping[str, int], others: Mapping[str, int]) -> None:
    """Check the sizes that a predictor is made with.

    Args:
        positive: sizes that have to be 1 or more, by the argument's name.
        others: sizes that may be 0.

    Raises:
        ValueError: a size is smaller; the line names it.
    """
    at_least(1, **positive)
    at_least(0, **others)
