"""A small policy that passes messages between objects; their order and their number do not matter.

File letters: W width of latents and messages; E entities: the objects, proprioception, and the intention.
"""

import torch
from torch import Tensor, nn

from cjepa.policies.base import GoalPolicy
from cjepa.types import Clip
from cjepa.world_models.predictors.base import check_sizes, start_at_zero
from cjepa.world_models.predictors.geometry import Geometry
from cjepa.world_models.predictors.object_filter import Round


class ObjectPolicy(GoalPolicy):
    """Rounds of messages between objects, proprioception and an intention, from which the actions are read.

    An object enters with its token now and its token at the goal. The rounds are those of
    :class:`~cjepa.world_models.predictors.object_filter.ObjectFilter`.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for a policy that does not look at proprioception.
        action_dim: A, the action values of one block.
        dim: width of latents and messages.
        rounds: of messages, each with weights of its own.
        dropout: in every round.
        place: where in a token its object's place is, see ``ObjectFilter``: messages then see all places, now and at
            the goal, relative to the receiver's. None for tokens without places.

    Raises:
        ValueError: a size is too small; ``place`` is not within a token.
    """

    outputs_per_action = 1
    """Of the head; a subclass may read more than the action."""

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        dim: int = 192,
        rounds: int = 3,
        dropout: float = 0.0,
        place: tuple[int, int] | None = None,
    ):
        sizes = {"token_dim": token_dim, "action_dim": action_dim, "dim": dim, "rounds": rounds}
        check_sizes(sizes, {"proprio_dim": proprio_dim})
        if place is not None and rounds < 2:
            raise ValueError("rounds is 1, expected 2 or more with a place: the last round is to the intention")
        super().__init__(token_dim, proprio_dim, action_dim)
        self.embed_objects = _embedding(2 * token_dim, dim)
        self.embed_proprio = _embedding(proprio_dim, dim) if proprio_dim else None
        self.intention = nn.Parameter(torch.zeros(dim))
        self.geometry = None if place is None else Geometry(token_dim, *place)
        geometry_dim = 0 if self.geometry is None else 2 * 4 * self.geometry.wavelengths
        widths = [*[geometry_dim] * (rounds - 1), 0]  # the last round is to the intention, which has no place
        self.rounds = nn.ModuleList(Round(dim, 0, width, dropout) for width in widths)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, self.outputs_per_action * action_dim)
        start_at_zero(self.head)

    def fit_scales(self, clips: Clip) -> None:
        """See :class:`GoalPolicy`."""
        super().fit_scales(clips)
        if self.geometry is not None:
            self.geometry.fit(self.token_scale)

    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """See :class:`GoalPolicy`."""
        parts = [self.embed_objects(torch.cat([tokens_BSD, goal_BSD], dim=-1))]
        if self.embed_proprio is not None:
            parts.append(self.embed_proprio(proprio_BP)[:, None])
        latent_BEW = torch.cat([*parts, self.intention.expand(len(tokens_BSD), 1, -1)], dim=1)
        geometry_BSSG = None
        if self.geometry is not None:
            places = (self.geometry.between(tokens_BSD, seen_BSD) for seen_BSD in (tokens_BSD, goal_BSD))
            geometry_BSSG = torch.cat(list(places), dim=-1)
        no_actions = tokens_BSD.new_zeros(len(tokens_BSD), 0)
        for messages in self.rounds:
            latent_BEW = messages(latent_BEW, geometry_BSSG, no_actions)
        return self.head(self.norm(latent_BEW[:, -1]))


def _embedding(values: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(values, dim), nn.GELU(), nn.Linear(dim, dim))
