"""One progress bar for everything that is not Lightning's: share done, rate and time left."""

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._started = time.time()

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

    def advance(self, amount: float, note: str = "") -> None:
        """``amount`` more of the total is done."""
        self._progress.advance(self._task, amount)
        done = self._progress.tasks[0].completed
        rate = f"{done / max(time.time() - self._started, 1e-6):,.0f} {self.unit}/s"
        self._progress.update(self._task, note=f"{rate}  {note}")
