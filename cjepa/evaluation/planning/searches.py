"""What goes on within a long search in a world model: its progress, and costs that survive a kill."""

import hashlib
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from torch import Tensor

from cjepa.planning.costs import RolloutCost
from cjepa.progress import Progress
from cjepa.tensor_files import load_tensors, write_tensors

LONG_SECONDS = 5.0
"""Searches that take longer show progress and keep costs, and a kill loses about so much of them."""


class SearchProgress(Progress):
    """Advances while a long plan is searched for: the env steps that it is for are then done bit by bit.

    Args:
        progress: of the evaluation.
        plan_env_steps: of every plan that are executed.
        budget_env_steps: of all plans; the last one may be for fewer.
    """

    def __init__(self, progress: Progress, plan_env_steps: int, budget_env_steps: int):
        self._progress = progress
        self._plan_env_steps, self._budget_env_steps = plan_env_steps, budget_env_steps
        self._executed = self._shown = 0.0
        self._note = ""

    def searched(self, share: float, new: bool = True) -> None:
        """Report how much of the search for the next plan is done, 0 to 1; more counts as 1.

        Args:
            share: of the search.
            new: False for what an earlier run did.
        """
        env_steps = min(self._plan_env_steps, self._budget_env_steps - self._executed)
        self._show(self._executed + min(share, 1.0) * env_steps, new)

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """See :meth:`Progress.advance`; env steps that already count as done, since their search, count once."""
        self._executed += amount
        self._note = note
        self._show(self._executed, new)

    def _show(self, env_steps: float, new: bool) -> None:
        self._progress.advance(max(env_steps - self._shown, 0.0), new, self._note)
        self._shown = max(env_steps, self._shown)


class KeptCosts:
    """Costs of the candidates of one search, in files until the evaluation is finished.

    A repeated search draws the same candidates from the same generator, and finds their costs by a digest of them.

    Args:
        plan: file of the plan that is searched for, beside which they are; None keeps nothing.

    Raises:
        UserError: a file of an earlier run is damaged.
    """

    def __init__(self, plan: Path | None):
        self._plan = plan
        self._earlier: dict[str, tuple[Tensor, float]] = {}
        self._new: dict[str, tuple[Tensor, float]] = {}
        self.earlier_seconds = 0.0
        """That costs of an earlier run took, as far as they have been used."""
        what = "costs of an unfinished evaluation; delete it, so that they are computed again"
        for path in plan.parent.glob(f"{plan.stem}-costs-*.pt") if plan is not None else ():
            self._earlier |= load_tensors(path, what=what)

    def find(self, actions_RHA: Tensor, row_R: Tensor) -> Tensor | None:
        """Cost ``(R,)`` of candidates for the environments ``row_R`` if an earlier run has kept it."""
        if not self._earlier or actions_RHA.requires_grad:
            return None
        cost_R, seconds = self._earlier.get(_digest(actions_RHA, row_R), (None, 0.0))
        self.earlier_seconds += seconds
        return cost_R

    def keep(self, actions_RHA: Tensor, row_R: Tensor, cost_R: Tensor, seconds: float) -> None:
        """Keep a cost that took ``seconds``; but none with gradients, and none on a GPU, which would have to wait."""
        if self._plan is None or cost_R.requires_grad or cost_R.device.type != "cpu":
            return
        key = _digest(actions_RHA, row_R)
        self._new[key] = (cost_R, seconds)
        if sum(seconds for _, seconds in self._new.values()) > LONG_SECONDS:
            write_tensors(self._plan.with_name(f"{self._plan.stem}-costs-{key[:16]}.pt"), self._new)
            self._new = {}


def _digest(actions_RHA: Tensor, row_R: Tensor) -> str:
    digest = hashlib.sha256(row_R.numpy())
    digest.update(actions_RHA.contiguous().numpy())
    return digest.hexdigest()


class SearchedCost:
    """The cost of one search: once this has taken long, every part is reported and kept.

    Args:
        cost: of candidates.
        kept: of this search.
        progress: told which share of the search is done.
        count: gives the number of candidates that the search will ask about, of all environments together.
    """

    def __init__(self, cost: RolloutCost, kept: KeptCosts, progress: SearchProgress, count: Callable[[], int]):
        self._cost, self._kept, self._progress, self._count = cost, kept, progress, count
        self._asked = 0
        self._started = time.perf_counter()

    def __call__(self, actions_BNHA: Tensor) -> Tensor:
        """See :class:`~cjepa.planning.problem.Cost`."""
        return self._cost.in_parts(actions_BNHA, self._of_part)

    def _of_part(self, actions_RHA: Tensor, row_R: Tensor) -> Tensor:
        self._asked += len(row_R)
        cost_R = found_R = self._kept.find(actions_RHA, row_R)
        if cost_R is None:
            started = time.perf_counter()
            cost_R = self._cost.of_part(actions_RHA, row_R)
            ended = time.perf_counter()
            if ended - self._started < LONG_SECONDS:
                return cost_R
            self._kept.keep(actions_RHA, row_R, cost_R, ended - started)
        self._progress.searched(self._asked / self._expected, new=found_R is None)
        return cost_R

    @cached_property
    def _expected(self) -> int:
        return self._count()
