"""The command that uses the engine as no one should: a short run of each of its parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "tools" / "stress.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork and no timers that send signals")
@pytest.mark.parametrize(
    ("what", "count", "last"),
    [
        ("threads", 2, "2 starts of 8 threads, 0 failed"),
        ("interrupts", 400, "interrupts, 0 found"),
        ("handlers", 60, ", 0 wrong"),
        ("forks", 5, "5 forks, 0 failed"),
    ],
)
def test_stress(what: str, count: int, last: str) -> None:
    command = [sys.executable, str(COMMAND), what, "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert last in done.stdout.splitlines()[-1]
