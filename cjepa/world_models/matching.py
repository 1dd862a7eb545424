"""Which objects of two sets are the same: the pairs with the least total distance."""

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from cjepa.errors import UserError

Matching = Literal["index", "hungarian"]
"""Objects with the same index are the same, or those that are closest, all objects taken together."""
_MOST = 12  # objects: time and memory double with each


def reordered(tokens_BSD: Tensor, like_BSD: Tensor) -> Tensor:
    """The objects in the order in which they are closest to others by squared distance; any leading axes."""
    cost_BSS = (like_BSD[..., :, None, :] - tokens_BSD[..., None, :, :]).float().square().mean(dim=-1)
    return take_slots(tokens_BSD, assignment(cost_BSS))


def take_slots(tokens_BSD: Tensor, slots_BS: Tensor) -> Tensor:
    """Object tokens in another order; any leading axes."""
    return tokens_BSD.gather(-2, slots_BS[..., None].expand(tokens_BSD.shape))


@torch.no_grad()
def assignment(cost_BSS: Tensor) -> Tensor:
    """For every row the column that it gets when all rows together cost the least.

    Exact, and one tensor operation a row for the whole batch: what the first rows cost at least with each set of
    columns follows from what they cost without the last of them (Held and Karp's dynamic programming).

    Args:
        cost_BSS: ``(..., S, S)``, infinite for pairs that are not allowed.

    Returns:
        Int ``(..., S)``, a permutation of 0..S-1.

    Raises:
        UserError: there are more than 12 objects.
    """
    slots = cost_BSS.shape[-1]
    if slots > _MOST:
        raise UserError(f"matching: hungarian takes up to {_MOST} objects, got {slots} tokens; set it to index")
    cost_NSS = cost_BSS.reshape(-1, slots, slots)
    least = torch.zeros(len(cost_NSS), 2**slots, device=cost_BSS.device, dtype=cost_BSS.dtype)
    last = torch.zeros(len(cost_NSS), 2**slots, device=cost_BSS.device, dtype=torch.long)
    for row, (filled, columns, without) in enumerate(_sets(slots, cost_BSS.device)):
        total = least[:, without] + cost_NSS[:, row, columns]
        least[:, filled], chosen = total.min(dim=-1)
        last[:, filled] = columns.expand(len(cost_NSS), -1, -1).gather(-1, chosen[..., None])[..., 0]
    left = torch.full((len(cost_NSS), 1), 2**slots - 1, device=cost_BSS.device)
    found = []
    for _ in range(slots):
        found.append(last.gather(1, left))
        left = left - 2 ** found[-1]
    return torch.cat(found[::-1], dim=1).reshape(cost_BSS.shape[:-1])


@cache
def _sets(slots: int, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """All sets of 1 column, of 2 columns and so on; a set is a number, one bit for each column.

    Made once: on a GPU, looking for the columns of a set would wait for all that is under way.

    Returns:
        For each size R the sets, the R columns of each, and the sets without each of these: ``(C,)`` and ``(C, R)``
        twice.
    """
    with torch.inference_mode(False):  # they serve passes with gradients too
        bit_S = 2 ** torch.arange(slots)
        sets = torch.arange(2**slots)
        has_CS = sets[:, None] // bit_S % 2 == 1
        found = []
        for size in range(1, slots + 1):
            filled = sets[has_CS.sum(dim=1) == size]
            columns = has_CS[filled].nonzero()[:, 1].reshape(len(filled), size)
            found.append(tuple(values.to(device) for values in (filled, columns, filled[:, None] - bit_S[columns])))
        return found
