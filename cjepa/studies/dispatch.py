"""Which stage of a study runs when: side by side where inputs are done and there is room, timed ones undisturbed."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cjepa.studies.definition import Stage
from cjepa.studies.executors import Job, Outcome
from cjepa.studies.resources import Machine, Share, share_beside

TIMED = ("plan", "plan-baselines", "bench")
"""Commands whose results contain times: one runs alone, or where it and all beside it are held to CPUs of their own."""
_POLL_SECONDS = 0.1
_MOST_STARTS = 4
"""Of a stage whose machine or worker goes again and again."""


class Placed(Protocol):
    """A stage that has its share of a machine."""

    stage: Stage
    share: Share


@dataclass
class Running:
    """A stage that has been started."""

    stage: Stage
    share: Share
    job: Job
    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    beside: set[str] = field(default_factory=set)
    """Names of the stages that ran at the same time, for a while at least."""


def dispatch(
    stages: Sequence[Stage],
    finished: set[str],
    jobs: int,
    machines: Sequence[Machine],
    start: Callable[[Stage, Share], Job],
    end: Callable[[Running, Outcome], None],
    watch: Callable[[Sequence[Running]], None],
) -> list[Stage]:
    """Run stages, each as soon as the stages that it reads are finished and there is room.

    A stage that fails does not stop the others, only those that read it. A stage that is lost with its worker or
    machine starts again, a few times. With one job, stages run in their order.

    Args:
        stages: to run.
        finished: names of the stages that need not run.
        jobs: most stages at a time.
        machines: that the stages run on. A stage gets what it declares; if it declares no CPUs, it gets an equal share
            beside others, and alone all of a machine.
        start: starts a stage.
        end: called once for each stage that was started and has ended for good.
        watch: called again and again with the stages that run.

    Returns:
        The stages that could not start, because a stage that they read has failed.

    Raises:
        KeyboardInterrupt: the user has interrupted; every stage that ran has ended.
    """
    waiting, finished, running = list(stages), set(finished), []
    starts: Counter[str] = Counter()
    try:
        while True:
            watch(running)  # before a start: a stage alone shows its own progress
            while found := next_stage(waiting, finished, running, jobs, machines):
                stage, share = found
                waiting.remove(stage)
                starts[stage.name] += 1
                new = Running(stage, share, start(stage, share), beside={other.stage.name for other in running})
                for other in running:
                    other.beside.add(stage.name)
                running.append(new)
            if not running:
                return waiting
            ended = [(one, outcome) for one in running if (outcome := one.job.outcome()) is not None]
            for one, outcome in ended:
                running.remove(one)
                if outcome.lost and starts[one.stage.name] < _MOST_STARTS:
                    waiting.insert(0, one.stage)
                    continue
                end(one, outcome)
                if not outcome.error:
                    finished.add(one.stage.name)
            if not ended:
                time.sleep(_POLL_SECONDS)
    except BaseException:
        _end_all([one.job for one in running])
        raise


def undisturbed(stage: Stage) -> Stage:
    """The stage as it is placed where nothing is held to its CPUs: a timed one takes a whole machine."""
    return stage._replace(resources=stage.resources._replace(cpus=None)) if stage.command in TIMED else stage


def default_jobs(stages: Sequence[Stage], machines: Sequence[Machine]) -> int:
    """Stages at a time if the user does not say: one for each machine, or as many as fit where stages declare CPUs."""
    fewest = min((stage.resources.cpus for stage in stages if stage.resources.cpus), default=None)
    room = 0 if fewest is None else sum(machine.cpus // fewest for machine in machines)
    return max(len(machines), room)


def next_stage(
    waiting: Sequence[Stage], finished: set[str], running: Sequence[Placed], jobs: int, machines: Sequence[Machine]
) -> tuple[Stage, Share] | None:
    """The stage to start now, if any, and what it gets; the arguments are those of :func:`dispatch`."""
    if any(one.share.alone for one in running):
        return None
    ready = [stage for stage in waiting if finished.issuperset(stage.depends_on())]
    beside = [stage for stage in ready if jobs > 1 and not _runs_alone(stage, machines)]
    if beside and (running or len(beside) > 1):
        fitting = [stage for stage in beside if all(_may_share(stage, one.stage, machines) for one in running)]
        shares = ((stage, _share(stage, running, jobs, machines)) for stage in fitting if len(running) < jobs)
        return next(((stage, share) for stage, share in shares if share is not None), None)
    # nothing can become ready while one stage runs: it has a machine to itself
    alone = (beside or ready) if not running else []
    return (alone[0], _all_of_a_machine(alone[0], machines)) if alone else None


def _runs_alone(stage: Stage, machines: Sequence[Machine]) -> bool:
    """Whether nothing may run beside it; where there are several machines, it gets one to itself instead."""
    return stage.command in TIMED and stage.resources.cpus is None and len(machines) == 1


def _may_share(stage: Stage, other: Stage, machines: Sequence[Machine]) -> bool:
    """Whether two stages may run on one machine: a timed one only where neither can take CPUs of the other."""
    pair = (stage, other)
    is_timed = len(machines) == 1 and any(one.command in TIMED for one in pair)
    return not is_timed or all(one.resources.cpus is not None for one in pair)


def _share(stage: Stage, running: Sequence[Placed], jobs: int, machines: Sequence[Machine]) -> Share | None:
    whole = max(machine.cpus for machine in machines)
    declared = stage.resources
    if stage.command in TIMED and declared.cpus is None:
        declared = declared._replace(cpus=whole)
    equal = min(sum(machine.cpus for machine in machines) // jobs, whole)
    return share_beside(declared, equal, (one.share for one in running), machines)


def _all_of_a_machine(stage: Stage, machines: Sequence[Machine]) -> Share:
    cores = stage.resources.cpus or max(machine.cpus for machine in machines)
    return Share(cores, alone=True, declared=stage.resources)


def _end_all(jobs: Sequence[Job]) -> None:
    """Interrupt jobs and wait until they have ended; whenever the user interrupts again, more firmly."""
    while True:
        try:
            for job in jobs:
                job.interrupt()
            while any(job.outcome() is None for job in jobs):
                time.sleep(_POLL_SECONDS)
            return
        except KeyboardInterrupt:
            continue
