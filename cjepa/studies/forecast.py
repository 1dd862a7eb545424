"""What the stages of a study will take side by side, from what each of them took before."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cjepa.studies.definition import Stage
from cjepa.studies.dispatch import next_stage
from cjepa.studies.resources import Machine, Share


class Cost(NamedTuple):
    """What a stage takes, or several stages together."""

    seconds: float
    """Wall time."""
    memory_mb: float
    """Most memory at any time, in MiB."""


class _Placed(NamedTuple):
    stage: Stage
    share: Share
    until: float
    """Seconds from the start of the study."""


def forecast(
    stages: Sequence[Stage],
    costs: Mapping[str, Cost],
    finished: Collection[str],
    jobs: int,
    machines: Sequence[Machine],
) -> Cost:
    """What :func:`~cjepa.studies.dispatch.dispatch` will take, if each stage takes what it took before.

    Args:
        stages: to run.
        costs: of the stages, by their names; a stage without one counts as taking nothing.
        finished: names of the stages that need not run.
        jobs: most stages at a time.
        machines: that the stages run on.
    """
    waiting, finished, running = list(stages), set(finished), []
    now = memory_mb = 0.0
    nothing = Cost(0.0, 0.0)
    while True:
        while found := next_stage(waiting, finished, running, jobs, machines):
            stage, share = found
            waiting.remove(stage)
            running.append(_Placed(stage, share, now + costs.get(stage.name, nothing).seconds))
        if not running:
            return Cost(now, memory_mb)
        memory_mb = max(memory_mb, sum(costs.get(one.stage.name, nothing).memory_mb for one in running))
        first = min(running, key=lambda one: one.until)
        running.remove(first)
        finished.add(first.stage.name)
        now = first.until
