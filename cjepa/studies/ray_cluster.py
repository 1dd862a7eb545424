"""Where the commands of a study run: on the machines of a Ray cluster, which share a file system."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from cjepa.configuration.class_paths import optional
from cjepa.data.workers import default_workers
from cjepa.errors import UserError
from cjepa.studies.executors import CommandProcess, Executor, Job, Outcome, thread_limits
from cjepa.studies.launcher import SECONDS_TO_END
from cjepa.studies.resources import Machine, Share

_GIB = 2**30
_POLL_SECONDS = 0.1
_LOST = ("NodeDiedError", "WorkerCrashedError", "LocalRayletDiedError", "OutOfMemoryError")
"""Ray's errors of a task that has gone with its worker or machine."""
_SECONDS_AFTER_LOSS = SECONDS_TO_END + 2
"""Until a lost task counts as ended: so long its command may still write where it would start again."""


class RayCluster(Executor):
    """A Ray task for every command, with its CPUs, GPUs and memory; a task runs the command as a process of its own.

    Args:
        address: of a running cluster, as in ``ray.init``; None: a cluster of this machine alone, which ends with this
            process.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """

    shows_progress = False
    holds_cpus = False  # Ray counts CPUs, and pins nothing to them

    def __init__(self, address: str | None = None):
        self._ray = optional("ray", "ray")
        # what can be imported here can be imported there
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
            "log_to_driver": False,
        }
        if address is None:
            options |= {"num_cpus": default_workers(), "include_dashboard": False}
        try:
            self._ray.init(address or "local", logging_level="ERROR", **options)
        except (ConnectionError, ValueError) as error:
            mend = "`ray start --head` starts a cluster and shows its address"
            raise UserError(f"--ray_address {address}: {' '.join(str(error).split())[:200]}; {mend}") from None

    def machines(self) -> list[Machine]:
        """Those that are alive and have CPUs.

        Raises:
            UserError: there are none.
        """
        found = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        sizes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0)), node["memory"] / _GIB) for node in found]
        if not any(cpus for cpus, _, _ in sizes):
            raise UserError("--executor ray: no machine of the cluster has CPUs for tasks; add one with `ray start`")
        return [Machine(*size) for size in sizes if size[0]]

    def start(self, words: list[str], share: Share, output: Path | None = None) -> Job:
        """Hand one command line to the cluster, see :class:`Executor`; what it shows without a file is not kept."""
        _, gpus, memory_gb = share.declared
        needs = {"num_cpus": share.cores, "num_gpus": gpus or 0, "memory": int((memory_gb or 0) * _GIB)}
        # a lost command starts again only after the study has made room for it
        task = self._ray.remote(run_here).options(max_retries=0, **needs)
        place = (os.getcwd(), None if output is None else output.absolute())
        return _Task(self._ray, task.remote(words, memory_gb, share.cores, *place))


def run_here(words: list[str], memory_gb: float | None, cores: int, folder: str, output: Path | None) -> Outcome:
    """What a task does: run a command line as a process of the machine that it is on; an interrupt is handed on."""
    os.chdir(folder)
    environment = thread_limits(cores) | {"PYTHONPATH": os.environ["PYTHONPATH"]}  # without the folders of Ray itself
    job = CommandProcess(words, {"memory_gb": memory_gb}, environment, output or Path(os.devnull))
    while True:
        try:
            while (outcome := job.outcome()) is None:
                time.sleep(_POLL_SECONDS)
            return outcome
        except KeyboardInterrupt:
            job.interrupt()


class _Task(Job):
    def __init__(self, ray: Any, reference: Any):
        self._ray, self._reference = ray, reference
        self._started, self._interrupts = time.monotonic(), 0
        self._outcome: Outcome | None = None
        self._lost_at = 0.0

    def outcome(self) -> Outcome | None:
        """See :class:`Job`."""
        if self._outcome is None and self._ray.wait([self._reference], timeout=0)[0]:
            try:
                self._outcome = self._ray.get(self._reference)
            except self._ray.exceptions.RayError as error:
                self._outcome, self._lost_at = self._failure(error), time.monotonic()
        if self._outcome is not None and self._outcome.lost and time.monotonic() < self._lost_at + _SECONDS_AFTER_LOSS:
            return None
        return self._outcome

    def _failure(self, error: Exception) -> Outcome:
        seconds, kind = time.monotonic() - self._started, type(error).__name__
        if isinstance(error, self._ray.exceptions.TaskCancelledError):
            return Outcome(130, "it was interrupted", "", seconds, 0.0)
        if kind in _LOST:
            return Outcome(1, f"its worker or machine was lost again and again ({kind})", "", seconds, 0.0, lost=True)
        return Outcome(1, f"Ray could not run it ({kind})", str(error), seconds, 0.0)

    def interrupt(self) -> None:
        """See :class:`Job`."""
        self._interrupts += 1
        self._ray.cancel(self._reference, force=self._interrupts > 2)
