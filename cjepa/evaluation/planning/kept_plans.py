"""Plans of an unfinished evaluation, kept as files: a kill loses only the last seconds of the search underway.

A repeated evaluation makes the same calls in the same order. Those that were answered before are read instead of
searched for; the environments and the world model go through their actions again, which takes little time and gives the
same bits.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from cjepa.evaluation.planning.control import ControlResult
from cjepa.evaluation.planning.searches import KeptCosts, SearchedCost, SearchProgress
from cjepa.planning.agents import SimulatorAgent
from cjepa.planning.costs import RolloutCost
from cjepa.planning.planners.base import Planner, solved
from cjepa.planning.problem import PlanningProblem
from cjepa.planning.recording import search_length
from cjepa.planning.world_model_agent import WorldModelAgent
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
    """Keeps what another planner finds, and gives what an earlier run has kept.

    Args:
        planner: that searches.
        files: of its plans; None keeps none.
        progress: told what has been searched.
    """

    def __init__(self, planner: Planner, files: PlanFiles | None, progress: SearchProgress):
        self._planner = planner
        self._files = files
        self._progress = progress
        self._earlier_seconds: list[float] = []

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`; the problem's generator is left as the search leaves it.

        Raises:
            UserError: the file of a plan is damaged.
        """
        path = None if self._files is None else self._files.path(len(self._earlier_seconds))
        if path is not None and path.is_file():
            kept = load_tensors(path, what="a plan of an unfinished evaluation; delete it, so that it is made again")
            problem.generator.set_state(kept["generator"])
            self._earlier_seconds.append(kept["seconds"])
            self._progress.searched(1.0, new=False)
            return Plan(*(None if values is None else values.to(problem.device) for values in kept["plan"]))
        started, costs = time.perf_counter(), KeptCosts(path)
        plan = solved(self._planner, self._watched(problem, warm_start_BKHA, costs), warm_start_BKHA)
        self._earlier_seconds.append(costs.earlier_seconds)
        if path is not None:
            seconds = time.perf_counter() - started + costs.earlier_seconds
            state = problem.generator.get_state()
            write_tensors(path, {"plan": list(plan.cpu()), "generator": state, "seconds": seconds})
        return plan

    def _watched(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None, costs: KeptCosts) -> PlanningProblem:
        cost = problem.cost
        if not isinstance(cost, RolloutCost):  # a simulator's trials are searched one by one, which takes seconds
            return problem

        def count() -> int:
            skipped = 0 if cost.skipped_B is None else int(cost.skipped_B.sum())
            return search_length(self._planner, problem, warm_start_BKHA) * (problem.batch - skipped)

        return replace(problem, cost=SearchedCost(cost, costs, self._progress, count))

    def timed(self, control: ControlResult) -> ControlResult:
        """The result with the time that the search of each plan took, whichever run made it."""
        spent_P = np.reshape(self._earlier_seconds, (len(control.plans), -1)).sum(axis=1)
        plans = [
            record._replace(seconds=record.seconds + float(spent))
            for record, spent in zip(control.plans, spent_P, strict=True)
        ]
        return control._replace(plans=plans)


@contextmanager
def keeping_plans(
    files: PlanFiles | None, agent: WorldModelAgent | SimulatorAgent, progress: SearchProgress
) -> Iterator[_KeepingPlanner]:
    """Inside, what an agent's planner finds is kept, and what an earlier run has kept is read.

    Args:
        files: of the plans; None keeps none.
        agent: of the planner, which is the agent's again at the end.
        progress: of the evaluation, which the control loop advances too.
    """
    planner = agent.planner
    agent.planner = keeping = _KeepingPlanner(planner, files, progress)
    try:
        yield keeping
    finally:
        agent.planner = planner
