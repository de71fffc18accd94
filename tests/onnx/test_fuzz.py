"""The command that opens random ONNX models: a run of a minute, and that it finds what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fuzz_onnx
import onnx
import onnx_models
import pytest

COMMAND = Path(__file__).parents[2] / "tools" / "fuzz_onnx.py"


@pytest.mark.slow
def test_random_models_for_a_minute(tmp_path):
    """No signal, no hang, no exception but a refusal, in four gigabytes of address space."""
    command = [sys.executable, str(COMMAND), "--seconds", "60", "--jobs", "2", "--limit", "60", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "nothing found" in done.stdout
    assert int(done.stdout.split()[0]) > 20


def test_the_same_seed_gives_the_same_models():
    def drawn(seed):
        return [(m.content, m.spoilt, m.beside) for m in (fuzz_onnx.draw(seed, number) for number in range(40))]

    assert drawn(3) == drawn(3) != drawn(4)


def test_every_operator_is_drawn():
    operators = set()
    for number in range(600):
        content = onnx_models.valid(onnx_models.np.random.default_rng((0, number))).SerializeToString()
        operators |= {node.op_type for node in onnx.load_model_from_string(content).graph.node}
    assert operators == set(onnx_models.OPERATORS)


WORKER = """
import json, os, signal, sys, time
for line in sys.stdin:
    if line == "1\\n":
        os.kill(os.getpid(), signal.SIGSEGV)
    if line == "2\\n":
        time.sleep(60)
    answer = ["KeyError at a.py:1: 'a'", "KeyError at a.py:1"] if line == "3\\n" else ["ran", "ran"]
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, answer",
    [
        (0, ("ran", "ran")),
        (1, ("DEATH: exit code -11", "DEATH -11 1")),
        (2, ("HANG: over 5 s", "HANG 2")),
        (3, ("KeyError at a.py:1: 'a'", "KeyError at a.py:1")),
    ],
    ids=["a run", "a signal", "a hang", "an exception"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals end processes on other systems")
def test_what_is_wrong_is_found(number, answer):
    worker = fuzz_onnx.Worker([sys.executable, "-c", WORKER], 5.0)
    try:
        assert worker.answer(number) == answer
        assert worker.answer(0) == ("ran", "ran")
    finally:
        worker.end()
