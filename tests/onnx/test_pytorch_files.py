"""Files of PyTorch's two exporters, made by ``tools/make_onnx_fixtures.py``: its outputs, and how little is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import normengine as ne
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model
from normengine.passes.fold_batchnorm import fold_batchnorm

FOLDER = Path(__file__).parent.parent / "fixtures" / "onnx"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as stored:
        return {key: stored[key] for key in stored.files}


def test_every_fixture_has_an_answer(expected):
    assert {key.split("/")[0] for key in expected} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_session_gives_what_pytorch_gives(name, expected):
    session = ne.InferenceSession(FOLDER / f"{name}.onnx")
    x = expected[f"{name}/x"]
    found = session.run(None, {"x": x})
    wanted = [expected[f"{name}/{i}"] for i in range(len(found))]
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())
    (one,) = session.run([session.get_outputs()[0].name], {"x": x[:1]})
    assert np.abs(one - wanted[0][:1]).max() <= 1e-5 * max(1.0, np.abs(wanted[0]).max())


@pytest.mark.parametrize(
    "name, operators",
    [
        ("activations_13", ["conv2d", "leaky_relu", "relu6", "conv2d", "silu", "conv2d"]),
        ("activations_20", ["conv2d", "leaky_relu", "relu6", "conv2d", "silu", "conv2d", "gelu", "conv2d"]),
        ("flatten_11", ["conv2d", "relu", "reshape", "linear", "linear"]),
        ("groups_kept_17", ["conv2d", "conv2d", "relu"]),
        ("pools_18", ["max_pool2d", "avg_pool2d", "reduce_mean"]),
        ("preactivation_17", ["conv2d", "relu", "batch_norm", "conv2d"]),
        ("shuffled_13", ["reshape", "permute", "reshape"]),
        ("view_17", ["conv2d", "max_pool2d", "reshape", "linear"]),
        ("view_kept_11", ["conv2d", "max_pool2d", "reshape", "linear"]),
        ("with_zeros_17", ["expand", "expand", "concat"]),
    ],
)
def test_what_remains_of_a_file(name, operators):
    model = read_model(FOLDER / f"{name}.onnx")
    (port,) = model.inputs
    graph, _ = fold_batchnorm(import_graph(model, {"x": (2, *port.shape[1:])}))
    assert [node.op for node in graph.nodes][: len(operators)] == operators
    assert "kept" not in name or len(graph.nodes) == len(operators)
