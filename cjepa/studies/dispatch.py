"""Which stage of a study runs when: stages whose inputs are finished run side by side, timed ones alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cjepa.studies.definition import Stage
from cjepa.studies.executors import Job, Outcome

TIMED = ("plan", "plan-baselines", "bench")
"""Commands whose results contain times: nothing else runs beside them."""
_POLL_SECONDS = 0.1


class Share(NamedTuple):
    """What a stage gets of the machine."""

    cores: int
    alone: bool
    """Whether no other stage runs until it ends."""


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
    cores: int,
    start: Callable[[Stage, Share], Job],
    end: Callable[[Running, Outcome], None],
    watch: Callable[[Sequence[Running]], None],
) -> list[Stage]:
    """Run stages, each as soon as the stages that it reads are finished and there is room.

    A stage that fails does not stop the others, only those that read it. With one job, stages run in their order.

    Args:
        stages: to run.
        finished: names of the stages that need not run.
        jobs: most stages at a time.
        cores: of the machine; every one of several jobs gets an equal share, a stage alone gets all.
        start: starts a stage.
        end: called once for each stage that was started.
        watch: called again and again with the stages that run.

    Returns:
        The stages that could not start, because a stage that they read has failed.

    Raises:
        KeyboardInterrupt: the user has interrupted; every stage that ran has ended.
    """
    waiting, finished, running = list(stages), set(finished), []
    try:
        while True:
            watch(running)  # before a start: a stage alone shows its own progress
            while found := _next(waiting, finished, running, jobs, cores):
                stage, share = found
                waiting.remove(stage)
                new = Running(stage, share, start(stage, share), beside={other.stage.name for other in running})
                for other in running:
                    other.beside.add(stage.name)
                running.append(new)
            if not running:
                return waiting
            ended = [(one, outcome) for one in running if (outcome := one.job.outcome()) is not None]
            for one, outcome in ended:
                running.remove(one)
                end(one, outcome)
                if not outcome.error:
                    finished.add(one.stage.name)
            if not ended:
                time.sleep(_POLL_SECONDS)
    except BaseException:
        _end_all([one.job for one in running])
        raise


def _next(
    waiting: Sequence[Stage], finished: set[str], running: Sequence[Running], jobs: int, cores: int
) -> tuple[Stage, Share] | None:
    """The stage to start now, if any."""
    if any(one.share.alone for one in running):
        return None
    ready = [stage for stage in waiting if finished.issuperset(stage.depends_on())]
    free = [stage for stage in ready if stage.command not in TIMED] if jobs > 1 else []
    if free and (running or len(free) > 1):
        return (free[0], Share(max(1, cores // jobs), alone=False)) if len(running) < jobs else None
    # nothing can become ready while one stage runs: it has the machine to itself
    alone = (free or ready) if not running else []
    return (alone[0], Share(cores, alone=True)) if alone else None


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
