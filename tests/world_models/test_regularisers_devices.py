"""Two processes with half of the batch each have the loss and the gradients of one process with all of it."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from cjepa.types import Clip
from cjepa.world_models.regularisers import BarlowTwins, Regulariser, SIGReg, VICReg
from tests.sharing import once
from tests.world_models.small import a_clip, small_model

pytestmark = pytest.mark.slow


def regularisers() -> list[Regulariser]:
    return [SIGReg(num_directions=16), VICReg(), BarlowTwins()]


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def batch() -> torch.Tensor:
    return torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(1)) + 0.5


def losses_and_gradients(model: nn.Module, values_TBD: torch.Tensor, seed: int = 0) -> list[torch.Tensor]:
    found = []
    for regulariser in regularisers():
        model.zero_grad()
        tokens_TBD = model(values_TBD)
        terms = regulariser(tokens_TBD, torch.Generator().manual_seed(seed), predicted_UBD=tokens_TBD[:-1])
        sum(terms.values()).backward()
        found += [*(term.detach() for term in terms.values()), *(p.grad.clone() for p in model.parameters())]
    return found


class Training(nn.Module):
    """The loss of a world model, called as Lightning lets `DistributedDataParallel` call it."""

    def __init__(self):
        super().__init__()
        self.model = small_model().train()

    def forward(self, clip: Clip, generator: torch.Generator) -> torch.Tensor:
        return self.model.total(self.model.loss_terms(clip, generator))


def gradients_of_steps(training: nn.Module, rank: int) -> list[torch.Tensor]:
    """Of the last of some steps, in which each process hides other objects, or none."""
    for step in range(4):
        training.zero_grad()
        training(a_clip(5, seed=rank), torch.Generator().manual_seed(2 * step + rank)).backward()
    return [parameter.grad for parameter in training.parameters()]


def one_of_two(rank: int, folder: str) -> None:
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(seconds=200)}
    distributed.init_process_group("gloo", **meeting, rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = nn.parallel.DistributedDataParallel(encoder())
    own = batch().chunk(2, dim=1)[rank]
    of_world_model = gradients_of_steps(nn.parallel.DistributedDataParallel(Training()), rank)
    torch.save((losses_and_gradients(model, own, seed=rank), of_world_model), f"{folder}/{rank}.pt")
    os._exit(0)  # taking the process group apart waits for ever once in a few hundred runs


@pytest.fixture
def found(tmp_path_factory) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """What each process has of the regularisers and of the world model."""

    def make(folder: Path) -> None:
        folder.mkdir()
        multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2, daemon=True)

    folder = once(tmp_path_factory, "two-devices", make)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_a_world_model_learns_the_same_on_both(found):
    ours, theirs = (of_world_model for _, of_world_model in found)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    alone = gradients_of_steps(Training(), rank=0)
    assert not torch.allclose(ours[0], alone[0])  # the mean over both


def test_two_devices_are_one_process(found):
    expected = losses_and_gradients(encoder(), batch())
    assert len(expected) == 1 + 2 + 2 + 2 + 2 + 2
    for regularised, _ in found:
        for ours, theirs in zip(regularised, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    alone = losses_and_gradients(encoder(), batch().chunk(2, dim=1)[0])
    assert not torch.allclose(alone[1], expected[1])  # the halves differ: something was gathered
