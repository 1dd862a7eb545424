"""What classes of the user's own give, checked where it comes in: later on, nothing would say whose fault it is."""

import torch
from torch import Tensor

from cjepa.errors import UserError


def check_given(values: object, shape: tuple[int, ...], name: str, dtype: torch.dtype | None = None) -> None:
    """Check a tensor that a method of a class gives.

    Args:
        values: the tensor, if it is one.
        shape: that it should have.
        name: of class, method and tensor.
        dtype: that it should have; None for any.

    Raises:
        UserError: it is something else; the line says what was given and what was expected.
    """
    if isinstance(values, Tensor) and values.shape == shape and dtype in (None, values.dtype):
        return
    if not isinstance(values, Tensor):
        found = f"a {type(values).__name__}"
    else:
        found = f"shape {tuple(values.shape)}" + ("" if dtype is None else f" of {values.dtype}")
    raise UserError(f"{name} gives {found}, expected shape {shape}" + ("" if dtype is None else f" of {dtype}"))
