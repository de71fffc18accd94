"""Activations with settings, padding and shuffles: trained by steps, and exported as ONNX has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.onnx.reference import evaluate_file

LAYERS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "prelu": (lambda: nn.PReLU(4), ["PRelu"]),
    "elu": (lambda: nn.ELU(0.7), ["Elu"]),
    "selu": (nn.SELU, ["Selu"]),
    "celu": (lambda: nn.CELU(0.6), ["Celu"]),
    "softplus": (lambda: nn.Softplus(2.0), ["Mul", "Softplus", "Div"]),
    "softsign": (nn.Softsign, ["Softsign"]),
    "hardtanh": (lambda: nn.Hardtanh(-0.5, 0.8), ["Clip"]),
    "hardshrink": (nn.Hardshrink, ["Shrink"]),
    "softshrink": (nn.Softshrink, ["Shrink"]),
    "tanhshrink": (nn.Tanhshrink, ["Tanh", "Sub"]),
    "log_sigmoid": (nn.LogSigmoid, ["Neg", "Softplus", "Neg"]),
    "threshold": (lambda: nn.Threshold(0.1, -1.0), ["Greater", "Where"]),
    "threshold_of_0": (lambda: nn.Threshold(0.1, 0.0), ["ThresholdedRelu"]),
    "glu": (lambda: nn.GLU(1), ["Slice", "Slice", "Sigmoid", "Mul"]),
    "softmin": (lambda: nn.Softmin(1), ["Neg", "Softmax"]),
    "softmax2d": (nn.Softmax2d, ["Softmax"]),
    "reflection": (lambda: nn.ReflectionPad2d((1, 2, 0, 3)), ["Pad"]),
    "replication": (lambda: nn.ReplicationPad2d(2), ["Pad"]),
    "circular": (lambda: nn.CircularPad2d(2), ["Slice", "Slice", "Concat", "Slice", "Slice", "Concat", "Identity"]),
    "constant": (lambda: nn.ConstantPad2d((1, 0, 2, 1), 0.5), ["Pad"]),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), ["Reshape", "DepthToSpace", "Reshape"]),
    "channel_shuffle": (lambda: nn.ChannelShuffle(2), ["Reshape", "Transpose", "Reshape"]),
}
X = (1.5 * np.random.default_rng(0).standard_normal((3, 4, 5, 6))).astype(np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_files(name: str, tmp_path: Path) -> None:
    build, kinds = LAYERS[name]
    layer, path = build(), tmp_path / "m.onnx"
    ne.onnx.export(layer, path, X.shape[1:])
    found = [n.op_type for n in onnx.load(path).graph.node]
    assert [kind for kind in found if kind != "Reshape" or "Reshape" in kinds] == [
        kind for kind in kinds if kind != "Reshape" or "Reshape" in found
    ]
    wanted = layer.eval()(X)
    np.testing.assert_allclose(ne.InferenceSession(path)(X), wanted, atol=1e-6)
    if name != "softsign":
        np.testing.assert_allclose(evaluate_file(path.read_bytes(), {"x": X})[0], wanted, atol=3e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name: str) -> None:
    """Of a bias before the layer, against central differences of its own outputs."""
    rng = np.random.default_rng(1)
    start = rng.standard_normal(4).astype(np.float32) / 4

    def model_of(bias: np.ndarray) -> nn.Sequential:
        conv = nn.Conv2d(4, 4, 1, groups=4)
        conv.weight[...], conv.bias[...] = 1, bias
        return nn.Sequential(conv, LAYERS[name][0]())

    y = rng.standard_normal(model_of(start)(X).shape).astype(np.float32)

    def loss(bias: np.ndarray) -> float:
        return float(np.mean((model_of(bias)(X).astype(np.float64) - y) ** 2))

    wanted = [(loss(start + 5e-3 * e) - loss(start - 5e-3 * e)) / 1e-2 for e in np.eye(4, dtype=np.float32)]
    model = model_of(start)
    found = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))(X, y)
    assert found == pytest.approx(loss(start), rel=1e-5)
    kinked = {"hardshrink": 0.4, "threshold": 0.4, "threshold_of_0": 0.1}  # they jump between the differences
    np.testing.assert_allclose(start - model[0].bias.numpy(), wanted, rtol=0.02, atol=kinked.get(name, 2e-3))


def test_the_slope_is_learned() -> None:
    """d loss / d weight = sum of dy x where x < 0."""
    model = nn.Sequential(nn.PReLU(4, init=0.1))
    y = np.zeros(X.shape, np.float32)
    below = np.minimum(X.astype(np.float64), 0)
    step = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))
    step(X, y)
    wanted = 0.1 - (2 / X.size) * (0.1 * below**2).sum((0, 2, 3))
    np.testing.assert_allclose(model[0].weight.numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "function", [F.elu, F.selu, F.celu, F.hardtanh, lambda x, inplace: F.threshold(x, 0, 0, inplace)]
)
def test_in_place_changes_the_tensor_for_all_who_hold_it(function: Callable[..., np.ndarray]) -> None:
    class Twice(nn.Module):
        def forward(self, x: np.ndarray) -> np.ndarray:
            function(x, inplace=True)
            return x

    assert np.array_equal(Twice()(X), function(X, inplace=False))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.PReLU(0), "PReLU: num_parameters must be"),
        (lambda: nn.PReLU(init=np.nan), "PReLU: init must be a finite number"),
        (lambda: nn.ELU(np.inf), "ELU: alpha must be a finite number"),
        (lambda: nn.CELU(0.0), "CELU: alpha must not be 0"),
        (lambda: nn.Softplus(0.0), "Softplus: beta must not be 0"),
        (lambda: nn.Hardtanh(1.0, 1.0), "Hardtanh: min_val must be below max_val, got 1.0 and 1.0"),
        (lambda: nn.Softshrink(-1.0), "Softshrink: lambd must be a finite number of 0 or more"),
        (lambda: nn.ReflectionPad2d((1, 2, 3)), "ReflectionPad2d: padding must be an int or 4 ints"),
        (lambda: nn.ZeroPad1d((1, 2, 3, 4)), "ZeroPad1d: padding must be an int or 2 ints"),
        (lambda: nn.PixelShuffle(0), "PixelShuffle: upscale_factor must be"),
        (lambda: nn.ChannelShuffle(1.5), "ChannelShuffle: groups must be"),
        (lambda: nn.Softmax2d()(X[0, 0]), r"Softmax2d takes \(N, C, H, W\) or \(C, H, W\), got shape \(5, 6\)"),
    ],
)
def test_settings_that_make_no_sense(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["reflection", "replication", "circular", "constant", "pixel_shuffle", "prelu"])
@pytest.mark.parametrize("opset", [11, 20])
def test_files_for_images_of_any_size(name: str, opset: int, tmp_path: Path) -> None:
    layer, path = nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), LAYERS[name][0]()), tmp_path / "m.onnx"
    ne.onnx.export(layer, path, (4, 8, 8), dynamic_size=True, opset=opset)
    np.testing.assert_allclose(ne.InferenceSession(path)(X), layer.eval()(X), atol=1e-6)
