"""Ctrl-C that reaches the program wherever it is."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.01


@contextmanager
def passed_on() -> Iterator[None]:
    """Repeat an interrupt that a callback has swallowed, instead of printing its traceback.

    What is raised in a callback of C code, as pymunk's while a simulation runs or a weak reference's, cannot leave it:
    Python gives it to ``sys.unraisablehook`` and goes on. If the repeated one is swallowed too, it is repeated again.
    """
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(_SECONDS, _interrupt_the_program).start()  # at once, it would be raised in here
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_the_program() -> None:
    """As Ctrl-C does: what the main thread waits for is ended too."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
