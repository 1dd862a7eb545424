"""ACT-JEPA: one network predicts a chunk of actions and the latents of what will be seen meanwhile.

File letters: W width; E entities, the objects and proprioception; K blocks of a chunk.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from cjepa.arguments import at_least, check, share
from cjepa.moving_average import frozen_copy, move_towards
from cjepa.policies.base import GoalPolicy
from cjepa.policies.training import PolicyTraining
from cjepa.types import Clip
from cjepa.world_models.predictors.base import check_sizes, start_at_zero
from cjepa.world_models.predictors.object_filter import EachEntity
from cjepa.world_models.transformer import Block


class Chunk(NamedTuple):
    """What a policy predicts of the next K blocks, normalised."""

    actions_BKA: Tensor
    """Of the blocks from now on."""
    latents_BKEW: Tensor
    """Of all entities after each of these blocks."""


class SceneEncoder(nn.Module):
    """Latents of the entities of one observation, which attend to each other; their order does not matter.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        dim: W.
        depth: blocks of the transformer.
        num_heads: of the attention.
        mlp_dim: hidden width of its MLPs.
    """

    def __init__(self, token_dim: int, proprio_dim: int, dim: int, depth: int, num_heads: int, mlp_dim: int):
        super().__init__()
        self.embed = EachEntity(nn.Linear(token_dim, dim), nn.Linear(proprio_dim, dim) if proprio_dim else None)
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_dim, dropout=0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> Tensor:
        """``(B, E, W)``."""
        latents_BEW = self.embed(tokens_BSD, proprio_BP)
        for block in self.blocks:
            latents_BEW = block(latents_BEW)
        return self.norm(latents_BEW)


class ActJepaPolicy(GoalPolicy):
    """ACT-JEPA (Vujinovic and Kovacevic, arXiv 2501.14622) on object tokens, with a goal.

    ```
    observation, goal --encoder--> latents of entities --predictor, with K action queries--> chunk of actions
                                                          and K queries of each entity --> latents of K blocks
    ```
    An entity enters the predictor with its latent now and that of its token at the goal, of which proprioception is
    unknown. All queries attend to each other. As a policy, it does the first block of its chunk and looks again.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for a policy that does not look at proprioception.
        action_dim: A, the action values of one block.
        chunk_blocks: K.
        dim: W.
        encoder_depth: blocks of the encoder.
        predictor_depth: blocks of the predictor.
        num_heads: of all attention; divides ``dim``.
        mlp_dim: hidden width of all MLPs.

    Raises:
        ValueError: a size is too small, or ``dim`` is no multiple of ``num_heads``.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        chunk_blocks: int = 5,
        dim: int = 128,
        encoder_depth: int = 2,
        predictor_depth: int = 3,
        num_heads: int = 4,
        mlp_dim: int = 512,
    ):
        sizes = {"token_dim": token_dim, "action_dim": action_dim, "chunk_blocks": chunk_blocks, "dim": dim}
        sizes |= {"encoder_depth": encoder_depth, "predictor_depth": predictor_depth, "mlp_dim": mlp_dim}
        check_sizes(sizes | {"num_heads": num_heads}, {"proprio_dim": proprio_dim})
        check(dim % num_heads == 0, "dim", dim, f"a multiple of num_heads = {num_heads}")
        super().__init__(token_dim, proprio_dim, action_dim)
        self.chunk_blocks = chunk_blocks
        self.encoder = SceneEncoder(token_dim, proprio_dim, dim, encoder_depth, num_heads, mlp_dim)
        self.goal_encoder = SceneEncoder(token_dim, 0, dim, encoder_depth, num_heads, mlp_dim)
        self.join = nn.Linear(2 * dim, dim)
        self.action_query_KW = nn.Parameter(0.5 * torch.randn(chunk_blocks, dim))
        self.latent_query_KW = nn.Parameter(0.5 * torch.randn(chunk_blocks, dim))
        self.predictor = nn.ModuleList(Block(dim, num_heads, mlp_dim, dropout=0.0) for _ in range(predictor_depth))
        self.norm = nn.LayerNorm(dim)
        self.action_head = nn.Linear(dim, action_dim)
        self.latent_head = nn.Linear(dim, dim)
        start_at_zero(self.action_head)

    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """See :class:`GoalPolicy`: the first block of the chunk."""
        return self.chunk(tokens_BSD, proprio_BP, goal_BSD).actions_BKA[:, 0]

    def chunk(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Chunk:
        """Predict the next K blocks; arguments as of :meth:`forward`."""
        context_BEW = self._context(tokens_BSD, proprio_BP, goal_BSD)
        blocks = self.chunk_blocks
        actions_BKW = self.action_query_KW.expand(len(context_BEW), -1, -1)
        latents_BKEW = self.latent_query_KW[:, None] + context_BEW[:, None]
        joined = torch.cat([context_BEW, actions_BKW, latents_BKEW.flatten(1, 2)], dim=1)
        for block in self.predictor:
            joined = block(joined)
        predicted = self.norm(joined[:, context_BEW.shape[1] :])
        latents_BKEW = self.latent_head(predicted[:, blocks:]).unflatten(1, (blocks, -1))
        return Chunk(self.action_head(predicted[:, :blocks]), latents_BKEW)

    def _context(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """Latents of all entities now, joined with those of the goal; 0 for what is unknown of the goal."""
        now_BEW = self.encoder(tokens_BSD, proprio_BP)
        goal_BSW = self.goal_encoder(goal_BSD, proprio_BP[:, :0])
        unknown_BXW = torch.zeros_like(now_BEW[:, goal_BSW.shape[1] :])
        return self.join(torch.cat([now_BEW, torch.cat([goal_BSW, unknown_BXW], dim=1)], dim=-1))


class ActJepaTraining(PolicyTraining):
    """Imitation with hindsight goals, of a chunk of actions and of the latents of what was seen meanwhile.

    Both terms are mean absolute errors over the blocks until the goal; what was done after it served other ends.
    ``action`` is that of normalised actions. ``latent`` is that of layer-normed latents, which a slow copy of the
    encoder makes of later frames; no gradient reaches the copy.

    Args:
        policy: to train.
        goal_blocks: see :class:`PolicyTraining`.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of the distances of goals, together with rank and step.
        latent_weight: weight of latents.
        momentum: of the slow copy, per step.

    Raises:
        ValueError: a number is out of its range, or the chunk is longer than the way to the farthest goal.
    """

    def __init__(
        self,
        policy: ActJepaPolicy,
        goal_blocks: int = 5,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        step_seed: int = 0,
        latent_weight: float = 1.0,
        momentum: float = 0.99,
    ):
        super().__init__(policy, goal_blocks, lr, weight_decay, warmup_steps, step_seed)
        at_least(0, latent_weight=latent_weight)
        share(momentum=momentum)
        expected = f"at most goal_blocks = {goal_blocks}: nothing is known of later blocks"
        check(policy.chunk_blocks <= goal_blocks, "chunk_blocks", policy.chunk_blocks, expected)
        self.save_hyperparameters()
        self.target_encoder = frozen_copy(policy.encoder)
        self.momentum = momentum
        self.loss_weights = {"action": 1.0, "latent": latent_weight}

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class; towards one goal per clip."""
        ahead_B = self.drawn_goals(batch, generator)
        blocks = self.policy.chunk_blocks
        found = self.policy.chunk(*self.situation(batch, ahead_B))
        counts_BK = torch.arange(blocks, device=ahead_B.device) < ahead_B[:, None]
        actions_BKA = self.policy.action_scale(batch.actions_BTA[:, :blocks])
        errors = {
            "action": (found.actions_BKA.float() - actions_BKA).abs().mean(dim=2),
            "latent": (found.latents_BKEW.float() - self.targets(batch)).abs().mean(dim=(2, 3)),
        }
        return {name: (error_BK * counts_BK).sum() / counts_BK.sum() for name, error_BK in errors.items()}

    @torch.no_grad()
    def targets(self, clip: Clip) -> Tensor:
        """Latents of the K frames after the first, ``(B, K, E, W)``, by the slow copy."""
        policy = self.policy
        later = slice(1, policy.chunk_blocks + 1)
        tokens = policy.token_scale(clip.tokens_BTSD[:, later])
        proprio = policy.proprio_scale(clip.proprio_BTP[:, later, : policy.proprio_dim])
        latents = self.target_encoder(tokens.flatten(0, 1), proprio.flatten(0, 1)).float()
        return layer_norm(latents, latents.shape[-1:]).unflatten(0, tokens.shape[:2])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the slow copy follows the encoder."""
        super().optimizer_step(*args, **kwargs)
        move_towards(self.target_encoder, self.policy.encoder, self.momentum)

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`PolicyTraining`; with what keeps latents apart."""
        against_collapse = "targets are latents of a moving average of the encoder, without gradient"
        return super().describe_objective() | {"momentum": self.momentum, "against_collapse": against_collapse}
