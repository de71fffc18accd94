"""Large graphs become programs in a time that grows with their nodes: those that would take minutes otherwise are built
in a process that is given one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from normengine.graph import Graph, Spec
from normengine.ops import Builder, evaluate
from normengine.passes import prepare
from normengine.plan import make_plan
from normengine.runtime import compile_graph

BUILT = """
import numpy as np
from normengine.graph import Spec
from normengine.ops import Builder, evaluate
from normengine.runtime import compile_graph

def lines(op, count):
    b = Builder()
    x = y = b.input("x", Spec((1, 8, 4, 4)))
    for _ in range(count):
        y = b.add(op, *((y, x) if op == "mul" else (y,)))
    return b.graph([y])

def fan(count):
    b = Builder()
    x = b.input("x", Spec((1, 8, 4, 4)))
    made = [b.add("relu", x) for _ in range(count)]
    total = made[0]
    for value in made[1:]:
        total = b.add("add", total, value)
    return b.graph([total, b.add("concat", *made, axis=1), *made])

x = np.random.default_rng(0).uniform(-1, 1, (1, 8, 4, 4)).astype(np.float32)
for graph in (lines("relu", 2000), lines("tanh", 200), lines("mul", 500), fan(2000)):
    want = evaluate(graph, {graph.inputs[0]: x})
    results = compile_graph(graph).run({"x": x})
    for value, got in zip(graph.outputs, results, strict=True):
        np.testing.assert_allclose(got, want[value], rtol=2e-4, atol=1e-6)
print("built")
"""


def test_long_lines_and_wide_fans_are_built_soon() -> None:
    done = subprocess.run([sys.executable, "-c", BUILT], capture_output=True, text=True, timeout=120)
    assert done.stdout == "built\n", done.stderr


def convolutions(count: int) -> Graph:
    b = Builder()
    y = b.input("x", Spec((1, 8, 4, 4)))
    weight = b.constant(np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32) / 8)
    settings = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    outputs = []
    for i in range(count):
        y = b.add("conv2d", y, weight, **settings)
        outputs += [y] if i % 4 == 3 else []
    return b.graph(outputs)


def test_hundreds_of_convolutions_and_outputs() -> None:
    graph = convolutions(400)
    x = np.random.default_rng(1).standard_normal((1, 8, 4, 4)).astype(np.float32)
    want = evaluate(graph, {graph.inputs[0]: x})
    for value, got in zip(graph.outputs, compile_graph(graph).run({"x": x}), strict=True):
        np.testing.assert_allclose(got, want[value], atol=1e-5 * max(1.0, float(np.abs(want[value]).max())))


def test_what_is_cut_from_one_line_shares_its_code() -> None:
    b = Builder()
    y = b.input("x", Spec((1, 8, 4, 4)))
    for _ in range(2000):
        y = b.add("relu", y)
    calls = make_plan(prepare(b.graph([y]))).calls
    assert len(calls) > 20
    assert len({stage() for call in calls for stage, _ in call.stages}) <= 2
