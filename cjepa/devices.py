"""Where tensors are computed: the device that a user names, and threads of the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cjepa.errors import UserError

if TYPE_CHECKING:
    import torch


def chosen_device(name: str) -> "torch.device":
    """The device that ``--device`` names; auto is cuda where there is a GPU, else cpu.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        one = torch.ones(1, device=name)
        one.item()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f"--device {name}: no such device on this machine; expected auto, cpu or cuda") from None
    return one.device


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute in so many threads, and in as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
