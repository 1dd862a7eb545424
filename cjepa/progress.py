"""One progress bar for everything that is not Lightning's: share done, rate and time left."""

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text


class _Note(ProgressColumn):
    """The last column; its end is cut where there is no room for it."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class ProgressBar:
    """A context manager around one rich progress bar, on stderr.

    Args:
        title: what is being done.
        total: of the unit.
        unit: of the rate.
    """

    def __init__(self, title: str, total: float, unit: str):
        from rich.console import Console

        self.unit = unit
        whole = Column(no_wrap=True)  # in a narrow terminal the bar and the note give way
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(whole),
            TextColumn("left"),
            TimeRemainingColumn(table_column=whole),
            _Note(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._started = time.time()
        self._new = 0.0

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not self._progress.tasks[0].completed:
            # nothing was done: the error speaks alone
            self._progress.update(self._task, visible=False)
            self._progress.console.quiet = not self._progress.console.is_interactive
        self._progress.stop()

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        """``amount`` more of the total is done; what is not new was done by an earlier run and makes no rate."""
        if new:
            self._progress.advance(self._task, amount)
            self._new += amount
        else:
            self._progress.reset(self._task, completed=self._progress.tasks[0].completed + amount)
        self._progress.update(self._task, note=f"{self.rate}  {note}")

    @property
    def rate(self) -> str:
        """Of what is new."""
        if not self._new:
            return "nothing new"
        rate = self._new / max(time.time() - self._started, 1e-6)
        return f"{rate:,.{0 if rate >= 10 else 1}f} {self.unit}/s"
