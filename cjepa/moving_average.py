"""A slow copy of a model: the target encoder of models that predict their own features."""

import copy
from typing import TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


def frozen_copy(model: _Module) -> _Module:
    """A copy of the model that takes no gradient."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def move_towards(slow: nn.Module, model: nn.Module, momentum: float) -> None:
    """``slow = momentum * slow + (1 - momentum) * model``, for every weight and every floating-point buffer.

    Args:
        slow: changed in place; a :func:`frozen_copy` of the model.
        model: that is trained.
        momentum: share of the old value that stays, in 0..1.
    """
    current = model.state_dict()
    for name, value in slow.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name].to(value.dtype), 1 - momentum)
        else:
            value.copy_(current[name])
