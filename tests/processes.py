"""Processes that a test starts: they end with it, whatever becomes of it, and nothing waits for them for ever."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def started(words: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process in a session of its own; at the end all that still runs in that session is killed.

    Args:
        words: program and arguments.
        options: of ``subprocess.Popen``.
    """
    with subprocess.Popen(words, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """What ``condition()`` says as soon as that is true; an AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing happens for {seconds:g} s"
        time.sleep(0.01)
    return found
