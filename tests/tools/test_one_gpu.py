"""tools/one_gpu.sh: what it runs, and that it ends where a command fails. The commands are written down, not run."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "one_gpu.sh"
FAKE = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
[[ -z "$FAILING" || "$*" != *"$FAILING"* ]]
"""
TRAINED_ON_PUSHT = {"fast", "fast-wide", "cjepa-0", "cjepa-1"}


@pytest.mark.parametrize(
    ("failing", "code", "trained", "judged"),
    [
        ("", 0, TRAINED_ON_PUSHT, TRAINED_ON_PUSHT),
        ("--out {out}/tokens/2.h5", 1, set(), set()),
        ("--out {out}/held-out.h5", 1, set(), set()),
        ("--run_dir {out}/runs/fast-wide", 1, TRAINED_ON_PUSHT, TRAINED_ON_PUSHT - {"fast-wide"}),
        ("plan {out}/runs/cjepa-0", 1, TRAINED_ON_PUSHT, TRAINED_ON_PUSHT),
        ("--out {out}/collide-tokens.h5", 1, TRAINED_ON_PUSHT, TRAINED_ON_PUSHT),
    ],
)
def test_nothing_is_trained_without_its_data_and_a_failure_shows(tmp_path, failing, code, trained, judged):
    out, calls = tmp_path / "out", tmp_path / "calls"
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text(FAKE)
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}", "CHANGES": ""}
    environment |= {"CALLS": str(calls), "FAILING": failing.format(out=out)}
    done = subprocess.run(["bash", SCRIPT, out, "toy"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout
    assert ("FAILED" in done.stdout) == bool(code) and done.stdout.strip().endswith("end")
    lines = calls.read_text().splitlines()
    assert {name for name in TRAINED_ON_PUSHT for line in lines if f"--run_dir {out}/runs/{name} " in line} == trained
    assert {name for name in TRAINED_ON_PUSHT for line in lines if f" plan {out}/runs/{name} " in line} == judged
    trains = [index for index, line in enumerate(lines) if f"--run_dir {out}/runs/" in line and "/collide" not in line]
    data = [index for index, line in enumerate(lines) if "held-out.h5 --seed" in line or "zoo:pusht-slots" in line]
    assert not trains or max(data) < min(trains)
