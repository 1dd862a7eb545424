"""Two processes with half of the batch each have the loss and the gradients of one process with all of it."""

import pytest
import torch
from torch import distributed, multiprocessing, nn

from cjepa.world_models.regularisers import BarlowTwins, Regulariser, SIGReg, VICReg

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


def one_of_two(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = nn.parallel.DistributedDataParallel(encoder())
    own = batch().chunk(2, dim=1)[rank]
    torch.save(losses_and_gradients(model, own, seed=rank), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_devices_are_one_process(tmp_path):
    multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    expected = losses_and_gradients(encoder(), batch())
    assert len(expected) == 1 + 2 + 2 + 2 + 2 + 2
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    alone = losses_and_gradients(encoder(), batch().chunk(2, dim=1)[0])
    assert not torch.allclose(alone[1], expected[1])  # the halves differ: something was gathered
