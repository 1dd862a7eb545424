"""Progress of everything: what long work reports, and the bar and the lines that show it."""

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich.live import Live
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text


class Progress(Protocol):
    """Whoever is told how far long work has come."""

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """Report that ``amount`` more of the total is done.

        Args:
            amount: in the unit of the total: frames, trials, or a share of 1.
            new: False for what an earlier run did, which counts as done but not for the rate.
            note: a short text to show at the end of the line.
        """


class NoProgress(Progress):
    """Shows nothing."""

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """See :meth:`Progress.advance`."""


_SECONDS_PER_LINE = 10.0


class _Note(ProgressColumn):
    """The last column; its end is cut where there is no room for it."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class ProgressBar(Progress):
    """A context manager around one rich progress bar, on stderr; where that is no terminal, a line every ten seconds.

    Args:
        title: what is being done.
        total: of the unit; None where it is unknown.
        unit: of the rate.
    """

    def __init__(self, title: str, total: float | None, unit: str):
        from rich.console import Console

        self.unit = unit
        whole = Column(no_wrap=True)  # in a narrow terminal the bar and the note give way
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(whole),
            TextColumn("left"),
            TimeRemainingColumn(table_column=whole),
            _Note(),
            console=Console(stderr=True),
            speed_estimate_period=math.inf,  # steps of a heavy search are minutes apart
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._progress.advance(self._task, 0)  # the time of the first step counts too
        self._started = self._shown = time.time()
        self._new = 0.0

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._progress.tasks[0].completed:  # nothing was to do, or an error comes, which speaks alone
            self._progress.update(self._task, visible=False)
            self._progress.console.quiet = not self._progress.console.is_interactive
        if error is None:  # all is done, also where less was to do than expected: few episodes, trials that ended early
            self._progress.update(self._task, total=self._progress.tasks[0].completed)
        self._progress.stop()

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """See :meth:`Progress.advance`."""
        if new:
            self._progress.advance(self._task, amount)
            self._new += amount
        else:
            self._progress.reset(self._task, completed=self._progress.tasks[0].completed + amount)
            self._progress.advance(self._task, 0)
        self._progress.update(self._task, note=f"{self.rate}  {note}")
        if not self._progress.console.is_terminal and time.time() - self._shown >= _SECONDS_PER_LINE:
            self._shown = time.time()
            self._progress.console.print(self._line(), soft_wrap=True, highlight=False)

    def _line(self) -> str:
        task = self._progress.tasks[0]
        left = "" if task.time_remaining is None else f"  {task.time_remaining:.0f} s left"
        done = "" if task.total is None else f" {task.percentage:.0f} %"
        return f"{task.description}{done}{left}  {task.fields['note']}".rstrip()

    @property
    def rate(self) -> str:
        """Of what is new."""
        if not self._new:
            return "nothing new"
        rate = self._new / max(time.time() - self._started, 1e-6)
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s"


class LiveLines:
    """A context manager: lines at the bottom of the terminal that change in place; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> "LiveLines":
        return self

    def __exit__(self, *_: object) -> None:
        self.show([])

    def show(self, lines: Sequence[str]) -> None:
        """Replace the lines that are shown; without any, the terminal is free for others."""
        if not lines and self._live is not None:
            self._live.stop()
            self._live = None
        if not lines or not self._console.is_terminal:
            return
        if self._live is None:
            own_stdout = sys.stdout.isatty()  # then what is printed goes above the lines
            options = {"auto_refresh": False, "transient": True, "redirect_stdout": own_stdout}
            self._live = Live(console=self._console, redirect_stderr=False, **options)
            self._live.start()
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
