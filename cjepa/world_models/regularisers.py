"""What keeps tokens that are trained with their own predictor from becoming all the same.

File letters: M random directions; K knots; N tokens of a time step over all devices.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, distributed, nn

from cjepa.arguments import above, at_least


class Regulariser(nn.Module, ABC):
    """Losses of the distribution of tokens over a batch, the same ones on every device of a training."""

    weights: dict[str, float]
    """Of the terms, by name."""

    @abstractmethod
    def forward(
        self, tokens_TBD: Tensor, generator: torch.Generator, predicted_UBD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Unweighted scalar losses by name.

        Args:
            tokens_TBD: of one device, T x B x D; other devices have as many.
            generator: of all randomness, on the CPU; that of the first device decides.
            predicted_UBD: what the predictor made of all time steps but the first, U = T - 1.
        """


class NoGuard(Regulariser):
    """Nothing: for the training that shows why a guard against collapse is needed."""

    weights: dict[str, float] = {}

    def forward(
        self, tokens_TBD: Tensor, generator: torch.Generator, predicted_UBD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """See :class:`Regulariser`."""
        return {}


class SIGReg(Regulariser):
    """Sketched isotropic Gaussian regularisation (LeJEPA; LeWorldModel, arXiv 2603.19312).

    The tokens of a time step are projected on M random directions, drawn anew at each call. Along each one the
    characteristic function of the batch is compared with that of a standard normal distribution, ``exp(-t^2 / 2)``
    (Epps and Pulley, 1983): ``N sum_k w_k |mean exp(i t_k u) - exp(-t_k^2 / 2)|^2``. The loss is the mean over
    directions and time steps. For standard normal tokens it is on average ``sum_k w_k (1 - exp(-t_k^2))``, for any N.

    Args:
        weight: of the loss.
        num_directions: M.
        num_knots: K, evenly from 0 to ``longest``.
        longest: t of the last knot.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, weight: float = 0.09, num_directions: int = 1024, num_knots: int = 17, longest: float = 3.0):
        super().__init__()
        at_least(0, weight=weight)
        at_least(1, num_directions=num_directions)
        at_least(2, num_knots=num_knots)
        above(0, longest=longest)
        self.weights = {"sigreg": weight}
        self.num_directions = num_directions
        knot_K = torch.linspace(0, longest, num_knots)
        normal_K = (-knot_K.square() / 2).exp()
        width_K = torch.full_like(knot_K, 2 * longest / (num_knots - 1))  # twice: for the knots below zero too
        width_K[[0, -1]] /= 2
        self.register_buffer("knot_K", knot_K, persistent=False)
        self.register_buffer("normal_K", normal_K, persistent=False)
        self.register_buffer("weight_K", width_K * normal_K, persistent=False)

    def forward(
        self, tokens_TBD: Tensor, generator: torch.Generator, predicted_UBD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """See :class:`Regulariser`."""
        with torch.autocast(tokens_TBD.device.type, enabled=False):
            drawn_DM = torch.randn(tokens_TBD.shape[-1], self.num_directions, generator=generator)
            direction_DM = drawn_DM.to(tokens_TBD.device)
            if distributed.is_initialized():
                distributed.broadcast(direction_DM, src=0)
            angle_TBMK = (tokens_TBD.float() @ (direction_DM / direction_DM.norm(dim=0)))[..., None] * self.knot_K
            cosine_TMK, count = _batch_mean(angle_TBMK.cos())
            sine_TMK, _ = _batch_mean(angle_TBMK.sin())
            error_TMK = (cosine_TMK - self.normal_K).square() + sine_TMK.square()
            return {"sigreg": count * (error_TMK @ self.weight_K).mean()}


class VICReg(Regulariser):
    """Variance and covariance (Bardes et al., arXiv 2105.04906), of all time steps together.

    ``variance`` is the mean of ``max(0, 1 - standard deviation)`` over the D values, ``covariance`` the sum of squared
    covariances between them over D. The published weights are 25 and 1, with 25 for the prediction.

    Args:
        variance_weight: relative to the prediction's 1.
        covariance_weight: likewise.

    Raises:
        ValueError: a weight is out of its range.
    """

    def __init__(self, variance_weight: float = 1.0, covariance_weight: float = 0.04):
        super().__init__()
        at_least(0, variance_weight=variance_weight, covariance_weight=covariance_weight)
        self.weights = {"variance": variance_weight, "covariance": covariance_weight}

    def forward(
        self, tokens_TBD: Tensor, generator: torch.Generator, predicted_UBD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """See :class:`Regulariser`."""
        with torch.autocast(tokens_TBD.device.type, enabled=False):
            flat_1ND = tokens_TBD.float().flatten(0, 1)[None]
            mean_1D, count = _batch_mean(flat_1ND)
            centred_ND = (flat_1ND - mean_1D)[0]
            covariance_DD = _summed(centred_ND.T @ centred_ND) / (count - 1)
            variance_D = covariance_DD.diagonal()
            short_D = (1 - (variance_D + 1e-4).sqrt()).relu()
            others = covariance_DD.square().sum() - variance_D.square().sum()
            return {"variance": short_D.mean(), "covariance": others / len(variance_D)}


class BarlowTwins(Regulariser):
    """Redundancy reduction (Zbontar et al., arXiv 2103.03230) between tokens and what the predictor made of them.

    The two views are the encoder's tokens and their predictions. Their correlation matrix over all tokens of a batch,
    value by value, should be the identity: ``diagonal`` is the sum of ``(1 - C_ii)^2`` over D, ``redundancy`` that of
    all other ``C_ij^2`` over D. A correlation has no scale: the prediction's own loss decides that of the tokens.

    Args:
        diagonal_weight: relative to the prediction's 1.
        redundancy_weight: likewise; published as 0.005 of the other.

    Raises:
        ValueError: a weight is out of its range.
    """

    def __init__(self, diagonal_weight: float = 1.0, redundancy_weight: float = 0.005):
        super().__init__()
        at_least(0, diagonal_weight=diagonal_weight, redundancy_weight=redundancy_weight)
        self.weights = {"diagonal": diagonal_weight, "redundancy": redundancy_weight}

    def forward(
        self, tokens_TBD: Tensor, generator: torch.Generator, predicted_UBD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """See :class:`Regulariser`; the predictions are needed."""
        if predicted_UBD is None:
            raise ValueError("BarlowTwins compares tokens with predictions, expected predicted_UBD")
        with torch.autocast(tokens_TBD.device.type, enabled=False):
            first_ND, second_ND = (_standardised(values.float()) for values in (tokens_TBD[1:], predicted_UBD))
            devices = distributed.get_world_size() if distributed.is_initialized() else 1
            correlation_DD = _summed(first_ND.T @ second_ND) / (len(first_ND) * devices)
            diagonal_D = correlation_DD.diagonal()
            others = correlation_DD.square().sum() - diagonal_D.square().sum()
            count = len(diagonal_D)
            return {"diagonal": (1 - diagonal_D).square().sum() / count, "redundancy": others / count}


def _standardised(values_TBD: Tensor) -> Tensor:
    """All tokens as one batch ``(N, D)``, every value with a mean of 0 and a variance of 1."""
    flat_1ND = values_TBD.flatten(0, 1)[None]
    mean_1D, _ = _batch_mean(flat_1ND)
    centred_1ND = flat_1ND - mean_1D
    variance_1D, _ = _batch_mean(centred_1ND.square())
    return (centred_1ND * (variance_1D + 1e-5).rsqrt())[0]


def _batch_mean(values: Tensor) -> tuple[Tensor, int]:
    """The mean over the second axis and all devices, and how many values that is."""
    count = values.shape[1] * (distributed.get_world_size() if distributed.is_initialized() else 1)
    return _summed(values.sum(dim=1)) / count, count


def _summed(values: Tensor) -> Tensor:
    """The sum over all devices."""
    return _SumOverDevices.apply(values) if distributed.is_initialized() else values


class _SumOverDevices(torch.autograd.Function):
    """Every device gets the sum, so a value of one device changes the losses of all: their gradients are summed too.

    Where gradients of weights are then averaged over devices, as DDP does, they are those of one process with all data.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _all_reduced(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(values: Tensor) -> Tensor:
    summed = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(summed)
    return summed
