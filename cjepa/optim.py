"""The optimisers and the schedule that tokenizers and world models share."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cjepa.arguments import above, at_least

_NARROWEST = 16


def check_schedule(lr: float, weight_decay: float, warmup_steps: int) -> None:
    """Check the numbers of :func:`adamw_with_warmup_cosine`, for constructors: training would notice them too late.

    Raises:
        ValueError: a number is out of its range.
    """
    above(0, lr=lr)
    at_least(0, weight_decay=weight_decay, warmup_steps=warmup_steps)


def adamw_with_warmup_cosine(
    model: nn.Module, lr: float, weight_decay: float, warmup_steps: int, total_steps: int
) -> dict:
    """AdamW; linear warm-up, then a cosine down to 2 % of ``lr``. Matrices decay, vectors and biases do not.

    Returns:
        What Lightning's ``configure_optimizers`` wants.
    """
    optimizer = AdamW(_adamw_groups(_trained(model), weight_decay), lr=lr)
    return _with_warmup_cosine(optimizer, warmup_steps, total_steps)


def muon_with_warmup_cosine(
    model: nn.Module,
    matrix_lr: float,
    lr: float,
    weight_decay: float,
    warmup_steps: int,
    total_steps: int,
) -> dict:
    """As :func:`adamw_with_warmup_cosine`, but matrices of 16 or more rows and columns learn with Muon.

    Args:
        model: to train.
        matrix_lr: peak learning rate of Muon.
        lr: peak learning rate of AdamW, for all other parameters.
        weight_decay: on all matrices.
        warmup_steps: of both learning rates.
        total_steps: at which the cosine ends.
    """
    trained = _trained(model)
    wide = {n: p for n, p in trained.items() if _decays(n, p) and p.ndim == 2 and min(p.shape) >= _NARROWEST}
    matrices, others = list(wide.values()), {n: p for n, p in trained.items() if n not in wide}
    groups = [{"params": matrices, "lr": matrix_lr, "weight_decay": weight_decay, "name": "muon"}] if matrices else []
    groups += [group | {"lr": lr} for group in _adamw_groups(others, weight_decay)]
    return _with_warmup_cosine(MuonAndAdamW(groups), warmup_steps, total_steps)


class MuonAndAdamW(Optimizer):
    """PyTorch's Muon for the groups named ``muon``, its AdamW for all others, as one optimiser.

    Muon (Jordan et al., 2024) makes the update of a matrix orthogonal, so that it learns in all directions alike. A
    step costs about as much as one of AdamW, and world models need fewer (docs/results/world_models.md). They are one
    optimiser here because Lightning drives one by itself, not two.

    Args:
        groups: of parameters, each with ``lr``, ``weight_decay``, ``name``.
    """

    def __init__(self, groups: list[dict[str, Any]]):
        super().__init__(groups, {})
        # updates as large as those of AdamW, so that learning rates are of the same size for any shape (Moonlight)
        kinds = {"muon": lambda of_muon: Muon(of_muon, adjust_lr_fn="match_rms_adamw"), "adamw": AdamW}
        self.parts = {kind: make(self._groups(kind)) for kind, make in kinds.items() if self._groups(kind)}
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None if closure is None else closure()
        for part in self.parts.values():
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :class:`torch.optim.Optimizer`."""
        super().load_state_dict(state_dict)
        self._share()

    def _groups(self, kind: str) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if (group["name"] == "muon") is (kind == "muon")]

    def _share(self) -> None:
        """Both work on the groups and the state of this one, which schedules and checkpoints see."""
        for kind, part in self.parts.items():
            part.param_groups, part.state = self._groups(kind), self.state


def parts_of(optimizer: Optimizer) -> list[Optimizer]:
    """The optimisers that one is made of: those of :class:`MuonAndAdamW`, or itself."""
    return list(optimizer.parts.values()) if isinstance(optimizer, MuonAndAdamW) else [optimizer]


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Biases have two dimensions where a layer has several groups."""
    return parameter.ndim >= 2 and name.rpartition(".")[2] != "bias"


def _adamw_groups(trained: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    decayed, kept = ([p for n, p in trained.items() if _decays(n, p) is decays] for decays in (True, False))
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "name": "decay"},
        {"params": kept, "weight_decay": 0.0, "name": "no_decay"},
    ]
    return [group for group in groups if group["params"]]


def _with_warmup_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int) -> dict:
    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
    }
