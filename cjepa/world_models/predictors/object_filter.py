"""A recurrent predictor: entities move by messages between them, and are corrected by what is seen of them.

File letters: W width of latents and messages, G sines and cosines of the
phases of a place.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.arguments import share_below_one
from cjepa.types import Predicted
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import check_sizes, start_at_zero
from cjepa.world_models.predictors.filtering import Filter
from cjepa.world_models.predictors.geometry import Geometry

_RAD = 0.2  # the short waves turn eight times as far, which would make the first steps too long


class Belief(NamedTuple):
    """What is known of all entities at a block, normalised."""

    latent_BEW: Tensor
    """Also of what has changed since the entities were last seen."""
    tokens_BSD: Tensor
    """Object tokens when they were last seen; so is proprioception."""
    proprio_BP: Tensor
    moved_BS2: Tensor
    """How far objects have moved in x and y since then, in rad of the longest wave; 0 for tokens without places."""


class ObjectFilter(Filter):
    """Moves a latent of every entity from block to block, and corrects the latents of those that are seen.

    ```
    belief at t  --rounds of messages between all entities, with the action of block t-->  belief at t + 1
                                                          tokens of t + 1, where visible  --corrects--^
    ```
    A hidden object is never corrected: its past and the other objects are all that tells of it. The future is where
    nothing is visible, so several blocks are predicted in one pass, and a loss over them trains what planning uses.
    After Interaction Networks (Battaglia et al., arXiv 1612.00222), with the prediction and correction of a filter.

    There are no embeddings of slots or time: the order of objects does not matter, nor does their number.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: width of latents and messages.
        rounds: of messages in a block, each with weights of its own.
        dropout: in every round.
        place: where in a token its object's place is, as sines and then cosines of x and y at several wavelengths, each
            half of the one before: the index of the first sine, and the number of wavelengths. Objects then move in x
            and y, and messages see places relative to each other, on which contact depends. None for other tokens.

    Raises:
        ValueError: a size is too small; ``place`` is not within a token.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 192,
        rounds: int = 2,
        dropout: float = 0.0,
        place: tuple[int, int] | None = None,
    ):
        super().__init__()
        check_sizes(
            {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "rounds": rounds},
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks

        def each(layer: Callable[[int], nn.Module]) -> EachEntity:
            return EachEntity(layer(token_dim), layer(proprio_dim) if proprio_dim else None)

        self.embed = each(lambda width: nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim)))
        self.carry = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim)) if history_blocks > 1 else None
        self.geometry = None if place is None else Geometry(token_dim, *place)
        geometry_dim = 0 if self.geometry is None else 4 * self.geometry.wavelengths
        self.rounds = nn.ModuleList(Round(dim, action_dim, geometry_dim, dropout) for _ in range(rounds))
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        self.move_head = nn.Linear(dim, 2) if self.geometry is not None else None
        start_at_zero(self.token_head, self.proprio_head, self.move_head)

    def fit_scales(self, token_scale: Normaliser) -> None:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        if self.geometry is not None:
            self.geometry.fit(token_scale)

    def step(self, state: Belief, actions_BA: Tensor) -> Belief:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        latent_BEW, tokens_BSD, proprio_BP, moved_BS2 = state
        for messages in self.rounds:
            geometry = self.geometry and self.geometry(tokens_BSD, moved_BS2)
            latent_BEW = messages(latent_BEW, geometry, actions_BA)
            if self.geometry is not None:
                move_BS2 = self.move_head(self.norm(self._objects(latent_BEW, tokens_BSD))).float()
                moved_BS2 = moved_BS2 + _RAD * move_BS2
        return Belief(latent_BEW, tokens_BSD, proprio_BP, moved_BS2)

    def predicted(self, state: Belief) -> Predicted:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        latent_BEW, tokens_BSD, proprio_BP, moved_BS2 = state
        change_BEW = self.norm(latent_BEW)
        moved_BSD = tokens_BSD + self.token_head(self._objects(change_BEW, tokens_BSD)).to(tokens_BSD.dtype)
        if self.geometry is not None:
            moved_BSD = moved_BSD + self.geometry.change(tokens_BSD, moved_BS2)
        if self.proprio_head is not None:
            proprio_BP = proprio_BP + self.proprio_head(change_BEW[:, -1]).to(proprio_BP.dtype)
        return Predicted(moved_BSD, proprio_BP)

    def _first(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> Belief:
        moved_BS2 = torch.zeros_like(tokens_BSD[..., :2])
        return Belief(self.embed(tokens_BSD, proprio_BP), tokens_BSD, proprio_BP, moved_BS2)

    def _corrected(
        self, state: Belief, expected: Predicted, tokens_BSD: Tensor, proprio_BP: Tensor, hidden_BE1: Tensor
    ) -> Belief:
        seen_BEW = self.embed(tokens_BSD, proprio_BP) + self.carry(state.latent_BEW)
        latent_BEW = torch.where(hidden_BE1, state.latent_BEW, seen_BEW)
        return Belief(latent_BEW, tokens_BSD, proprio_BP, state.moved_BS2 * self._objects(hidden_BE1, tokens_BSD))

    @staticmethod
    def _objects(latent_BEW: Tensor, tokens_BSD: Tensor) -> Tensor:
        return latent_BEW[:, : tokens_BSD.shape[1]]


class Round(nn.Module):
    """Every entity receives a message from each, itself too, and moves.

    Args:
        dim: W.
        action_dim: A, 0 for no actions.
        geometry_dim: G, 0 for messages that see latents alone.
        dropout: on the hidden layer.
    """

    def __init__(self, dim: int, action_dim: int, geometry_dim: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.receive = nn.Linear(dim, dim)
        self.send = nn.Linear(dim, dim, bias=False)
        self.relate = nn.Linear(geometry_dim, dim, bias=False) if geometry_dim else None
        self.from_itself = nn.Linear(dim, 2 * dim)
        self.from_messages = nn.Linear(dim, 2 * dim, bias=False)
        self.from_action = nn.Linear(action_dim, 2 * dim, bias=False) if action_dim else None
        share_below_one(dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.change = nn.Linear(2 * dim, dim)
        with torch.no_grad():
            self.change.weight *= 0.3  # a round changes little at first

    def forward(self, latent_BEW: Tensor, geometry_BSSG: Tensor | None, actions_BA: Tensor) -> Tensor:
        """The latents after the round; objects come first among the entities."""
        normed = self.norm(latent_BEW)
        message_BEEW = self.receive(normed)[:, :, None] + self.send(normed)[:, None]
        if self.relate is not None:
            others = latent_BEW.shape[1] - geometry_BSSG.shape[1]
            message_BEEW = message_BEEW + pad(self.relate(geometry_BSSG), (0, 0, 0, others, 0, others))
        # a sum over a middle axis is slow on CPUs
        hidden = self.from_itself(normed) + self.from_messages(sum(message_BEEW.relu().unbind(2)))
        if self.from_action is not None:
            hidden = hidden + self.from_action(actions_BA)[:, None]
        return latent_BEW + self.change(self.dropout(hidden.relu()))


class EachEntity(nn.Module):
    """A layer for objects and one for proprioception, to the same width.

    Args:
        objects: of D values.
        proprio: of P values, None where there is no such entity.
    """

    def __init__(self, objects: nn.Module, proprio: nn.Module | None):
        super().__init__()
        self.objects = objects
        self.proprio = proprio

    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> Tensor:
        """``(B, E, width)``."""
        objects_BSW = self.objects(tokens_BSD)
        if self.proprio is None:
            return objects_BSW
        return torch.cat([objects_BSW, self.proprio(proprio_BP)[:, None]], dim=1)
