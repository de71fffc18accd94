"""Executors across forks and at the end of a process: each test is a Python process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, sys, threading, time
import numpy as np
from numba import cfunc
from normengine.kernels.abi import SIGNATURE, int64_at
from normengine.runtime.executor import Executor

@cfunc(SIGNATURE)
def count(args, begin, end, thread):
    counts = int64_at(args[0])
    for task in range(begin, end):
        counts[task] += 1

def make():
    counts = np.zeros(64, np.int64)
    args = np.array([counts.ctypes.data])
    rows = np.array([[count.address, args.ctypes.data, 64, 1]] * 5)
    return counts, args, Executor(rows)

counts, args, executor = make()
executor.run(0, 5, 3)
"""

FORK = """
child = os.fork()
if child == 0:
    executor.run(0, 5, 3)
    executor.run(0, 5, 2)
    os._exit(0 if (counts == 15).all() else 1)
assert os.waitpid(child, 0)[1] == 0
executor.run(0, 5, 3)
assert (counts == 10).all()
"""

FORK_DURING_A_RUN = """
stop = False
def keep_running():
    _, _, own = kept = make()
    while not stop:
        own.run(0, 5, 3)
thread = threading.Thread(target=keep_running)
thread.start()
for attempt in range(5):
    child = os.fork()
    if child == 0:
        executor.run(0, 5, 3)
        os._exit(0 if (counts == 10).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
stop = True
thread.join()
"""

FORK_DURING_A_PROGRAM = """
from normengine.graph import Spec
from normengine.ops import Builder
from normengine.runtime import ProgramCache
builder = Builder()
graph = builder.graph([builder.add("softmax", builder.input("x", Spec((64, 64, 64))), axis=2)])
cache, x = ProgramCache(), np.ones((64, 64, 64), np.float32)
cache.get(graph).run({"x": x})
stop = False
def keep_running():
    while not stop:
        cache.get(graph).run({"x": x})
thread = threading.Thread(target=keep_running)
thread.start()
for attempt in range(5):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        (y,) = cache.get(graph).run({"x": x})
        os._exit(0 if np.allclose(y, 1 / 64) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop = True
thread.join()
"""

EXIT_DURING_A_RUN = """
def keep_running():
    _, _, own = kept = make()
    while True:
        own.run(0, 5, 3)
threading.Thread(target=keep_running, daemon=True).start()
time.sleep(0.05)
"""


def run(script: str, folder: Path) -> None:
    # Python 3.12 and later warn of every fork of a process that has threads, which is what is tested here.
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", PRELUDE + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
@pytest.mark.parametrize(
    "script", [FORK, FORK_DURING_A_RUN, FORK_DURING_A_PROGRAM], ids=["idle", "during a run", "during a program"]
)
def test_a_forked_process_makes_its_own_team(backend: str, script: str, tmp_path: Path) -> None:
    run(script, tmp_path)


@pytest.mark.parametrize("script", ["", EXIT_DURING_A_RUN], ids=["idle", "during a run"])
def test_a_process_ends_although_its_team_lives(backend: str, script: str, tmp_path: Path) -> None:
    run(script, tmp_path)
