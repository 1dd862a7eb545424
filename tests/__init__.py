"""One thread a process, before torch is imported: test workers and the processes that they start share the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
