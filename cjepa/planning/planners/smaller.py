"""Smaller searches of a planner, each with about half the candidates of the one before."""

import copy

from cjepa.errors import UserError
from cjepa.planning.planners.base import Planner

_FEWEST_SAMPLES = 8


def smaller_searches(planner: Planner) -> list[Planner]:
    """Copies of a planner with fewer iterations or samples, halved in turn down to 1 and 8.

    The share of elites stays. A planner that has only one of the two numbers gets smaller by this one.

    Args:
        planner: with the attributes ``num_samples`` or ``iterations``.

    Raises:
        UserError: it has neither, or is as small as can be.
    """
    found, latest, turns = [], planner, 0
    while (following := _halved(latest, turns)) is not None:
        found.append(following)
        latest, turns = following, turns + 1
    if not found:
        raise UserError(
            f"{type(planner).__name__} has no num_samples above {_FEWEST_SAMPLES} and no iterations above 1; give "
            "another planner, for example --planner cjepa.planning.planners.cem.CEM"
        )
    return found


def search_size(planner: Planner) -> str:
    """``300 x 30``: samples and iterations, as far as the planner has them."""
    numbers = (getattr(planner, name, None) for name in ("num_samples", "iterations"))
    return " x ".join(str(number) for number in numbers if number is not None)


def _halved(planner: Planner, turns: int) -> Planner | None:
    """With half the iterations in even turns, half the samples in odd ones, the other one where that is at its end."""
    fewest = {"iterations": 1, "num_samples": _FEWEST_SAMPLES}
    order = list(fewest) if turns % 2 == 0 else list(reversed(fewest))
    for name in order:
        now = getattr(planner, name, fewest[name])
        if now > fewest[name]:
            smaller = copy.copy(planner)
            setattr(smaller, name, max(fewest[name], -(-now // 2)))
            if name == "num_samples" and hasattr(planner, "num_elites"):
                smaller.num_elites = max(2, round(planner.num_elites * smaller.num_samples / now))
            return smaller
    return None
