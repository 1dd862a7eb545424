"""WAG (world as graph) on object tokens: messages along a graph of nearest neighbours, and a memory of every node.

File letters: W width of nodes; E nodes, the objects and then proprioception; V = T - 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.types import Predicted
from cjepa.world_models.graph import nearest_neighbours
from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes, start_at_zero


class GraphState(NamedTuple):
    """The nodes at a block, normalised."""

    memory_BEW: Tensor
    """Of the blocks before."""
    tokens_BSD: Tensor
    """Seen at this block, or predicted for it; proprioception likewise."""
    proprio_BP: Tensor


class SlotGraph(Predictor):
    """A graph network with a recurrent memory; its edges are computed anew in every block.

    ```
    tokens of t --nearest neighbours--> edges --messages--> GRU memory of every node --> change to t + 1
    ```
    Every object receives messages from its ``num_neighbours`` nearest others by the cosine of their tokens. The choice
    of neighbours has no gradient. Proprioception is a node with edges to and from all objects. All nodes see actions.
    A hidden object's token is replaced by the prediction: its memory and its neighbours are all that tells of it.
    With S <= K + 1 objects, 4 at the default K, all others are neighbours: the graph is complete, as on Push-T's two.

    Of WAG it has what is known: nearest neighbours by cosine with K = 3, memory by a GRU, object masks that are random
    or by centrality (:class:`~cjepa.world_models.masks.CentralityMask`). Its widths and its message function are ours.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: W.
        num_neighbours: K.

    Raises:
        ValueError: a size is too small.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 128,
        num_neighbours: int = 3,
    ):
        super().__init__()
        check_sizes(
            {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "num_neighbours": num_neighbours},
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.num_neighbours = num_neighbours
        self.embed_token = nn.Sequential(nn.Linear(token_dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.embed_proprio = nn.Linear(proprio_dim, dim) if proprio_dim else None
        self.receive = nn.Linear(2 * dim, dim)
        self.send = nn.Linear(2 * dim, dim, bias=False)
        self.message = nn.Sequential(nn.GELU(), nn.Linear(dim, dim))
        self.memory = nn.GRUCell(2 * dim + action_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        start_at_zero(self.token_head, self.proprio_head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return self.unroll(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        state = self._first(tokens_BTSD[:, 0], proprio_BTP[:, 0])
        states = [state]
        for block, actions_BA in enumerate(actions_BUA.unbind(1), start=1):
            state = self.step(state, actions_BA)
            states.append(state)
            if block < blocks:
                state = state._replace(
                    tokens_BSD=torch.where(mask_BTS[:, block, :, None], state.tokens_BSD, tokens_BTSD[:, block]),
                    proprio_BP=torch.where(hidden_BT1[:, block], state.proprio_BP, proprio_BTP[:, block]),
                )
        tokens = torch.stack([predicted.tokens_BSD for predicted in states], dim=1)
        proprio = torch.stack([predicted.proprio_BP for predicted in states], dim=1)
        return Prediction(tokens[:, :blocks], tokens[:, blocks:], proprio[:, blocks:])

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> GraphState:
        """See :class:`Predictor`."""
        state = self._first(tokens_BTSD[:, 0], proprio_BTP[:, 0])
        for block, actions_BA in enumerate(actions_BVA.unbind(1), start=1):
            memory_BEW = self._remembered(state, actions_BA)
            state = GraphState(memory_BEW, tokens_BTSD[:, block], proprio_BTP[:, block])
        return state

    def step(self, state: GraphState, actions_BA: Tensor) -> GraphState:
        """See :class:`Predictor`."""
        memory_BEW = self._remembered(state, actions_BA)
        change_BEW = self.norm(memory_BEW)
        slots = state.tokens_BSD.shape[1]
        tokens_BSD = state.tokens_BSD + self.token_head(change_BEW[:, :slots]).to(state.tokens_BSD.dtype)
        proprio_BP = state.proprio_BP
        if self.proprio_head is not None:
            proprio_BP = proprio_BP + self.proprio_head(change_BEW[:, -1]).to(proprio_BP.dtype)
        return GraphState(memory_BEW, tokens_BSD, proprio_BP)

    def predicted(self, state: GraphState) -> Predicted:
        """See :class:`Predictor`."""
        return Predicted(state.tokens_BSD, state.proprio_BP)

    def sources(self, state: GraphState, actions_BA: Tensor) -> Tensor:
        """See :class:`Predictor`; what the memory has from neighbours of earlier blocks does not count."""
        edges_BEE = self.edges(state.tokens_BSD)
        return edges_BEE | torch.eye(edges_BEE.shape[-1], dtype=torch.bool, device=edges_BEE.device)

    def edges(self, tokens_BSD: Tensor) -> Tensor:
        """Which nodes send messages to which: bool ``(B, E, E)``, True where the row receives from the column."""
        edges_BSS, _ = nearest_neighbours(tokens_BSD.float(), self.num_neighbours)
        if self.embed_proprio is None:
            return edges_BSS
        edges_BEE = pad(edges_BSS, (0, 1, 0, 1), value=True)
        edges_BEE[:, -1, -1] = False
        return edges_BEE

    def _first(self, tokens_BSD: Tensor, proprio_BP: Tensor) -> GraphState:
        nodes = tokens_BSD.shape[1] + (self.embed_proprio is not None)
        memory_BEW = tokens_BSD.new_zeros(len(tokens_BSD), nodes, self.memory.hidden_size)
        return GraphState(memory_BEW, tokens_BSD, proprio_BP)

    def _remembered(self, state: GraphState, actions_BA: Tensor) -> Tensor:
        """The nodes' memory after messages and the action, ``(B, E, W)``."""
        nodes_BEW = self.embed_token(state.tokens_BSD)
        if self.embed_proprio is not None:
            nodes_BEW = torch.cat([nodes_BEW, self.embed_proprio(state.proprio_BP)[:, None]], dim=1)
        known = torch.cat([nodes_BEW, state.memory_BEW], dim=-1)
        message_BEEW = self.message(self.receive(known)[:, :, None] + self.send(known)[:, None])
        edges_BEE1 = self.edges(state.tokens_BSD)[..., None]
        received = (message_BEEW * edges_BEE1).sum(dim=2) / edges_BEE1.sum(dim=2).clamp(min=1)
        action = actions_BA[:, None].expand(-1, nodes_BEW.shape[1], -1)
        inputs = torch.cat([nodes_BEW, received, action], dim=-1)
        memory_NW = self.memory(inputs.flatten(0, 1), state.memory_BEW.flatten(0, 1))
        return memory_NW.unflatten(0, nodes_BEW.shape[:2])
