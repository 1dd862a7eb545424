"""A recurrent state-space model on object tokens: every entity has a deterministic state and a categorical latent.

File letters: V actions before the last block of a history, W width of deterministic states, M of the layers between,
K categorical variables of C classes each, G groups of a state.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cjepa.arguments import check, share_below_one
from cjepa.types import Predicted
from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes
from cjepa.world_models.predictors.object_filter import EachEntity


class RecurrentState(NamedTuple):
    """Of all entities at a block."""

    state_BEW: Tensor
    """Deterministic."""
    latent_BEKC: Tensor
    """One class of each variable, one-hot: drawn from the posterior where the entity is seen, else from the prior."""


class Inferred(NamedTuple):
    """What a model infers of a history of T blocks."""

    tokens_BTSD: Tensor
    """Decoded from states and latents, normalised, as is proprioception."""
    proprio_BTP: Tensor
    prior_BVEKC: Tensor
    """Log-probabilities for the blocks after the first, before they are seen."""
    posterior_BVEKC: Tensor
    """The same after they have been seen."""


class ObjectRSSM(Predictor):
    """The world model of DreamerV3 (Hafner et al., arXiv 2301.04104) with one state per entity instead of one in all.

    ```
    state, latent, action, messages at t  --grouped GRU-->  state at t + 1  --prior-->  latent where nothing is seen
                                         state at t + 1, token of t + 1  --posterior-->  latent where it is seen
                                         state, latent  --decoder-->  token
    ```
    Weights are shared between entities, which hear of each other by messages. Nothing that is seen reaches a state but
    through the classes of a latent, so tokens are known to the precision of K variables. Here, as a predictor, the most
    probable classes are taken, so predictions are no random draws; :meth:`infer` draws them in training. A hidden
    object has no posterior: its prior is all that is known.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: W, a multiple of ``groups``.
        mlp_dim: M; messages have this width too.
        coder_dim: width of the layers between tokens and latents.
        latents: K.
        classes: C.
        groups: G, parts of a state that have weights of their own and hear of each other by way of M values.
        uniform: share of the uniform distribution that is mixed into each prior and posterior.

    Raises:
        ValueError: a size is too small, ``dim`` is no multiple of ``groups``, or ``uniform`` is not within [0, 1).
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 256,
        mlp_dim: int = 64,
        coder_dim: int = 192,
        latents: int = 32,
        classes: int = 4,
        groups: int = 8,
        uniform: float = 0.01,
    ):
        super().__init__()
        sizes = {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "mlp_dim": mlp_dim}
        sizes |= {"coder_dim": coder_dim, "latents": latents, "classes": classes, "groups": groups}
        check_sizes(sizes, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        check(dim % groups == 0, "dim", dim, f"a multiple of groups = {groups}")
        share_below_one(uniform=uniform)
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.latents, self.classes, self.uniform = latents, classes, uniform
        latent_dim = latents * classes

        def decoder(width: int) -> nn.Module:
            return nn.Sequential(
                layer(dim + latent_dim, coder_dim), layer(coder_dim, coder_dim), nn.Linear(coder_dim, width)
            )

        def encoder(width: int) -> nn.Module:
            return nn.Sequential(layer(width, coder_dim), layer(coder_dim, coder_dim))

        self.embed = EachEntity(encoder(token_dim), encoder(proprio_dim) if proprio_dim else None)
        self.advance = Advance(dim, latent_dim, action_dim, mlp_dim, groups)
        self.prior = nn.Sequential(layer(dim, mlp_dim), layer(mlp_dim, mlp_dim), nn.Linear(mlp_dim, latent_dim))
        self.posterior = nn.Sequential(layer(dim + coder_dim, mlp_dim), nn.Linear(mlp_dim, latent_dim))
        self.token_head = decoder(token_dim)
        self.proprio_head = decoder(proprio_dim) if proprio_dim else None

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return self.unroll(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        before = tokens_BTSD.shape[1] - 1
        inferred, state = self.infer(tokens_BTSD, proprio_BTP, actions_BUA[:, :before], mask_BTE)
        future = []
        for actions_BA in actions_BUA[:, before:].unbind(1):
            state = self.step(state, actions_BA)
            future.append(self.predicted(state)[:2])
        tokens_BFSD, proprio_BFP = (torch.stack(values, dim=1) for values in zip(*future, strict=True))
        return Prediction(inferred.tokens_BTSD, tokens_BFSD, proprio_BFP)

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> RecurrentState:
        """See :class:`Predictor`."""
        visible_BTS = torch.zeros_like(tokens_BTSD[..., 0], dtype=torch.bool)
        return self.infer(tokens_BTSD, proprio_BTP, actions_BVA, visible_BTS)[1]

    def step(self, state: RecurrentState, actions_BA: Tensor) -> RecurrentState:
        """See :class:`Predictor`."""
        state_BEW = self.advance(state.state_BEW, state.latent_BEKC.flatten(2), actions_BA)
        return RecurrentState(state_BEW, drawn(self._distribution(self.prior(state_BEW)), None))

    def predicted(self, state: RecurrentState) -> Predicted:
        """See :class:`Predictor`."""
        known = torch.cat([state.state_BEW, state.latent_BEKC.flatten(2)], dim=-1)
        if self.proprio_head is None:
            return Predicted(self.token_head(known).float(), known.new_zeros(len(known), 0))
        return Predicted(self.token_head(known[:, :-1]).float(), self.proprio_head(known[:, -1]).float())

    def infer(
        self,
        tokens_BTSD: Tensor,
        proprio_BTP: Tensor,
        actions_BVA: Tensor,
        mask_BTE: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Inferred, RecurrentState]:
        """Go through a history block by block.

        Args:
            tokens_BTSD: normalised, as are proprioception and actions.
            proprio_BTP: of the same blocks.
            actions_BVA: of all blocks but the last.
            mask_BTE: see :meth:`forward`.
            generator: of the classes, on the CPU; None for the most probable ones.

        Returns:
            What is inferred, and the state at the last block.
        """
        hidden_BTE = torch.cat(split_mask(mask_BTE, tokens_BTSD.shape[2]), dim=-1)
        seen_BTER = self._embedded(tokens_BTSD, proprio_BTP, hidden_BTE)
        hidden_BTE = hidden_BTE[..., : seen_BTER.shape[2]]
        batch, entities = seen_BTER.shape[0], seen_BTER.shape[2]
        state_BEW = seen_BTER.new_zeros(batch, entities, self.advance.dim, dtype=torch.float32)
        decoded, priors, posteriors = [], [], []
        for block, seen_BER in enumerate(seen_BTER.unbind(1)):
            prior = self._distribution(self.prior(state_BEW))
            posterior = self._distribution(self.posterior(torch.cat([state_BEW, seen_BER], dim=-1)))
            posterior = torch.where(hidden_BTE[:, block, :, None, None], prior, posterior)
            state = RecurrentState(state_BEW, drawn(posterior, generator))
            decoded.append(self.predicted(state)[:2])
            priors.append(prior)
            posteriors.append(posterior)
            if block < actions_BVA.shape[1]:
                state_BEW = self.advance(state_BEW, state.latent_BEKC.flatten(2), actions_BVA[:, block])
        tokens, proprio = (torch.stack(values, dim=1) for values in zip(*decoded, strict=True))
        prior_BTEKC, posterior_BTEKC = torch.stack(priors, dim=1), torch.stack(posteriors, dim=1)
        return Inferred(tokens, proprio, prior_BTEKC[:, 1:], posterior_BTEKC[:, 1:]), state

    def _embedded(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, hidden_BTE: Tensor) -> Tensor:
        """All entities of all blocks, ``(B, T, E, width)``; hidden ones as zeros, whatever they are."""
        slots = tokens_BTSD.shape[2]
        tokens_BTSD = torch.where(hidden_BTE[..., :slots, None], 0.0, tokens_BTSD)
        proprio_BTP = torch.where(hidden_BTE[..., slots:], 0.0, proprio_BTP)
        together = self.embed(tokens_BTSD.flatten(0, 1), proprio_BTP.flatten(0, 1))
        return together.unflatten(0, tokens_BTSD.shape[:2])

    def _distribution(self, logits: Tensor) -> Tensor:
        """Log-probabilities ``(..., K, C)``, with the uniform share."""
        probability = logits.float().unflatten(-1, (self.latents, self.classes)).softmax(dim=-1)
        return ((1 - self.uniform) * probability + self.uniform / self.classes).log()


class Advance(nn.Module):
    """The next deterministic states: DreamerV3's GRU in groups, which also hears the messages of all entities.

    Args:
        dim: W.
        latent_dim: K x C.
        action_dim: A, 0 for no actions.
        mlp_dim: M.
        groups: G.
    """

    def __init__(self, dim: int, latent_dim: int, action_dim: int, mlp_dim: int, groups: int):
        super().__init__()
        self.dim, self.groups = dim, groups
        self.from_state = layer(dim, mlp_dim)
        self.from_latent = layer(latent_dim, mlp_dim)
        self.from_action = layer(action_dim, mlp_dim) if action_dim else None
        self.receive = nn.Linear(2 * mlp_dim, mlp_dim)
        self.send = nn.Linear(2 * mlp_dim, mlp_dim, bias=False)
        self.from_messages = layer(mlp_dim, mlp_dim)
        inputs = (4 if action_dim else 3) * mlp_dim
        self.hidden = GroupedLinear(dim // groups + inputs, dim // groups, groups)
        self.norm = Norm(dim)
        self.gates = GroupedLinear(dim // groups, 3 * dim // groups, groups)

    def forward(self, state_BEW: Tensor, latent_BEL: Tensor, actions_BA: Tensor) -> Tensor:
        """``(B, E, W)``; latents as K x C values."""
        own_BEM = torch.cat([self.from_state(state_BEW), self.from_latent(latent_BEL)], dim=-1)
        message_BEEM = self.receive(own_BEM)[:, :, None] + self.send(own_BEM)[:, None]
        parts = [own_BEM, self.from_messages(nn.functional.silu(message_BEEM).mean(dim=2))]
        if self.from_action is not None:
            parts.append(self.from_action(actions_BA)[:, None].expand(-1, state_BEW.shape[1], -1))
        inputs = torch.cat(parts, dim=-1)[..., None, :].expand(-1, -1, self.groups, -1)
        grouped = torch.cat([state_BEW.unflatten(-1, (self.groups, -1)), inputs], dim=-1)
        hidden_BEW = nn.functional.silu(self.norm(self.hidden(grouped).flatten(2)))
        gates = self.gates(hidden_BEW.unflatten(-1, (self.groups, -1))).float().chunk(3, dim=-1)
        reset, candidate, update = (gate.flatten(2) for gate in gates)
        candidate = (reset.sigmoid() * candidate).tanh()
        update = (update - 1).sigmoid()  # a new state keeps most of the old one at first
        return update * candidate + (1 - update) * state_BEW


class GroupedLinear(nn.Module):
    """A linear layer for each group of values: ``(..., G, inputs)`` -> ``(..., G, outputs)``."""

    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, inputs, outputs).uniform_(-1, 1) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(groups, outputs))

    def forward(self, values: Tensor) -> Tensor:
        """See the class."""
        rows = values.flatten(0, -3).transpose(0, 1)
        product = torch.bmm(rows, self.weight.to(rows.dtype)).transpose(0, 1) + self.bias
        return product.reshape(*values.shape[:-1], self.bias.shape[-1])


class Norm(nn.RMSNorm):
    """In float32 whatever it is given: in mixed precision, its weights are of another type than its input."""

    def forward(self, values: Tensor) -> Tensor:
        """Of the same shape."""
        return super().forward(values.float())


def layer(inputs: int, outputs: int) -> nn.Module:
    """A layer as DreamerV3 has them everywhere."""
    return nn.Sequential(nn.Linear(inputs, outputs), Norm(outputs), nn.SiLU())


def drawn(log_probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """One class of every variable, one-hot, whose gradient is that of the probabilities (straight-through).

    Args:
        log_probability: ``(..., C)``, float32.
        generator: on the CPU; None for the most probable class.
    """
    scores = log_probability.detach()
    if generator is not None:
        noise = torch.rand(scores.shape, generator=generator).clamp(1e-9, 1 - 1e-7).to(scores.device)
        scores = scores - (-noise.log()).log()  # Gumbel: the largest one is a draw
    probability = log_probability.exp()
    chosen = one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(probability.dtype)
    return chosen + probability - probability.detach()
