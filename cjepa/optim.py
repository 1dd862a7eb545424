"""The optimiser and schedule that tokenizers and world models share."""

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from cjepa.arguments import above, at_least


def check_schedule(lr: float, weight_decay: float, warmup_steps: int) -> None:
    """Check the numbers of :func:`adamw_with_warmup_cosine`, for constructors: training would notice them too late.

    Raises:
        ValueError: a number is out of its range.
    """
    above(0, lr=lr)
    at_least(0, weight_decay=weight_decay, warmup_steps=warmup_steps)


def adamw_with_warmup_cosine(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, warmup_steps: int, total_steps: int
) -> dict:
    """AdamW; linear warm-up, then a cosine down to 2 % of ``lr``. Matrices decay, vectors (biases, norms) do not.

    Returns:
        What Lightning's ``configure_optimizers`` wants.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay, "name": "decay"},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0, "name": "no_decay"},
    ]
    optimizer = AdamW([group for group in groups if group["params"]], lr=lr)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
    }
