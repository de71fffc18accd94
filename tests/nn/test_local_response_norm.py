"""Local response normalization: PyTorch's window of channels, in layers, steps and files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.onnx.reference import evaluate_file

SHAPES = [(2, 7, 4), (2, 7, 5, 3), (1, 1, 2, 2), (2, 6, 2, 3, 2)]


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def exact(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """Channel by channel, in float64."""
    x = x.astype(np.float64)
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        window = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (window**2).sum(1)) ** beta
    return y


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 21, 1000])
def test_the_window_is_pytorchs(shape, size):
    x = draw(*shape)
    np.testing.assert_allclose(F.local_response_norm(x, size, alpha=0.5), exact(x, size, 0.5), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("settings", [{"alpha": 2.0, "beta": 0.5, "k": 2.0}, {"alpha": 1.0, "beta": 1.0}, {}])
def test_the_layer(settings):
    layer, x = nn.LocalResponseNorm(4, **settings), draw(3, 9, 4, 4)
    np.testing.assert_allclose(layer(x), exact(x, 4, **settings), rtol=2e-6, atol=1e-6)
    assert not layer.state_dict()
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"


def test_a_number_that_is_not_finite_stays_in_the_windows_that_have_it():
    x = draw(1, 9, 2, 2)
    x[0, 3, 1, 0] = np.nan
    y = F.local_response_norm(x, 3, alpha=1.0)
    assert np.array_equal(np.isnan(y[0, :, 1, 0]), [False, False, True, True, True, *[False] * 4])
    assert np.isnan(y).sum() == 3


@pytest.mark.parametrize("size", [3, 4])
def test_gradients(size):
    """Of a weight before the layer, against central differences in float64."""
    ne.manual_seed(0)
    x, y = draw(2, 3, 2, 2), draw(2, 6, 2, 2)
    conv = nn.Conv2d(3, 6, 1, bias=False)
    before = conv.weight.numpy().astype(np.float64)

    def loss(weight):
        channels = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x.astype(np.float64))
        return np.mean((exact(channels, size, 3.0) - y) ** 2)

    wanted = np.zeros(before.shape)
    for at in np.ndindex(before.shape):
        step = np.zeros(before.shape)
        step[at] = 1e-6
        wanted[at] = (loss(before + step) - loss(before - step)) / 2e-6
    model = nn.Sequential(conv, nn.LocalResponseNorm(size, alpha=3.0))
    found = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))(x, y)
    assert abs(found - loss(before)) < 1e-6
    np.testing.assert_allclose(before - conv.weight.numpy(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 4), (7, 5, 3), (6, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("size", [3, 4])
def test_files(shape, size, tmp_path):
    path = tmp_path / "m.onnx"
    ne.onnx.export(nn.LocalResponseNorm(size, alpha=0.5, beta=0.6, k=1.5), path, shape)
    nodes = [n.op_type for n in onnx.load(path).graph.node]
    assert nodes == ["LRN"] if size == 3 else "LRN" not in nodes and "AveragePool" in nodes
    x = draw(shape[0], *shape)  # ONNX's evaluator of LRN takes images alone, and their number for that of channels
    wanted = exact(x, size, 0.5, 0.6, 1.5)
    np.testing.assert_allclose(ne.InferenceSession(path)(x), wanted, rtol=2e-6, atol=1e-6)
    if size == 4 or len(shape) == 3:
        (found,) = evaluate_file(path.read_bytes(), {"x": x})
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_fewer_dimensions_are_refused(shape):
    with pytest.raises(ValueError, match=r"takes \(N, C, ...\) of 3 dimensions or more, got shape \("):
        F.local_response_norm(np.ones(shape, np.float32), 3)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"size": 0}, "size must be a positive integer, got 0"),
        ({"size": 2.5}, "size must be a positive integer, got 2.5"),
        ({"size": 3, "alpha": np.inf}, "alpha must be a finite number, got inf"),
        ({"size": 3, "beta": np.nan}, "beta must be a finite number, got nan"),
        ({"size": 3, "k": 1e39}, "k must be a finite number, got 1e"),
    ],
)
def test_settings_that_make_no_sense(settings, text):
    with pytest.raises(ValueError, match=f"LocalResponseNorm: {text}"):
        nn.LocalResponseNorm(**settings)
    with pytest.raises(ValueError, match=f"local_response_norm: {text}"):
        F.local_response_norm(draw(2, 3, 4), **settings)
