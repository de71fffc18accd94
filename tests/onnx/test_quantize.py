"""Quantized operators against their closed forms in NumPy: to the nearest, of two the even one, within the range."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import draw, node, typed_model

import normengine as ne
from normengine.onnx import OnnxError

TYPES = ("uint8", "int8", "uint16", "int16")
RNG = np.random.default_rng(0)


def quantized(x, scale, zero, dtype):
    limits = np.iinfo(dtype)
    steps = np.rint(x.astype(np.float32) / np.float32(scale)).astype(np.float64)
    return np.clip(steps + np.asarray(zero, np.float64), limits.min, limits.max).astype(dtype)


def run(nodes, inputs, outputs, weights, opset=21):
    """Nodes on arrays that are given at each run, and on weights."""
    ports = {name: (a.dtype, a.shape) for name, a in inputs.items()}
    return ne.InferenceSession(typed_model(nodes, ports, outputs, weights, opset)).run(None, inputs)


@pytest.mark.parametrize("dtype", TYPES)
def test_halves_go_to_the_even_neighbour(dtype):
    x = np.arange(-40, 41, dtype=np.float32) / 4
    near = np.nextafter(x, np.array([[-np.inf], [np.inf]], np.float32)).astype(np.float32)
    x = np.concatenate([x[None], near])
    zero = np.array(100, dtype)
    (y,) = run(
        [node("QuantizeLinear", ["x", "s", "z"], ["y"])], {"x": x}, {"y": dtype}, {"s": np.float32(0.5), "z": zero}
    )
    assert y.dtype == dtype
    assert np.array_equal(y, quantized(x, 0.5, zero, dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_beyond_the_range_is_its_end(dtype):
    x = np.array([-np.inf, -1e30, -70000, -129, 0, 254.5, 255.5, 70000, 1e30, np.inf], np.float32)
    for zero in (0, 3):
        z = np.array(zero, dtype)
        weights = {"s": np.float32(1), "z": z}
        (y,) = run([node("QuantizeLinear", ["x", "s", "z"], ["y"])], {"x": x}, {"y": dtype}, weights)
        assert np.array_equal(y, quantized(x, 1, zero, dtype))


@pytest.mark.parametrize("opset, axis", [(13, 1), (19, -2), (19, 3)])
@pytest.mark.parametrize("known", [True, False], ids=["weights", "inputs"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_scale_for_each_place_along_an_axis(opset, axis, known, dtype):
    x = draw(2, 3, 5, 4) * 9
    count = x.shape[axis]
    scale = RNG.uniform(0.05, 0.2, count).astype(np.float32)
    zero = RNG.integers(0, 20, count).astype(dtype)
    shape = [1] * 4
    shape[axis] = count
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
    ]
    given = {"s": scale, "z": zero}
    inputs = {"x": x} if known else {"x": x, **given}
    q, y = run(nodes, inputs, {"q": dtype, "y": np.float32}, given if known else {}, opset)
    s, z = scale.reshape(shape), zero.reshape(shape)
    assert np.array_equal(q, quantized(x, s, z, dtype))
    assert np.allclose(y, (q.astype(np.float64) - z) * s, rtol=1e-6)


def test_known_arrays_are_quantized_alike():
    w = draw(4, 6) * 3
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    weights = {"w": w, "s": np.float32(0.1), "z": np.int8(-3)}
    x = np.eye(4, dtype=np.float32)
    (y,) = run(nodes, {"x": x}, {"y": np.float32}, weights)
    assert np.allclose(y, (quantized(w, 0.1, -3, "int8").astype(np.float64) + 3) * 0.1, rtol=1e-6)


def test_a_scale_in_range_of_what_comes():
    for x in (draw(3, 7) * 4, np.abs(draw(5)) + 1, -np.abs(draw(5)) - 1):
        outputs = {"y": np.uint8, "s": np.float32, "z": np.uint8}
        y, s, z = run([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": x}, outputs, {})
        low, high = min(0, x.min()), max(0, x.max())
        scale = (high - low) / np.float32(255)
        assert s == scale
        assert z == np.rint(np.clip(-low / scale, 0, 255))
        assert np.array_equal(y, quantized(x, scale, z, "uint8"))


def convolved(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), w.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w.astype(np.int64))


def test_a_convolution_of_integers():
    x, w = RNG.integers(0, 256, (2, 3, 6, 5)).astype(np.uint8), RNG.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8)
    zero, rows = np.uint8(120), RNG.integers(-9, 9, 4).astype(np.int8)
    nodes = [node("ConvInteger", ["x", "w", "zx", "zw"], ["y"])]
    (y,) = run(nodes, {"x": x}, {"y": np.int32}, {"w": w, "zx": zero, "zw": rows})
    assert y.dtype == np.int32
    assert np.array_equal(y, convolved(x.astype(int) - 120, w.astype(int) - rows[:, None, None, None]))


def test_a_product_of_integers():
    a, b = RNG.integers(0, 256, (5, 9)).astype(np.uint8), RNG.integers(-128, 128, (9, 4)).astype(np.int8)
    (y,) = run([node("MatMulInteger", ["a", "b", "za"], ["y"])], {"a": a}, {"y": np.int32}, {"b": b, "za": np.uint8(7)})
    assert np.array_equal(y, (a.astype(int) - 7) @ b.astype(int))


@pytest.mark.parametrize("bias", [True, False])
def test_a_quantized_convolution(bias):
    x, w = RNG.integers(0, 256, (2, 3, 6, 5)).astype(np.uint8), RNG.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8)
    b, scales = RNG.integers(-9000, 9000, 4).astype(np.int32), RNG.uniform(0.01, 0.03, 4).astype(np.float32)
    weights = {
        "xs": np.float32(0.02), "xz": np.uint8(128), "w": w, "ws": scales, "wz": np.zeros(4, np.int8),
        "ys": np.float32(0.3), "yz": np.uint8(130), "b": b}  # fmt: skip
    nodes = [node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", *(["b"] if bias else [])], ["y"])]
    (y,) = run(nodes, {"x": x}, {"y": np.uint8}, weights)
    sums = convolved(x.astype(int) - 128, w) + (b[:, None, None] if bias else 0)
    real = (
        sums * (np.float64(np.float32(0.02)) * scales.astype(np.float64))[:, None, None] / np.float64(np.float32(0.3))
    )
    want = np.clip(np.rint(real) + 130, 0, 255)
    tie = np.abs(np.abs(real - np.floor(real)) - 0.5) < 1e-3  # where the rounding of a sum decides
    assert np.array_equal(y[~tie], want[~tie])
    assert tie.mean() < 0.02
    assert len(np.unique(y)) > 50


def test_a_quantized_product_with_a_scale_for_each_column():
    a, b = RNG.integers(0, 256, (5, 9)).astype(np.uint8), RNG.integers(0, 256, (9, 4)).astype(np.uint8)
    scales = np.array([0.25, 0.5, 0.125, 1], np.float32)
    weights = {
        "as": np.float32(0.5), "az": np.uint8(3), "b": b, "bs": scales, "bz": np.full(4, 100, np.uint8),
        "ys": np.float32(512), "yz": np.uint8(40)}  # fmt: skip
    nodes = [node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"])]
    (y,) = run(nodes, {"a": a}, {"y": np.uint8}, weights)
    real = ((a.astype(int) - 3) @ (b.astype(int) - 100)) * (0.5 * scales.astype(np.float64)) / 512
    assert np.array_equal(y, np.clip(np.rint(real) + 40, 0, 255))


@pytest.mark.parametrize(
    "weights, attributes, text",
    [
        (
            {"s": np.float32([1, 2])},
            {},
            r"'q': the scale must be one number or 3, one for each place on axis 1, got shape",
        ),
        ({"s": np.float32([1, 2, 3])}, {"axis": 4}, "'q': axis 4 is not one of the 2 axes"),
        ({"s": np.float32([[1], [2]])}, {"block_size": 3}, "'q': scales of blocks are not supported, only one for all"),
    ],
)
def test_what_is_refused(weights, attributes, text):
    nodes = [node("QuantizeLinear", ["x", *weights], ["y"], "q", **attributes)]
    with pytest.raises(OnnxError, match=f"QuantizeLinear {text}"):
        run(nodes, {"x": draw(2, 3)}, {"y": np.uint8}, weights, 21)
