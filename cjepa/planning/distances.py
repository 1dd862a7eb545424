"""How far predicted object tokens are from those of a goal."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cjepa.errors import UserError
from cjepa.world_models.matching import assignment

_FEW = 8  # tokens that are matched for all candidates at once, whose memory doubles with each


class TokenDistance(ABC):
    """Mean error of tokens: squared, unless a subclass says otherwise.

    Args:
        objects: indices of the goal's tokens that count, for example ``[1]``: "this block there, whatever the rest".
            Oracle tokens stand in the order of the environment's bodies (Push-T: 0 agent, 1 block), slots as in the
            overlays of their training. The proprioception of the goal counts on its own: see ``proprio_weight`` of the
            objective. None: all objects.

    Raises:
        ValueError: ``objects`` is empty, names an object twice, or a negative index.
    """

    def __init__(self, objects: Sequence[int] | None = None):
        if objects is not None and (not objects or len(set(objects)) < len(objects) or min(objects) < 0):
            raise ValueError(f"objects is {list(objects)}, expected one or more different indices, 0 or more")
        self.objects = objects

    def __call__(self, tokens_BNHSD: Tensor, goal_BSD: Tensor) -> Tensor:
        """Distance ``(B, N, H)`` of predicted tokens from those of the goal.

        Raises:
            UserError: the tokens have no object of an index in ``objects``.
        """
        chosen_K = list(range(goal_BSD.shape[1])) if self.objects is None else list(self.objects)
        if max(chosen_K) >= goal_BSD.shape[1]:
            count = goal_BSD.shape[1]
            raise UserError(f"objects is {chosen_K}, but there are {count} tokens; give indices in 0..{count - 1}")
        return self.error(tokens_BNHSD, goal_BSD, chosen_K)

    @abstractmethod
    def error(self, tokens_BNHSD: Tensor, goal_BSD: Tensor, chosen_K: list[int]) -> Tensor:
        """Mean error ``(B, N, H)`` over the chosen tokens of the goal."""


class ByIndex(TokenDistance):
    """Slot s is compared with slot s of the goal: for tokenizers whose slots stay with their objects."""

    def error(self, tokens_BNHSD: Tensor, goal_BSD: Tensor, chosen_K: list[int]) -> Tensor:
        """See :class:`TokenDistance`."""
        return (tokens_BNHSD[..., chosen_K, :] - goal_BSD[:, None, None, chosen_K]).square().mean(dim=(3, 4))


class AbsoluteByIndex(TokenDistance):
    """As :class:`ByIndex`, but absolute errors: the energy that V-JEPA 2-AC minimises (arXiv 2506.09985)."""

    def error(self, tokens_BNHSD: Tensor, goal_BSD: Tensor, chosen_K: list[int]) -> Tensor:
        """See :class:`TokenDistance`."""
        return (tokens_BNHSD[..., chosen_K, :] - goal_BSD[:, None, None, chosen_K]).abs().mean(dim=(3, 4))


class Matched(TokenDistance):
    """Slots are assigned to those of the goal so that the error over all objects is least (Hungarian; C-JEPA).

    For tokenizers whose slots change places. The assignment carries no gradient, the error under it does.
    """

    def error(self, tokens_BNHSD: Tensor, goal_BSD: Tensor, chosen_K: list[int]) -> Tensor:
        """See :class:`TokenDistance`."""
        return matched_errors(tokens_BNHSD, goal_BSD[:, None, None])[..., chosen_K].mean(dim=-1)


def matched_errors(tokens_LSD: Tensor, goal_LSD: Tensor) -> Tensor:
    """Mean squared error of every goal token to the token that is assigned to it, ``(..., S)``.

    Args:
        tokens_LSD: any leading dimensions, which may be 1 in either.
        goal_LSD: likewise.
    """
    distance_LSG = torch.cdist(tokens_LSD, goal_LSD, compute_mode="donot_use_mm_for_euclid_dist")
    error_LSG = distance_LSG.square() / goal_LSD.shape[-1]
    # NaN cannot be assigned, and stays NaN in what is gathered
    slots_LG = _assigned(error_LSG.detach().nan_to_num(nan=0.0, posinf=0.0).mT)
    return error_LSG.gather(-2, slots_LG[..., None, :]).squeeze(-2)


def _assigned(error_LGS: Tensor) -> Tensor:
    """The slot of every goal token, ``(..., S)``."""
    if error_LGS.shape[-1] <= _FEW:
        return assignment(error_LGS)
    known_NGS = error_LGS.flatten(0, -3).cpu().numpy()  # one transfer for all candidates
    slots_NG = np.array([linear_sum_assignment(error_GS)[1] for error_GS in known_NGS])
    return torch.from_numpy(slots_NG).to(error_LGS.device).reshape(error_LGS.shape[:-1])
