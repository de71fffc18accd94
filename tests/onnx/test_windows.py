"""Windows of any numbers in a file: refused at once, or computed as the references compute them, by both backends.

Each runs in a process of its own that is ended if it takes too long: what is tested here once walked a kernel tap by
tap, without an end.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from normengine.kernels.compiled import BUILT

SCRIPT = """
import numpy as np
from onnx import TensorProto, helper

import normengine as ne
from normengine.ops import OPS

rng = np.random.default_rng(0)


def run(op, x, *weights, **attributes):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel()) for w in weights]
    node = helper.make_node(op, ["x", "w"][: 1 + len(weights)], ["y"], name="n", **attributes)
    graph = helper.make_graph([node], "g", [value], [result], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return ne.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def draw(*shape):
    return rng.standard_normal(shape).astype(np.float32)


x, w = draw(1, 2, 8, 8), draw(3, 2, 3, 3)
FAR = 2**62 + 10**4
for op, weights, attributes in [
    ("MaxPool", [], dict(kernel_shape=[2, 2], dilations=[FAR, FAR], pads=[2**40] * 4)),
    ("MaxPool", [], dict(kernel_shape=[2, 1], dilations=[FAR, 1], pads=[FAR, 0, FAR, 0])),
    ("Conv", [w], dict(dilations=[FAR, 1], pads=[FAR, 1, FAR, 1])),
    *((op, [], dict(kernel_shape=[2, 2], strides=[2**63 - 1] * 2)) for op in ("MaxPool", "AveragePool")),
    ("Conv", [w], dict(strides=[2**63 - 1] * 2)),
    ("AveragePool", [], dict(kernel_shape=[2**33] * 2, count_include_pad=1, pads=[2**32] * 4)),
    ("MaxPool", [], dict(kernel_shape=[2**62] * 2, auto_pad="SAME_UPPER")),
    ("AveragePool", [], dict(kernel_shape=[2**62] * 2, auto_pad="SAME_LOWER")),
    ("MaxPool", [], dict(kernel_shape=[2**62] * 2)),
]:
    try:
        run(op, x, *weights, **attributes)
    except ne.onnx.OnnxError as error:
        assert f"{op} 'n': kernel, stride, dilation, padding and reach" in str(error), error
    else:
        raise AssertionError(f"{op} {attributes} was computed")


def check(op, ours, x, weights, attributes, attrs):
    got, (want,) = run(op, x, *weights, **attributes), OPS[ours].reference([x, *weights], attrs)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=f"{op} {x.shape} {attributes}")


K, D = 2**24, 2**23
pads = (K // 2 - 1, K // 2 - 1, K // 2, K // 2)
whole = {"kernel_size": (K, K), "stride": (1, 1), "padding": pads, "dilation": (1, 1), "ceil_mode": False}
same = {"kernel_shape": [K, K], "auto_pad": "SAME_UPPER"}
for size in (1, 2, 5, 8):
    x = draw(2, 2, size, size)
    check("MaxPool", "max_pool2d", x, [], same, whole)
    for counted in (0, 1):
        attributes = {**same, "count_include_pad": counted}
        check("AveragePool", "avg_pool2d", x, [], attributes, {**whole, "count_include_pad": bool(counted)})
    for groups in (1, 2):
        weight = draw(2, 2 // groups, 3, 3)
        for stride in (1, 3, K):
            attributes = {"dilations": [D, D], "pads": [D] * 4, "strides": [stride] * 2, "group": groups}
            attrs = {"dilation": (D, D), "padding": (D,) * 4, "stride": (stride,) * 2, "groups": groups}
            check("Conv", "conv2d", x, [weight], attributes, attrs)
print("all is well")
"""


@pytest.mark.parametrize("backend", ["numba", *(["compiled"] if BUILT else [])])
def test_windows_of_any_numbers(backend: str) -> None:
    environment = {**os.environ, "NORMENGINE_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0 and "all is well" in done.stdout, done.stderr[-2000:]
