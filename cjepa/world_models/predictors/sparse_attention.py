"""SPARTAN's predictor: a transformer over objects whose attention is switched on and off pair by pair.

File letters: W width of an entity; E entities, the objects and then proprioception; V values of all blocks' actions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cjepa.arguments import share_below_one
from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.predictors.entity_histories import EntityHistories
from cjepa.world_models.transformer import Dropout

_LEAST_UNIFORM = 1e-6


class SparseTransformer(EntityHistories):
    """SPARTAN (arXiv 2411.06890): hard attention between entities, whose paths are the influence graph.

    In every layer a gate lets entity i attend to entity j or not: ``gate_ij ~ Bernoulli(sigmoid(q_i . k_j))``, drawn
    while :meth:`watched` is given a generator, else 1 where the probability is above 0.5. Entity j can influence the
    next block of i where :func:`path_matrix` is 1 or more.
    :class:`~cjepa.world_models.path_constraint.PathConstraint` makes paths few in training.

    The published model sees object states, which hold velocities. Here an entity is an object's history.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity; all entities see actions.
        history_blocks: the longest history.
        dim: W.
        depth: layers; influence goes through as many others as there are layers, less one.
        mlp_dim: hidden width of the MLPs.
        dropout: in every layer.

    Raises:
        ValueError: a size is too small, or ``dropout`` is out of its range.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 128,
        depth: int = 3,
        mlp_dim: int = 512,
        dropout: float = 0.0,
    ):
        check_sizes(
            {
                "token_dim": token_dim,
                "history_blocks": history_blocks,
                "dim": dim,
                "depth": depth,
                "mlp_dim": mlp_dim,
            },
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        share_below_one(dropout=dropout)
        super().__init__(token_dim, proprio_dim, action_dim, history_blocks, dim)
        self.embed_action = nn.Linear(history_blocks * action_dim, dim) if action_dim else None
        self.blocks = nn.ModuleList(SparseBlock(dim, mlp_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.add_heads(dim)
        self._generator: torch.Generator | None = None
        self._paths: list[Tensor] | None = None

    def moved(self, entities_BEW: Tensor, action_BV: Tensor) -> Tensor:
        """See :class:`EntityHistories`."""
        if self.embed_action is not None:
            entities_BEW = entities_BEW + self.embed_action(action_BV)[:, None]
        gates = []
        for block in self.blocks:
            entities_BEW, gate_BEE = block(entities_BEW, self._generator)
            gates.append(gate_BEE)
        if self._paths is not None:
            self._paths.append(path_matrix(gates))
        return self.norm(entities_BEW)

    @contextmanager
    def watched(self, generator: torch.Generator | None = None) -> Iterator[list[Tensor]]:
        """See :class:`Predictor`."""
        self._generator, self._paths = generator, []
        try:
            yield self._paths
        finally:
            self._generator, self._paths = None, None

    def sources(self, state: NamedTuple, actions_BA: Tensor) -> Tensor:
        """See :class:`Predictor`."""
        with self.watched() as paths:
            self.step(state, actions_BA)
        return paths[0] >= 1


class SparseBlock(nn.Module):
    """``x = x + gated attention(norm(x)); x = x + mlp(norm(x))``, with one head.

    Args:
        dim: W.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
    """

    def __init__(self, dim: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))
        self.dropout = Dropout(dropout)

    def forward(self, entities_BEW: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The entities after the block, and which of them attended to which, 0 or 1: ``(B, E, E)``, float32."""
        query, key, value = self.to_qkv(self.norm_1(entities_BEW)).float().chunk(3, dim=-1)
        with torch.autocast(query.device.type, enabled=False):
            product_BEE = query @ key.transpose(1, 2)
            gate_BEE = gates(product_BEE, generator)
            # closed gates leave the denominator as it is, so that what is open does not weigh more (SPARTAN, eq. 5)
            attention_BEE = (product_BEE * query.shape[-1] ** -0.5).softmax(dim=-1) * gate_BEE
            attended_BEW = attention_BEE @ value
        entities_BEW = entities_BEW + self.dropout(self.to_out(attended_BEW))
        return entities_BEW + self.dropout(self.mlp(self.norm_2(entities_BEW))), gate_BEE


def gates(logit_BEE: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gates that are open, 1, or closed, 0.

    Args:
        logit_BEE: float32.
        generator: draws gates that are open with probability ``sigmoid(logit)``, whose gradient is that of the relaxed
            gate (straight-through Gumbel softmax, arXiv 1611.01144, at temperature 1). Without a generator a gate is
            open where the probability is above 0.5, and has no gradient.
    """
    if generator is None:
        return (logit_BEE > 0).float()
    uniform_BEE = torch.rand(logit_BEE.shape, generator=generator).clamp(_LEAST_UNIFORM, 1 - _LEAST_UNIFORM)
    relaxed_BEE = (logit_BEE + uniform_BEE.logit().to(logit_BEE.device)).sigmoid()
    return (relaxed_BEE > 0.5).float() + (relaxed_BEE - relaxed_BEE.detach())


def path_matrix(gates: Sequence[Tensor]) -> Tensor:
    """Number of paths from the entity of a column to that of a row: ``(A^L + I) ... (A^1 + I)``.

    Args:
        gates: ``(B, E, E)`` of each of L layers, the first layer first, float32.
    """
    with torch.autocast(gates[0].device.type, enabled=False):
        path_BEE = torch.eye(gates[0].shape[-1], device=gates[0].device).expand_as(gates[0])
        for gate_BEE in gates:
            path_BEE = gate_BEE @ path_BEE + path_BEE
        return path_BEE
