"""Plans of an unfinished evaluation, kept as files: a kill loses only the search underway.

A repeated evaluation makes the same calls in the same order. Those that were answered before are read instead of
searched for; the environments and the world model go through their actions again, which takes little time and gives the
same bits.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from cjepa.evaluation.control import ControlResult
from cjepa.planning.agents import SimulatorAgent
from cjepa.planning.mpc import PlanRecord
from cjepa.planning.planners.base import Planner
from cjepa.planning.problem import PlanningProblem
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.progress import Progress
from cjepa.tensor_files import load_tensors, write_tensors
from cjepa.types import Plan


@dataclass(frozen=True)
class PlanFiles:
    """Where the plans of one planner in one evaluation are kept.

    Args:
        folder: of all plans of an evaluation.
        job: all that decides the plans; those of another job are left alone.
        part: of the evaluation, letters and digits.
    """

    folder: Path
    job: str
    part: str = "all"

    def path(self, call: int) -> Path:
        """The file of a planning call, counted from 0."""
        digest = hashlib.sha256(self.job.encode()).hexdigest()[:16]
        return self.folder / f"{digest}-{self.part}-{call:05d}.pt"


class _KeepingPlanner(Planner):
    """Keeps the plans of another planner, and gives those that an earlier run has kept.

    Args:
        planner: that searches.
        files: of its plans.
    """

    def __init__(self, planner: Planner, files: PlanFiles):
        self._planner = planner
        self._files = files
        self._earlier_seconds: list[float] = []

    @property
    def repeats(self) -> bool:
        """Whether the last plan was made by an earlier run."""
        return bool(self._earlier_seconds) and self._earlier_seconds[-1] > 0

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`; the problem's generator is left as the search leaves it.

        Raises:
            UserError: the file of a plan is damaged.
        """
        path = self._files.path(len(self._earlier_seconds))
        if path.is_file():
            kept = load_tensors(path, what="a plan of an unfinished evaluation; delete it, so that it is made again")
            problem.generator.set_state(kept["generator"])
            self._earlier_seconds.append(kept["seconds"])
            return Plan(*(None if values is None else values.to(problem.device) for values in kept["plan"]))
        started = time.perf_counter()
        plan = self._planner.plan(problem, warm_start_BKHA)
        seconds = time.perf_counter() - started
        self._earlier_seconds.append(0.0)
        state = problem.generator.get_state()
        write_tensors(path, {"plan": list(plan.cpu()), "generator": state, "seconds": seconds})
        return plan

    def timed(self, records: Sequence[PlanRecord]) -> list[PlanRecord]:
        """Records of all plans with the time that their searches took, whichever run made them."""
        spent_P = np.reshape(self._earlier_seconds, (len(records), -1)).sum(axis=1)
        return [
            record._replace(seconds=record.seconds + float(spent))
            for record, spent in zip(records, spent_P, strict=True)
        ]


class KeptProgress(Progress):
    """Tells which env steps follow plans of an earlier run: they say nothing about the time that is left.

    Args:
        progress: to advance.
        planner: of the plans.
    """

    def __init__(self, progress: Progress, planner: _KeepingPlanner):
        self._progress, self._planner = progress, planner

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """See :meth:`Progress.advance`."""
        self._progress.advance(amount, new and not self._planner.repeats, note)


class Keeping:
    """What an evaluation uses while its plans are kept.

    Args:
        planner: that keeps them; None where no plans are kept.
        progress: of the evaluation.
    """

    def __init__(self, planner: _KeepingPlanner | None, progress: Progress):
        self._planner = planner
        self.progress = progress if planner is None else KeptProgress(progress, planner)
        """To advance by env steps."""

    def timed(self, control: ControlResult) -> ControlResult:
        """The result with the time that the search of each plan took, whichever run made it."""
        return control if self._planner is None else control._replace(plans=self._planner.timed(control.plans))


@contextmanager
def keeping_plans(
    files: PlanFiles | None, agent: WorldModelAgent | SimulatorAgent, progress: Progress
) -> Iterator[Keeping]:
    """Inside, the plans of an agent's planner are kept, and those that an earlier run has kept are read.

    Args:
        files: of the plans; None keeps none.
        agent: of the planner, which is the agent's again at the end.
        progress: of the evaluation.
    """
    if files is None:
        yield Keeping(None, progress)
        return
    planner = agent.planner
    agent.planner = kept = _KeepingPlanner(planner, files)
    try:
        yield Keeping(kept, progress)
    finally:
        agent.planner = planner
