"""C-JEPA's published search, written plainly: what `cjepa bench planner` compares ours with.

As the paper describes it (arXiv 2602.11389): CEM in float32; every block is predicted from the whole window again;
after every block, and in the cost, objects are matched one sample after the other (Hungarian algorithm of SciPy).
"""

import copy

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from cjepa.bench.train import MultiheadBlock
from cjepa.types import Clip
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.transformer import Block

_RENAMED = {"to_qkv.": "attention.in_proj_", "to_out.": "attention.out_proj."}


def multihead_copy(predictor: EntityTransformer) -> EntityTransformer:
    """The same network with the same weights, of PyTorch's own layers; it leaves objects in their order."""
    same = copy.deepcopy(predictor)
    same.blocks = nn.ModuleList(_multihead(block) for block in predictor.blocks)
    same.matching = "index"
    return same.eval()


def _multihead(block: Block) -> MultiheadBlock:
    mlp_dim, dim = block.mlp[0].weight.shape
    same = MultiheadBlock(dim, block.num_heads, mlp_dim, block.dropout.p)
    weights = block.state_dict()
    for ours, theirs in _RENAMED.items():
        weights = {name.replace(ours, theirs): values for name, values in weights.items()}
    same.load_state_dict(weights)
    return same


class PublishedSearch:
    """Plans for one environment. Bounds of -1 and 1, the incumbent and the least deviation are those of our CEM.

    The search is on the CPU, the network wherever it and its inputs are.

    Args:
        network: from :func:`multihead_copy`.
        now: normalised, one environment and one block.
        goal: likewise.
        horizon_blocks: H.
        num_samples: N.
        iterations: of the search.
        num_elites: K of the N.
        min_std: least standard deviation.
    """

    def __init__(
        self,
        network: EntityTransformer,
        now: Clip,
        goal: Clip,
        horizon_blocks: int,
        num_samples: int,
        iterations: int,
        num_elites: int,
        min_std: float = 0.05,
    ):
        self.network, self.now, self.goal = network, now, goal
        self.horizon_blocks, self.iterations = horizon_blocks, iterations
        self.num_samples, self.num_elites, self.min_std = num_samples, num_elites, min_std

    def plan(self, generator: torch.Generator) -> Tensor:
        """The best actions that were found, ``(H, A)``."""
        shape = (1, self.num_samples, self.horizon_blocks, self.network.action_dim)
        mean_HA, std_HA = torch.zeros(shape[2:]), torch.ones(shape[2:])
        best_HA, least = mean_HA, torch.tensor(torch.inf)
        for _ in range(self.iterations):
            noise_NHA = torch.randn(shape, generator=generator)[0]
            actions_NHA = (mean_HA + std_HA * noise_NHA).clamp(-1, 1)
            actions_NHA[0] = best_HA
            cost_N = self.cost(actions_NHA)
            elites_KHA = actions_NHA[cost_N.argsort()[: self.num_elites]]
            mean_HA, std_HA = elites_KHA.mean(dim=0), elites_KHA.std(dim=0).clamp(min=self.min_std)
            if cost_N.min() < least:
                best_HA, least = elites_KHA[0], cost_N.min()
        return best_HA

    def cost(self, actions_NHA: Tensor) -> Tensor:
        """Squared error of the last block's matched objects, and of its proprioception, ``(N,)``."""
        tokens_NSD, proprio_NP = self.last_block(actions_NHA.to(self.now.tokens_BTSD.device))
        goal_NSD = self.goal.tokens_BTSD[:, 0].expand_as(tokens_NSD)
        tokens_N = (_matched(tokens_NSD, goal_NSD) - goal_NSD).square().mean(dim=(1, 2))
        return (tokens_N + (proprio_NP - self.goal.proprio_BTP[:, 0]).square().mean(dim=1)).to(actions_NHA.device)

    def last_block(self, actions_NHA: Tensor) -> tuple[Tensor, Tensor]:
        """Object tokens ``(N, S, D)`` and proprioception ``(N, P)`` after all actions."""
        samples = len(actions_NHA)
        tokens_NTSD, proprio_NTP = (values.expand(samples, *values.shape[1:]) for values in self.now[:2])
        for block in range(1, self.horizon_blocks + 1):
            length = min(block, self.network.history_blocks)
            tokens_NTSD, proprio_NTP = tokens_NTSD[:, -length:], proprio_NTP[:, -length:]
            nothing_NTS = torch.zeros(tokens_NTSD.shape[:3], dtype=torch.bool, device=tokens_NTSD.device)
            window = (tokens_NTSD, proprio_NTP, actions_NHA[:, block - length : block], nothing_NTS)
            prediction = self.network(*window)
            next_NSD = _matched(prediction.future_BFSD[:, 0], tokens_NTSD[:, -1])
            tokens_NTSD = torch.cat([tokens_NTSD, next_NSD[:, None]], dim=1)
            proprio_NTP = torch.cat([proprio_NTP, prediction.proprio_BFP], dim=1)
        return tokens_NTSD[:, -1], proprio_NTP[:, -1]


def _matched(tokens_NSD: Tensor, like_NSD: Tensor) -> Tensor:
    """Objects in the order in which they are closest to others, one sample after the other."""
    matched = []
    for tokens_SD, like_SD in zip(tokens_NSD, like_NSD, strict=True):
        error_SS = (like_SD[:, None] - tokens_SD[None]).square().mean(dim=-1)
        matched.append(tokens_SD[linear_sum_assignment(error_SS.detach().cpu().numpy())[1]])
    return torch.stack(matched)
