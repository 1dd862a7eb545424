"""A recurrent predictor of bodies: they go on as they went, and push each other by how they meet, wherever that is.

File letters: W width of latents, M width of messages, G sines and cosines
of the phases of a place, N what a pair is known by, I entities that receive and J those that send, both all E.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.types import Predicted
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import check_sizes, start_at_zero
from cjepa.world_models.predictors.filtering import Filter
from cjepa.world_models.predictors.geometry import Geometry
from cjepa.world_models.predictors.object_filter import EachEntity

_RAD = 0.2  # unit of motions: about as far as bodies move in a block
_FAR = 6.0  # units; of what is farther only the direction tells
_NEAREST = 0.05  # units, added to distances: that of a body from itself would have no gradient
_PAIR_DIM = 9


class Motion(NamedTuple):
    """What is known of all entities at a block, normalised."""

    latent_BEW: Tensor
    """All but their places and velocities, such as mass and spin."""
    velocity_BS2: Tensor
    """Of objects in x and y, in rad of the longest wave per block."""
    tokens_BSD: Tensor
    """Object tokens when they were last seen; so is proprioception."""
    proprio_BP: Tensor
    moved_BS2: Tensor
    """How far objects have moved since then, in rad of the longest wave."""


class BodyFilter(Filter):
    """Moves bodies by their velocities, which messages change, and corrects both by where bodies are seen.

    ```
    motion at t  --messages between all entities push-->  velocities  --move-->  motion at t + 1
               where bodies are seen, from where they were expected  --corrects-------^
    ```
    An :class:`~cjepa.world_models.predictors.object_filter.ObjectFilter` that knows what is true of bodies on tables: a
    body goes on as it went; a push depends on where two bodies are and how they move, both relative to each other, and
    has a part along the line between them and one across it; the same scene elsewhere goes on alike. Only what can be
    seen of a body depends on its place.

    The order of objects does not matter, nor does their number. Empty slots act on nothing.

    Args:
        token_dim: D.
        place: where in a token its object's place is, as sines and then cosines of x and y at several wavelengths, each
            half of the one before: the index of the first sine, and the number of wavelengths.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: width of latents.
        message_dim: width of messages.

    Raises:
        ValueError: a size is too small; ``place`` is not within a token.
    """

    def __init__(
        self,
        token_dim: int,
        place: tuple[int, int],
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 128,
        message_dim: int = 64,
    ):
        super().__init__()
        check_sizes(
            {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "message_dim": message_dim},
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        self.token_dim, self.proprio_dim, self.action_dim = token_dim, proprio_dim, action_dim
        self.history_blocks = history_blocks
        self.geometry = Geometry(token_dim, *place)
        waves = 4 * self.geometry.wavelengths
        looks = token_dim - waves

        self.embed = _each(lambda width: _mlp(width, dim, dim), looks, proprio_dim)
        self.norm = nn.LayerNorm(dim)
        self.meet = Meeting(dim, message_dim, action_dim)
        if history_blocks > 1:
            self.notice = _each(lambda width: nn.Linear(width, 2 * dim), 2 * looks + waves, 2 * proprio_dim)
            self.recall = nn.Linear(dim, 2 * dim, bias=False)
            self.revise = _small(nn.Linear(2 * dim, dim + 2))
            self.gain = nn.Linear(waves, 2, bias=False)  # as of a Kalman filter
            nn.init.zeros_(self.gain.weight)
        self.head_norm = nn.LayerNorm(dim)
        self.token_head = _mlp(dim + waves, dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        start_at_zero(self.token_head[-1], self.proprio_head)

    def fit_scales(self, token_scale: Normaliser) -> None:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        self.geometry.fit(token_scale)

    def step(self, state: Motion, actions_BA: Tensor) -> Motion:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        latent_BEW, velocity_BS2, tokens_BSD, proprio_BP, moved_BS2 = state
        place_BS2, presence_BS1 = self.geometry.place(tokens_BSD)
        change_BEW, push_BS2 = self.meet(
            self.norm(latent_BEW), velocity_BS2 / _RAD, (place_BS2 + moved_BS2) / _RAD, presence_BS1, actions_BA
        )
        velocity_BS2 = velocity_BS2 + _RAD * push_BS2
        return Motion(latent_BEW + change_BEW, velocity_BS2, tokens_BSD, proprio_BP, moved_BS2 + velocity_BS2)

    def predicted(self, state: Motion) -> Predicted:
        """See :class:`~cjepa.world_models.predictors.base.Predictor`."""
        latent_BEW, _, tokens_BSD, proprio_BP, moved_BS2 = state
        normed_BEW = self.head_norm(latent_BEW)
        waves_BSG = self.geometry.waves(tokens_BSD, moved_BS2)
        change_BSD = self.token_head(torch.cat([normed_BEW[:, : tokens_BSD.shape[1]], waves_BSG], dim=-1))
        moved_BSD = self.geometry.put(tokens_BSD, waves_BSG) + change_BSD.to(tokens_BSD.dtype)
        if self.proprio_head is not None:
            proprio_BP = proprio_BP + self.proprio_head(normed_BEW[:, -1]).to(proprio_BP.dtype)
        return Predicted(moved_BSD, proprio_BP)

    def _first(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> Motion:
        still_BS2 = torch.zeros_like(tokens_BSD[..., :2])
        latent_BEW = self.embed(self._looks(tokens_BSD), proprio_BP).float()
        return Motion(latent_BEW, still_BS2, tokens_BSD, proprio_BP, still_BS2)

    def _corrected(
        self, state: Motion, expected: Predicted, tokens_BSD: Tensor, proprio_BP: Tensor, hidden_BE1: Tensor
    ) -> Motion:
        count = tokens_BSD.shape[1]
        surprise_BSG = self.geometry.surprise(tokens_BSD, self.geometry.waves(state.tokens_BSD, state.moved_BS2))
        looks = self._looks(tokens_BSD)
        noticed_BEW = self.notice(
            torch.cat([surprise_BSG, looks, looks - self._looks(expected.tokens_BSD)], dim=-1),
            torch.cat([proprio_BP, proprio_BP - expected.proprio_BP], dim=-1),
        )
        revised = self.revise((noticed_BEW + self.recall(self.norm(state.latent_BEW))).relu())
        change_BEW, change_BE2 = _latents_and_velocities(revised)
        turn_BS2 = change_BE2[:, :count] + self.gain(surprise_BSG).float()
        hidden_BS1 = hidden_BE1[:, :count]
        return Motion(
            state.latent_BEW + change_BEW.masked_fill(hidden_BE1, 0),
            state.velocity_BS2 + _RAD * turn_BS2.masked_fill(hidden_BS1, 0),
            tokens_BSD,
            proprio_BP,
            state.moved_BS2 * hidden_BS1,
        )

    def _looks(self, tokens_BSD: Tensor) -> Tensor:
        """The values of tokens that are no place."""
        place = self.geometry.values
        return torch.cat([tokens_BSD[..., : place.start], tokens_BSD[..., place.stop :]], dim=-1)


class Meeting(nn.Module):
    """What entities do to each other in a block.

    Args:
        dim: W.
        message_dim: M.
        action_dim: A, 0 for no actions.
    """

    def __init__(self, dim: int, message_dim: int, action_dim: int):
        super().__init__()
        self.receive = nn.Linear(dim + 2, message_dim)
        self.send = nn.Linear(dim + 2, message_dim, bias=False)
        self.relate = nn.Linear(_PAIR_DIM, message_dim, bias=False)
        self.message = nn.Linear(message_dim, message_dim)
        self.push = nn.Linear(message_dim, 2)
        self.from_itself = nn.Linear(dim + 2, 2 * dim)
        self.from_messages = nn.Linear(message_dim, 2 * dim, bias=False)
        self.from_action = nn.Linear(action_dim, 2 * dim, bias=False) if action_dim else None
        self.change = _small(nn.Linear(2 * dim, dim + 2))
        start_at_zero(self.push)

    def forward(
        self, latent_BEW: Tensor, velocity_BS2: Tensor, place_BS2: Tensor, presence_BS1: Tensor, actions_BA: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How latents and velocities change.

        Args:
            latent_BEW: normalised; objects come first among the entities.
            velocity_BS2: in units of motion per block.
            place_BS2: in units of motion.
            presence_BS1: in [0, 1]; the messages of objects count as much.
            actions_BA: of the block.
        """
        others = latent_BEW.shape[1] - place_BS2.shape[1]
        known = torch.cat([latent_BEW, pad(velocity_BS2, (0, 0, 0, others))], dim=-1)
        pair_JBIN, along_SBS2 = _pairs(place_BS2, velocity_BS2)
        pair_JBIN = pad(pair_JBIN, (0, 0, 0, others, 0, 0, 0, others))
        met = self.receive(known) + self.send(known).transpose(0, 1)[:, :, None] + self.relate(pair_JBIN)
        met_JBIM = met.relu()
        weight_JB11 = pad(presence_BS1, (0, 0, 0, others), value=1.0).transpose(0, 1)[:, :, None]
        received_BIM = (self.message(met_JBIM).relu() * weight_JB11).sum(dim=0)
        hidden = self.from_itself(known) + self.from_messages(received_BIM)
        if self.from_action is not None:
            hidden = hidden + self.from_action(actions_BA)[:, None]
        change_BEW, push_BE2 = _latents_and_velocities(self.change(hidden.relu()))
        count = place_BS2.shape[1]
        strength = self.push(met_JBIM)[:count, :, :count].float() * weight_JB11[:count]
        across_SBS2 = torch.stack([along_SBS2[..., 1], -along_SBS2[..., 0]], dim=-1)
        push_BS2 = (strength[..., :1] * along_SBS2 + strength[..., 1:] * across_SBS2).sum(dim=0)
        return change_BEW, push_BE2[:, :count] + push_BS2


def _pairs(place_BS2: Tensor, velocity_BS2: Tensor) -> tuple[Tensor, Tensor]:
    """How every object is met by every other one.

    Returns:
        What a pair is known by, ``(S, B, S, N)``, sender first; the direction from receiver to sender ``(S, B, S, 2)``.
    """
    apart, closing = (values.transpose(0, 1)[:, :, None] - values for values in (place_BS2, velocity_BS2))
    distance = (apart.square().sum(dim=-1, keepdim=True) + _NEAREST**2).sqrt()
    along = apart / distance
    speed = (closing * along).sum(dim=-1, keepdim=True)
    swerve = closing[..., :1] * along[..., 1:] - closing[..., 1:] * along[..., :1]
    near = apart.clamp(-_FAR, _FAR) / 2
    return torch.cat([near, distance.clamp(max=_FAR) - 2, along, speed, swerve, closing], dim=-1), along


def _latents_and_velocities(change: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer changes of latents, and of velocities: its last two values."""
    return change[..., :-2].float(), change[..., -2:].float()


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


def _each(layer: Callable[[int], nn.Module], objects: int, proprio: int) -> EachEntity:
    return EachEntity(layer(objects), layer(proprio) if proprio else None)


def _small(layer: nn.Linear) -> nn.Linear:
    """A layer that changes latents little at first, and velocities, its last two values, not at all."""
    with torch.no_grad():
        layer.weight *= 0.3
        layer.weight[-2:] = 0
        layer.bias[-2:] = 0
    return layer
