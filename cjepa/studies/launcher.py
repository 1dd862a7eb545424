"""Starts a command within limits, ends it if whoever started the launcher ends, and writes down what memory it took.

Run by its path, with nothing imported but small modules: on Linux the peak memory of a process begins with that of the
process that started it, so a large parent cannot measure a small child.

python launcher.py MEASURED.json LIMITS COMMAND [WORD]...

LIMITS is JSON: ``cores``, the numbers of those that the command is held to, and ``memory_gb``, the most (GiB) that its
processes may take together; without a key there is no such limit. Only Linux enforces them.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_TO_END = 10
"""That a command has when whoever started the launcher has ended."""
_SECONDS_TO_LOOK = 0.2


def main() -> None:
    """Run the command in the launcher's process group."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the command, which does not inherit handlers
        signal.signal(number, lambda *_: None)
    measured, limits, *command = sys.argv[1:]
    limits = json.loads(limits)
    if "cores" in limits and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, limits["cores"])
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    passed = threading.Event()
    if "memory_gb" in limits:
        threading.Thread(target=_watch_memory, args=(limits["memory_gb"] * 2**30, passed), daemon=True).start()
    _, status, usage = os.wait4(process.pid, 0)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    result = {"exit_code": os.waitstatus_to_exitcode(status), "peak_memory_mb": round(usage.ru_maxrss / unit, 1)}
    with open(measured, "w", encoding="utf-8") as file:
        json.dump(result | {"passed_memory": passed.is_set()}, file)


def _watch_memory(most_bytes: float, passed: threading.Event) -> None:
    while os.path.isdir("/proc/self") and not passed.is_set():
        time.sleep(_SECONDS_TO_LOOK)
        # what processes share counts for each in the first sum, which is quick, and once in the second
        if _total(_resident_bytes) > most_bytes and _total(_proportional_bytes) > most_bytes:
            passed.set()
            for pid in _others():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _total(of_process: Callable[[int], int]) -> int:
    total = 0
    for pid in _others():
        with contextlib.suppress(OSError):  # it has ended
            total += of_process(pid)
    return total


def _others() -> Iterator[int]:
    """Processes of this group but for the launcher."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.getpgid(int(name)) == os.getpgrp():
                    yield int(name)


def _resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _proportional_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next((int(line.split()[1]) * 2**10 for line in file if line.startswith("Pss:")), 0)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
