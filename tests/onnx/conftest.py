"""Small ONNX models made by hand, and three ways to compute them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper, numpy_helper

from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model
from normengine.onnx.reference import evaluate_file
from normengine.ops import evaluate


def make_model(nodes, inputs, outputs, weights=None, opset=17) -> bytes:
    """``inputs`` by name are shapes (float32) or (shape, dtype); ``outputs`` are names, float32, or
    dtypes by name; ``weights`` arrays by name."""

    def port(name, shape, dtype="float32"):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    ports = [port(name, *(given if isinstance(given[0], tuple) else (given,))) for name, given in inputs.items()]
    graph = helper.make_graph(
        nodes,
        "test",
        ports,
        [port(name, None, outputs[name] if isinstance(outputs, dict) else "float32") for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model.SerializeToString()


def compute(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the imported graph gives, by the operators' float64 references."""
    graph = import_graph(read_model(content), {name: a.shape for name, a in feeds.items()})
    values = evaluate(graph, {value: feeds[value.name] for value in graph.inputs})
    return [values[v] for v in graph.outputs]


@pytest.fixture(scope="session")
def model() -> Callable[..., bytes]:
    return make_model


@pytest.fixture(scope="session")
def imported() -> Callable[..., list[np.ndarray]]:
    return compute


@pytest.fixture(scope="session")
def reference() -> Callable[..., list[np.ndarray]]:
    """ONNX's own evaluator."""
    return evaluate_file
