"""Root mean square normalization over the last axes: the closed form, gradients, files, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.onnx.reference import evaluate_file

EPS = 2.0**-23


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def exact(x, axes, weight=1.0, eps=EPS):
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + eps) * weight


@pytest.mark.parametrize("shape, normalized", [((3, 5), 5), ((2, 3, 4, 5), (4, 5)), ((7,), [7]), ((2, 1, 3), (1, 3))])
@pytest.mark.parametrize("eps", [None, 0.0, 0.1])
def test_the_closed_form(shape, normalized, eps):
    x = draw(*shape)
    extents = (normalized,) if isinstance(normalized, int) else tuple(normalized)
    axes, weight = tuple(range(len(shape) - len(extents), len(shape))), draw(*extents)
    own = EPS if eps is None else eps
    np.testing.assert_allclose(F.rms_norm(x, normalized, eps=eps), exact(x, axes, eps=own), rtol=2e-6, atol=1e-7)
    found = F.rms_norm(x, normalized, weight, eps)
    np.testing.assert_allclose(found, exact(x, axes, weight, own), rtol=2e-6, atol=1e-7)
    layer = nn.RMSNorm(normalized, eps)
    assert layer.state_dict()["weight"].shape == extents
    layer.weight.data[...] = weight
    assert np.array_equal(layer(x), found)
    layer.reset_parameters()
    assert np.array_equal(layer.weight.numpy(), np.ones(extents))


def test_small_numbers_and_zeros():
    x = draw(2, 6) * 1e-5
    x[1] = 0
    np.testing.assert_allclose(F.rms_norm(x, 6), exact(x, -1), rtol=1e-5, atol=1e-9)
    assert not F.rms_norm(x, 6)[1].any()


def test_its_settings():
    plain = nn.RMSNorm(4, elementwise_affine=False)
    assert not plain.state_dict() and plain.weight is None
    assert repr(nn.RMSNorm([3, 4], 1e-3)) == "RMSNorm((3, 4), eps=0.001, elementwise_affine=True)"


def test_gradients():
    """Of the layer's weight, and of one before it, against central differences in float64."""
    ne.manual_seed(0)
    x, y = draw(4, 3), draw(4, 5)
    fc, norm = nn.Linear(3, 5, bias=False), nn.RMSNorm(5)
    norm.weight.data[...] = np.linspace(0.5, 1.5, 5)
    before = [p.numpy().astype(np.float64) for p in (fc.weight, norm.weight)]

    def loss(weight, scale):
        return np.mean((exact(x.astype(np.float64) @ weight.T, -1, scale) - y) ** 2)

    model = nn.Sequential(fc, norm)
    found = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))(x, y)
    assert abs(found - loss(*before)) < 1e-6
    for number, parameter in enumerate((fc.weight, norm.weight)):
        wanted = np.zeros(parameter.shape)
        for at in np.ndindex(parameter.shape):
            moved = [[array.copy() for array in before] for _ in range(2)]
            moved[0][number][at] += 1e-6
            moved[1][number][at] -= 1e-6
            wanted[at] = (loss(*moved[0]) - loss(*moved[1])) / 2e-6
        np.testing.assert_allclose(before[number] - parameter.numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_a_file(tmp_path):
    layer, x = nn.RMSNorm((3, 4)), draw(5, 2, 3, 4)
    layer.weight.data[...] = draw(3, 4)
    ne.onnx.export(layer, tmp_path / "m.onnx", (2, 3, 4))
    content, wanted = (tmp_path / "m.onnx").read_bytes(), exact(x, (2, 3), layer.weight.numpy())
    for found in (ne.InferenceSession(content)(x), *evaluate_file(content, {"x": x})):
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"normalized_shape is \(3, 4\), but the input's shape \(2, 4, 3\) does not"):
        F.rms_norm(draw(2, 4, 3), (3, 4))
    with pytest.raises(ValueError, match=r"rms_norm: weight must have shape \(4,\), got \(1,\)"):
        F.rms_norm(draw(2, 4), 4, np.ones(1, np.float32))
    with pytest.raises(ValueError, match="RMSNorm: eps must be a finite number of 0 or more, got -1"):
        nn.RMSNorm(4, -1)
    for shape, text in ((0, "a positive integer, got 0"), ((), "at least"), ((3, -1), "a positive integer, got -1")):
        with pytest.raises(ValueError, match=f"RMSNorm: normalized_shape must .*{text}"):
            nn.RMSNorm(shape)
    with pytest.raises(ValueError, match=r"RMSNorm: normalized_shape is \(4,\), but the input's shape \(2, 5\)"):
        nn.RMSNorm(4)(draw(2, 5))
