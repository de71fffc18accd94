"""Weight standardization, plain and scaled: the closed form, its gradients, files, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from one_window import assert_trains_as, layer
from onnx import numpy_helper

import normengine as ne
from normengine import nn, optim
from normengine.nn.utils.parametrizations import weight_norm, weight_standardization

ORIGINAL, GAIN = "parametrizations.weight.original", "parametrizations.weight.0.gain"


def moments(weight):
    """The weight without its mean, and its biased variance, for each output channel."""
    axes = tuple(range(1, weight.ndim))
    return weight - weight.mean(axes, keepdims=True), weight.var(axes, keepdims=True)


def plain(state, eps=1e-6):
    centered, var = moments(state[ORIGINAL])
    return centered / np.sqrt(var + eps)


def scaled(state, eps=1e-4, gamma=1.0):
    centered, var = moments(state[ORIGINAL])
    spread = np.maximum(var * centered[0].size, eps)
    return gamma * state.get(GAIN, 1.0) * centered / np.sqrt(spread)


def test_plain():
    conv = weight_standardization(layer())
    assert list(conv.state_dict()) == ["bias", ORIGINAL]
    rows = conv.weight.reshape(5, -1).astype(np.float64)
    assert np.allclose(rows.mean(1), 0, atol=1e-6) and np.allclose(rows.var(1), 1, atol=1e-3)
    assert_trains_as(conv, plain)


def test_scaled():
    conv = weight_standardization(layer(), scaled=True, gamma=1.7129)
    assert list(conv.state_dict()) == ["bias", ORIGINAL, GAIN]
    assert np.array_equal(conv.state_dict()[GAIN], np.ones((5, 1, 1, 1)))
    rows = conv.weight.reshape(5, -1).astype(np.float64)
    assert np.allclose(rows.var(1) * 18, 1.7129**2, rtol=1e-5)
    gains = np.linspace(0.5, 2, 5, dtype=np.float32).reshape(5, 1, 1, 1)
    conv.load_state_dict({**conv.state_dict(), GAIN: gains})
    assert_trains_as(conv, lambda state: scaled(state, gamma=1.7129))


def test_a_small_variance_is_kept_from_growing():
    conv = layer()
    conv.weight.data[...] *= 1e-3
    conv.weight.data[1] = 0.25
    weight_standardization(conv, scaled=True, gain=False)
    assert list(conv.state_dict()) == ["bias", ORIGINAL]
    weight = conv.weight.astype(np.float64)
    centered = moments(conv.state_dict()[ORIGINAL].astype(np.float64))[0]
    np.testing.assert_allclose(weight, centered / np.sqrt(1e-4), rtol=1e-4, atol=1e-7)
    assert not weight[1].any()
    other = layer()
    other.weight.data[...] = 0.25
    assert not weight_standardization(other).weight.any()


@pytest.mark.parametrize("options, closed", [({"eps": 0.3}, plain), ({"eps": 3.0, "scaled": True}, scaled)])
def test_eps(options, closed):
    conv = weight_standardization(layer(), **options)
    exact = closed({key: array.astype(np.float64) for key, array in conv.state_dict().items()}, options["eps"])
    np.testing.assert_allclose(conv.weight, exact, rtol=1e-5, atol=1e-6)
    assert f"eps={options['eps']}" in repr(conv)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (nn.Conv2d(4, 6, 3, groups=2), (6, 2, 3, 3)),
        lambda: (nn.Conv2d(4, 4, (1, 5), groups=4), (4, 1, 1, 5)),
        lambda: (nn.Linear(7, 3), (3, 7)),
    ],
)
@pytest.mark.parametrize("is_scaled", [False, True])
def test_of_other_layers(layers, is_scaled):
    module, shape = layers()
    weight_standardization(module, scaled=is_scaled)
    state = {key: array.astype(np.float64) for key, array in module.state_dict().items()}
    assert module.weight.shape == shape
    np.testing.assert_allclose(module.weight, (scaled if is_scaled else plain)(state), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_file_has_the_standardized_weight(is_scaled, tmp_path):
    ne.manual_seed(0)
    conv = weight_standardization(nn.Conv2d(1, 4, 3, bias=False), scaled=is_scaled)
    model = nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 1, 5, 5)).astype(np.float32), rng.integers(0, 2, 8)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    first = step(x, y)
    assert [step(x, y) for _ in range(20)][-1] < 0.5 * first
    path = tmp_path / "m.onnx"
    assert ne.onnx.export(model, path, (1, 5, 5), fold_batchnorm=False).folded == 0
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    exact = (scaled if is_scaled else plain)({k: a.astype(np.float64) for k, a in conv.state_dict().items()})
    np.testing.assert_allclose(found["0.weight"], exact, rtol=2e-7)
    assert not [name for name in found if "parametrizations" in name]
    report = ne.onnx.export(model, path, (1, 5, 5))
    assert report.batch_norms[0].into == ("0",)
    assert [n.op_type for n in onnx.load(path).graph.node] == ["Conv", "Relu", "Reshape", "Gemm"]


@pytest.mark.parametrize(
    "module, options, text",
    [
        (layer, {"name": "wait"}, "weight_standardization: Conv2d has no parameter 'wait', choose from: weight, bias"),
        (layer, {"name": "bias"}, r"'bias' of Conv2d must be a weight .* at least 2 dimensions, got shape \(5,\)"),
        (lambda: weight_norm(layer()), {}, "'weight' of Conv2d is computed of other parameters already"),
        (lambda: weight_standardization(layer()), {}, "'weight' of Conv2d is computed of other parameters already"),
        (layer, {"eps": -1e-6}, "weight_standardization: eps must be a finite number of 0 or more, got -1e-06"),
        (layer, {"gamma": np.nan}, "weight_standardization: gamma must be a finite number, got nan"),
    ],
)
def test_what_is_refused_changes_nothing(module, options, text):
    given = module()
    before = list(given.state_dict())
    with pytest.raises(ValueError, match=text):
        weight_standardization(given, **options)
    assert list(given.state_dict()) == before
