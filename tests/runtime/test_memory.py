"""What a program would own is counted first: one sentence says what takes how much, and nothing has been taken."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import normengine as ne
from normengine import nn
from normengine.graph import Graph, Spec
from normengine.ops import Builder
from normengine.runtime import memory
from normengine.runtime.program import compile_graph


def convolutions() -> Graph:
    """Two convolutions, of which the second makes the larger array."""
    builder = Builder()
    window = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    value = builder.input("x", Spec((2, 3, 40, 40)))
    for number, channels in enumerate((32, 64)):
        weight = builder.constant(np.ones((channels, value.shape[1], 3, 3), np.float32))
        with builder.at(f"features.{number}", "Conv2d"):
            value = builder.add("conv2d", value, weight, **window)
    return builder.graph([builder.add("reduce_sum", value, axes=(2, 3), keepdims=False)])


def test_more_than_the_machine_has_is_refused_before_anything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compile_graph(convolutions())
    assert program.nbytes > 500_000
    monkeypatch.setattr(memory, "MEMORY", 500_000)
    monkeypatch.setattr(memory, "aligned_bytes", None)
    with pytest.raises(
        ValueError,
        match=r"program: takes \d+ bytes, more than this machine's 500000 \(the arena \d+, .*outputs \d+\); most of "
        r"it, \d+ bytes, is an array of conv2d of 'features.1', .*; run smaller batches",
    ):
        compile_graph(convolutions())


def test_what_the_threads_need_counts_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMORY", 64 << 20)
    compile_graph(convolutions())
    with pytest.raises(ValueError, match=r"workspaces of 1024 threads \d+.* is the threads' workspace of"):
        compile_graph(convolutions(), threads=1024)


def test_a_session_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    path = tmp_path / "network.onnx"
    ne.onnx.export(nn.Conv2d(3, 8, 3), path, input_shape=(3, 16, 16))
    session = ne.InferenceSession(path)
    monkeypatch.setattr(memory, "MEMORY", 1000)
    with pytest.raises(ne.onnx.OnnxError, match=r"network\.onnx: program: takes \d+ bytes, more than this machine's"):
        session(np.zeros((2, 3, 16, 16), np.float32))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of an address space is Linux's")
def test_what_the_system_does_not_give_is_the_same_error() -> None:
    script = (
        "import resource, numpy as np\n"
        "from normengine.runtime.memory import aligned_bytes\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "try:\n    aligned_bytes(5 << 30)\nexcept ValueError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "program: the system gives no 5368709120 bytes of memory; run smaller batches" in done.stdout


def test_no_call_takes_more_than_small_images_need(tmp_path) -> None:
    """Dilation and padding that spread a band of the image over gigabytes."""
    from normengine import optim

    x = np.random.default_rng(0).standard_normal((4, 20, 6, 6)).astype(np.float32)
    for groups in (1, 20):
        far = 2**20
        network = nn.Sequential(
            nn.Conv2d(20, 20, 3, padding=far, dilation=far, groups=groups),
            nn.Conv2d(20, 20, 2, stride=far, padding=1),
            nn.Flatten(),
        )
        middle = network[0].weight.data[:, :, 1:2, 1:2].copy()
        step = ne.TrainStep(network, nn.CrossEntropyLoss(), optim.SGD(network.parameters(), lr=0.1))
        wanted = nn.Conv2d(20, 20, 1, groups=groups)
        wanted.load_state_dict({"weight": middle, "bias": network[0].bias.data})
        np.testing.assert_allclose(network[0](x), wanted(x), rtol=1e-5, atol=1e-5)
        assert np.isfinite(step(x, np.arange(4)))
