"""`cjepa bench train`: training steps per second on cached tokens, compared with a plain version of the same network.

A step is loss, gradients, their clipping and AdamW, on a batch that is in memory already. Every history is as long as
the predictor allows, as in the paper; `cjepa fit` draws shorter ones too.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from cjepa.bench.timing import Row, bench_table, rows_against, seconds_now, take_turns
from cjepa.command_result import CommandResult
from cjepa.devices import chosen_device, cpu_threads
from cjepa.errors import UserError
from cjepa.files import json_text
from cjepa.optim import adamw_with_warmup_cosine
from cjepa.progress import Progress, ProgressBar
from cjepa.reporting.records import installed
from cjepa.types import Clip
from cjepa.world_models.losses import loss_terms
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.object_filter import ObjectFilter

SLOTS, TOKEN_DIM, PROPRIO_DIM, ACTION_DIM, BLOCKS = 4, 128, 4, 10, 4
PAPER = {"dim": 128, "depth": 6, "num_heads": 16, "mlp_dim": 2048, "dropout": 0.1}
"""Of experiments/pusht/cjepa_paper.yaml."""
FILTER = {"dim": 192, "rounds": 2, "place": (16, 4)}
"""Of experiments/pusht/object_filter.yaml."""
_CLIP_NORM = 1.0
_LIBRARIES = ("cjepa", "torch")


class Contender(NamedTuple):
    """A network and the precision that it is trained in."""

    build: Callable[[], Predictor]
    half_precision: bool
    """bfloat16 where autocast allows it; else float32 throughout."""


class MultiheadBlock(nn.Module):
    """:class:`~cjepa.world_models.transformer.Block` as one writes it with PyTorch's own layers; the reference.

    Args:
        dim: token width.
        num_heads: of the attention.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BLD: Tensor, angles_LR: None = None) -> Tensor:
        """One block; the network of the benchmark has no rotary angles."""
        normed_BLD = self.norm_1(tokens_BLD)
        attended_BLD, _ = self.attention(normed_BLD, normed_BLD, normed_BLD, need_weights=False)
        tokens_BLD = tokens_BLD + self.dropout(attended_BLD)
        return tokens_BLD + self.dropout(self.mlp(self.norm_2(tokens_BLD)))


def paper_predictor() -> EntityTransformer:
    """C-JEPA's predictor at the paper's size."""
    return EntityTransformer(TOKEN_DIM, PROPRIO_DIM, ACTION_DIM, history_blocks=BLOCKS - 1, **PAPER)


def multihead_predictor() -> EntityTransformer:
    """The same network, of :class:`MultiheadBlock`."""
    predictor = paper_predictor()
    sizes = [PAPER[name] for name in ("dim", "num_heads", "mlp_dim", "dropout")]
    predictor.blocks = nn.ModuleList(MultiheadBlock(*sizes) for _ in predictor.blocks)
    return predictor


def filter_predictor() -> ObjectFilter:
    """The fast predictor: one frame of history, a loss over the blocks after it."""
    return ObjectFilter(TOKEN_DIM, PROPRIO_DIM, ACTION_DIM, history_blocks=1, **FILTER)


CONTENDERS = {
    "multihead-fp32": Contender(multihead_predictor, half_precision=False),
    "cjepa": Contender(paper_predictor, half_precision=True),
    "object-filter": Contender(filter_predictor, half_precision=True),
}


def train_command(
    against: str = "multihead-fp32",
    batch_size: PositiveInt = 256,
    steps: PositiveInt = 2,
    rounds: PositiveInt = 10,
    cores: PositiveInt = 2,
    device: str = "cpu",
    json: bool = False,
) -> CommandResult:
    """Training steps per second of C-JEPA at the paper's size and of the fast predictor, on random tokens.

    Args:
        against: the reference: multihead-fp32 is C-JEPA of PyTorch's own layers, in float32.
        batch_size: clips per step.
        steps: of every network in a round.
        rounds: rounds in which every network takes its steps once.
        cores: threads.
        device: PyTorch device, cpu or cuda.
        json: print rows for programs.
    """
    if against not in CONTENDERS:
        raise UserError(f"--against {against}: expected one of {', '.join(CONTENDERS)}")
    used = chosen_device(device)
    with cpu_threads(cores), ProgressBar("networks", len(CONTENDERS) * (rounds + 1), "turns") as bar:
        rows = compare_steps(against, batch_size, steps, rounds, bar, used)
    if json:
        return CommandResult([json_text([{**row, "cores": cores} for row in rows])])
    return CommandResult([], bench_table(rows))


def compare_steps(
    reference: str, batch_size: int, steps: int, rounds: int, progress: Progress, device: torch.device
) -> list[Row]:
    """Rows of :func:`rows_against`, with the number of parameters and the libraries' versions."""
    turns, parameters = {}, {}
    for name, contender in CONTENDERS.items():
        torch.manual_seed(0)
        dynamics = PredictorDynamics(contender.build()).to(device).train()
        parameters[name] = sum(values.numel() for values in dynamics.parameters())
        clip = random_clip(batch_size).on(device)
        turns[name] = _turn(training_step(dynamics, clip, contender.half_precision), steps, device)
        turns[name](0)  # the first step also pays for kernel selection and the optimiser's state
        progress.advance(1)
    rows = rows_against(reference, take_turns(turns, rounds, progress), steps, "steps")
    versions = installed(_LIBRARIES)
    about = {"device": str(device), "versions": versions}
    return [{**row, "parameters": parameters[row["name"]], **about} for row in rows]


def random_clip(batch_size: int) -> Clip:
    """Normal values: the speed does not depend on what tokens mean."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((SLOTS, TOKEN_DIM), (PROPRIO_DIM,), (ACTION_DIM,))
    return Clip(*(torch.randn(batch_size, BLOCKS, *shape, generator=generator) for shape in shapes))


def training_step(dynamics: PredictorDynamics, clip: Clip, half_precision: bool) -> Callable[[], None]:
    """A step on this clip, as :class:`~cjepa.world_models.training.WorldModel` takes it with half of the objects."""
    history_BTSD = clip.tokens_BTSD[:, : dynamics.history_blocks]
    mask_BTS = ObjectMask(SLOTS // 2, random_count=True).sample(history_BTSD, torch.Generator().manual_seed(0))
    optimizer = adamw_with_warmup_cosine(dynamics, 1e-4, 1e-2, 1, 1_000)["optimizer"]

    def step() -> None:
        with torch.autocast(clip.tokens_BTSD.device.type, torch.bfloat16, enabled=half_precision):
            normed = dynamics.normalise(clip)
            loss = sum(loss_terms(dynamics(normed, mask_BTS), normed, mask_BTS).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(dynamics.parameters(), _CLIP_NORM)
        optimizer.step()

    return step


def _turn(step: Callable[[], None], steps: int, device: torch.device) -> Callable[[int], float]:
    """Seconds that some steps take."""

    def turn(number: int) -> float:
        started = seconds_now(device)
        for _ in range(steps):
            step()
        return seconds_now(device) - started

    return turn
