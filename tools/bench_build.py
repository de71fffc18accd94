"""How long it takes to build programs of large networks, at two sizes: the ratio of the times says how they grow.

    python tools/bench_build.py [NAME ...] [--size N] [--batch N] [--cold]

Each network is built in a process of its own. "reading" is the session without a program, "building" the rest up to
the end of its first run (of a training step: all of it), "again" is a second run. With an empty cache of code
(``--cold``) what is compiled for the network adds to it, without it a first process has filled the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CHANNELS, PIXELS = 8, 8


class Model:
    """An ONNX network under way, on images ``x`` of 8 channels of 8x8 pixels."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.outputs: list[str] = []
        self._rng = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def weight(self, *shape: int) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        scale = 1 / np.sqrt(np.prod(shape[1:], initial=1))
        array = np.asarray(scale * np.abs(self._rng.standard_normal(shape)), np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, weight: str | None = None) -> str:
        weight = weight or self.weight(CHANNELS, CHANNELS, 3, 3)
        return self.add("Conv", x, weight, kernel_shape=(3, 3), pads=(1, 1, 1, 1))

    def norm(self, x: str) -> str:
        return self.add("BatchNormalization", x, *(self.weight(CHANNELS) for _ in range(4)))

    def content(self) -> bytes:
        from onnx import TensorProto, helper

        shape = ("N", CHANNELS, PIXELS, PIXELS)
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())


def in_a_row(step: Callable[[Model, str], str]) -> Callable[[int], Model]:
    """A network of one step after the other."""

    def build(size: int) -> Model:
        model, value = Model(), "x"
        for _ in range(size):
            value = step(model, value)
        model.outputs.append(value)
        return model

    return build


def fan(end: Callable[[Model, Sequence[str]], Sequence[str]]) -> Callable[[int], Model]:
    """A network of activations of its input."""

    def build(size: int) -> Model:
        model = Model()
        model.outputs += end(model, [model.add("Relu", "x") for _ in range(size)])
        return model

    return build


def added_up(model: Model, values: Sequence[str]) -> Sequence[str]:
    total = values[0]
    for value in values[1:]:
        total = model.add("Add", total, value)
    return [total]


def shared_convolutions(size: int) -> Model:
    model, value = Model(), "x"
    weight = model.weight(CHANNELS, CHANNELS, 3, 3)
    for _ in range(size):
        value = model.conv(value, weight)
    model.outputs.append(value)
    return model


def scalars(size: int) -> Model:
    model = Model()
    value = model.add("ReduceMax", "x", keepdims=0)
    one = model.weight()
    for _ in range(size):
        value = model.add("Add", value, one)
    model.outputs.append(value)
    return model


def branches(size: int) -> Model:
    model = Model()
    made = [model.conv("x") for _ in range(size)]
    model.outputs.append(model.add("Concat", *made, axis=1))
    return model


def norm_and_relu(model: Model, x: str) -> str:
    return model.add("Relu", model.norm(model.conv(x)))


def residual(model: Model, x: str) -> str:
    return model.add("Add", x, model.add("Relu", model.norm(model.conv(x))))


def long_skips(size: int) -> Model:
    """Every convolution's result is added up at the end, the last one first: all of them live long."""
    model, made = Model(), ["x"]
    for _ in range(size):
        made.append(model.conv(made[-1]))
    model.outputs += added_up(model, made[::-1])
    return model


def many_outputs(size: int) -> Model:
    model, value = Model(), "x"
    for _ in range(size):
        value = model.conv(value)
        model.outputs.append(value)
    return model


SESSIONS: dict[str, tuple[Callable[[int], Model], int]] = {
    "relu": (in_a_row(lambda m, x: m.add("Relu", x)), 10_000),
    "tanh": (in_a_row(lambda m, x: m.add("Tanh", x)), 200),
    "mul-by-x": (in_a_row(lambda m, x: m.add("Mul", x, "x")), 2_000),
    "fan-added": (fan(added_up), 10_000),
    "fan-concat": (fan(lambda m, values: [m.add("Concat", *values, axis=1)]), 10_000),
    "fan-outputs": (fan(lambda m, values: values), 10_000),
    "scalar-add": (scalars, 10_000),
    "conv": (in_a_row(lambda m, x: m.conv(x)), 5_000),
    "conv-shared": (shared_convolutions, 5_000),
    "conv-bn-relu": (in_a_row(norm_and_relu), 1_000),
    "residual": (in_a_row(residual), 1_000),
    "long-skips": (long_skips, 2_000),
    "branches": (branches, 2_000),
    "outputs": (many_outputs, 5_000),
}
"""The networks of sessions, and how many steps they have."""

STEPS = {"step": 333, "step-adam": 333, "step-residual": 250}
"""The networks that are trained, and how many blocks of convolution, batch norm and activation they have."""


@dataclass(frozen=True)
class Times:
    """Seconds."""

    reading: float
    building: float
    again: float

    def __str__(self) -> str:
        return f"reading {self.reading:7.2f} s, building {self.building:7.2f} s, again {1e3 * self.again:8.2f} ms"


def build_session(name: str, size: int, batch: int) -> Times:
    import normengine as ne

    content = SESSIONS[name][0](size).content()
    x = np.random.default_rng(0).standard_normal((batch, CHANNELS, PIXELS, PIXELS), np.float32)
    start = time.perf_counter()
    session = ne.InferenceSession(content)
    read = time.perf_counter()
    session.run(None, {"x": x})
    built = time.perf_counter()
    session.run(None, {"x": x})
    return Times(read - start, built - read, time.perf_counter() - built)


def build_step(name: str, size: int, batch: int) -> Times:
    import normengine as ne
    from normengine import nn, optim

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(CHANNELS)
            self.act = nn.LeakyReLU(0.8)  # hundreds of ReLUs in a row have gradients that are not finite

        def forward(self, x):  # type: ignore[no-untyped-def]
            y = self.act(self.norm(self.conv(x)))
            return x + y if name == "step-residual" else y

    model = nn.Sequential(
        *[Block() for _ in range(size)], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10)
    )
    parameters = model.parameters()
    optimizer = optim.Adam(parameters) if name == "step-adam" else optim.SGD(parameters, lr=1e-3, momentum=0.9)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, CHANNELS, PIXELS, PIXELS), np.float32), rng.integers(0, 10, batch)
    start = time.perf_counter()
    step(x, y)
    built = time.perf_counter()
    step(x, y)
    return Times(0.0, built - start, time.perf_counter() - built)


def timed(name: str, size: int, batch: int, cache: str) -> Times | None:
    """The times of a process that builds the network; None where it failed."""
    command = [sys.executable, __file__, "--one", name, "--size", str(size), "--batch", str(batch)]
    done = subprocess.run(command, env={**os.environ, "NORMENGINE_CACHE": cache}, stdout=subprocess.PIPE, text=True)
    return Times(*map(float, done.stdout.split())) if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*SESSIONS, *STEPS))} (default: all)")
    parser.add_argument("--size", type=int, help="steps of the larger network (default: one for each network)")
    parser.add_argument("--batch", type=int, default=16, help="images (default: 16, which go depth first)")
    parser.add_argument("--cold", action="store_true", help="with an empty cache of code")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = {**{name: size for name, (_, size) in SESSIONS.items()}, **STEPS}
    unknown = [name for name in options.names if name not in sizes]
    if unknown:
        parser.error(f"there is no network {unknown[0]}, choose from {', '.join(sizes)}")
    if options.one:
        (name,) = options.names
        times = (build_session if name in SESSIONS else build_step)(name, options.size, options.batch)
        print(times.reading, times.building, times.again)
        return 0
    failed = False
    for name in options.names or sizes:
        size = options.size or sizes[name]
        measured = []
        with tempfile.TemporaryDirectory() as folder:
            for turn, number in enumerate((size // 2, size)):
                cache = os.path.join(folder, str(turn if options.cold else 0))
                if not options.cold:
                    timed(name, number, options.batch, cache)
                measured.append(timed(name, number, options.batch, cache))
                print(f"{name:14s} {number:6d}: {measured[-1] or 'failed'}", flush=True)
        half, whole = measured
        if half is None or whole is None:
            failed = True
        else:
            ratio = (whole.reading + whole.building) / (half.reading + half.building)
            print(f"{name:14s} twice the size takes {ratio:.2f} times as long", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
