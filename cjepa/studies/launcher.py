"""Starts a command, ends it if whoever started the launcher ends, and writes down how much memory it took.

Run by its path, with nothing imported but small modules: on Linux the peak memory of a process begins with that of the
process that started it, so a large parent cannot measure a small child.

python launcher.py MEASURED.json COMMAND [WORD]...
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

_SECONDS_TO_END = 10


def main() -> None:
    """Run the command in the launcher's process group."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the command, which does not inherit handlers
        signal.signal(number, lambda *_: None)
    measured, *command = sys.argv[1:]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _, status, usage = os.wait4(process.pid, 0)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    result = {"exit_code": os.waitstatus_to_exitcode(status), "peak_memory_mb": round(usage.ru_maxrss / unit, 1)}
    with open(measured, "w", encoding="utf-8") as file:
        json.dump(result, file)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_END)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
