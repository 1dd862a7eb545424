"""The stages of a study: those that are done are re-used, the others run, and what came of each is recorded."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cjepa.errors import UserError
from cjepa.files import write_text
from cjepa.progress import LiveLines
from cjepa.reporting.records import repeatable
from cjepa.shell import as_typed
from cjepa.studies.definition import Stage
from cjepa.studies.dispatch import Running, dispatch, undisturbed
from cjepa.studies.executors import Executor, Job, Outcome
from cjepa.studies.keys import Now
from cjepa.studies.resources import Share
from cjepa.studies.stage_folders import NEW, OUTPUT, TRACEBACK, UNFINISHED, StageFolder

_RECORDED = ("seconds", "peak_memory_mb", "started", "cores", "jobs", "beside")
_NAMED = 3
"""Most stages that a line names."""
_TAIL_BYTES = 2000


class StageRun:
    """One run of a study: the stages that are not done yet.

    Args:
        stages: of the study, in its order.
        chosen: those of them that have to be done at the end.
        folders: by the names of the stages.
        executor: runs the stages.
        say: shows a line of progress.
        jobs: most stages at a time.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        chosen: Sequence[Stage],
        folders: Mapping[str, StageFolder],
        executor: Executor,
        say: Callable[[str], None],
        jobs: int,
    ):
        self.stages, self.chosen, self.folders, self.executor, self.say = stages, chosen, {**folders}, executor, say
        self.jobs, self.machines = jobs, executor.machines()
        self.titles = {stage.name: f"[{index}/{len(chosen)}] {stage.name}" for index, stage in enumerate(chosen, 1)}
        self.records: dict[str, dict[str, Any]] = {}
        self.failures: list[str] = []
        self._failed: dict[str, list[str]] = {}  # what went wrong -> stages

    def run(self) -> None:
        """Run them; afterwards, ``records`` has all stages that are done, ``failures`` a line for each way to fail."""
        for stage in self.stages:
            self._reuse(stage)
        waiting = [stage for stage in self.chosen if stage.name not in self.records]
        if not self.executor.holds_cpus:
            waiting = [undisturbed(stage) for stage in waiting]
        with LiveLines() as lines:

            def watch(running: Sequence[Running]) -> None:
                lines.show([self._line(one) for one in running if self._output(one.stage, one.share)])

            places = (self.jobs, self.machines)
            left = dispatch(waiting, set(self.records), *places, self._start, self._end, watch)
        self.failures = [f"{counted(names)} failed: {reason}" for reason, names in self._failed.items()]
        if left:
            names = ", ".join(stage.name for stage in left)
            self.failures.append(f"not run, because they read a stage that failed: {names}")

    def _reuse(self, stage: Stage) -> None:
        folder = self.folders[stage.name]
        folder.bring_back()
        if (found := folder.finished()) is None:
            return
        if stage.name in self.titles:
            self.say(f"{self.titles[stage.name]}: done before, in {found['seconds']:.0f} s")
        record = {name: found[name] for name in _RECORDED if name in found}
        self.records[stage.name] = self.about(stage) | record | {"cached": True}

    def _start(self, stage: Stage, share: Share) -> Job:
        folder, title = self._folder_now(stage), self.titles[stage.name]
        if (why := folder.why_to_run()) not in (NEW, UNFINISHED):
            self.say(f"{title}: runs again; {why}")
        if aside := folder.begin():
            self.say(f"{title}: what was in its folder is now in {aside}")
        argv = self._argv(stage)
        self.say(f"{title}: {as_typed('cjepa', *argv)}")
        return self.executor.start(argv, share, self._output(stage, share))

    def _folder_now(self, stage: Stage) -> StageFolder:
        """The stage's folder, with what the stage is made from as it starts: code may have changed before."""
        with suppress(UserError):  # of a config that is no YAML any more; the stage will say so itself
            upstream = {name: self.folders[name].key for name in stage.depends_on()}
            made_from = Now().made_from(stage, upstream)
            self.folders[stage.name] = self.folders[stage.name]._replace(made_from=made_from)
        return self.folders[stage.name]

    def _output(self, stage: Stage, share: Share) -> Path | None:
        """Where a stage shows its progress; None: in the terminal."""
        shown_here = share.alone and self.executor.shows_progress
        return None if shown_here else self.folders[stage.name].path / OUTPUT

    def _end(self, one: Running, outcome: Outcome) -> None:
        stage, folder, title = one.stage, self.folders[one.stage.name], self.titles[one.stage.name]
        if outcome.error:
            see = self._gone(stage)
            if outcome.traceback:
                see += f"; see {write_text(folder.path / TRACEBACK, outcome.traceback)}"
            self._failed.setdefault(f"{outcome.error}{see}", []).append(stage.name)
            self.say(f"{title}: failed: {outcome.error}{see}")
            return
        beside = [other.name for other in self.stages if other.name in one.beside]
        measured = (round(outcome.seconds, 1), round(outcome.peak_memory_mb), round(one.started, 1))
        record = dict(zip(_RECORDED, (*measured, one.share.cores, self.jobs, beside), strict=True))
        folder.finish(record)
        self.records[stage.name] = self.about(stage) | record | {"cached": False}
        self.say(f"{title}: {outcome.seconds:.0f} s")

    def _gone(self, stage: Stage) -> str:
        """What a stage reads of one that was done before, but was deleted since; empty if nothing was."""
        words = [Path(word) for word in self._argv(stage)]
        for name in stage.depends_on():
            folder = self.folders[name].path
            if not self.records[name]["cached"]:
                continue
            if gone := next((word for word in words if folder in word.parents and not word.exists()), None):
                return f"; {gone} is gone: delete {folder} too, and the study makes it again"
        return ""

    def about(self, stage: Stage) -> dict[str, Any]:
        """What ``study.json`` says of a stage that is not done."""
        about = {"name": stage.name, "command": stage.command, "folder": stage.name, "depends_on": stage.depends_on()}
        about |= {} if stage.series in ("", stage.name) else {"series": stage.series}
        return about | {"typed": repeatable("cjepa", *self._argv(stage)), "key": self.folders[stage.name].key}

    def _argv(self, stage: Stage) -> list[str]:
        places = {name: self.folders[name].path for name in stage.depends_on()}
        return stage.argv(places | {"self": self.folders[stage.name].path})

    def _line(self, one: Running) -> str:
        shown = last_line(self.folders[one.stage.name].path / OUTPUT)
        return f"{self.titles[one.stage.name]}: {time.time() - one.started:.0f} s  {shown}"


def last_line(path: Path) -> str:
    """What a command has shown last; empty if it has shown nothing yet, or another machine's file is not here yet."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _TAIL_BYTES, 0))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def counted(names: Sequence[str]) -> str:
    """Stages in a few words: of a sweep, hundreds may fail for one reason."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"stage{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMED])}{more}"
