"""interpolate and the layers of it: PyTorch's arithmetic in closed forms, its errors, gradients, steps and files."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def linear(n, m, step=None, corners=False):
    """The (m, n) matrix of weights, in float64."""
    i = np.arange(m)
    if corners:
        x = i * ((n - 1) / (m - 1)) if m > 1 else 0.0 * i
    else:
        x = np.maximum((i + 0.5) * (n / m if step is None else step) - 0.5, 0)
    low = np.minimum(np.floor(x).astype(int), n - 1)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (i, low), 1 - (x - low))
    np.add.at(matrix, (i, np.minimum(low + 1, n - 1)), x - low)
    return matrix


def nearest(n, m, step=None, half=0.0):
    """Which input each output is, in float32."""
    step = np.float32(n) / np.float32(m) if step is None else np.float32(step)
    places = np.floor((np.arange(m, dtype=np.float32) + np.float32(half)) * step)
    return np.minimum(places.astype(int), n - 1)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 6), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
@pytest.mark.parametrize(
    "how", [{"size": 4}, {"size": 9}, {"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.6}]
)
def test_signals_images_and_volumes(shape, mode, how):
    x = draw(*shape)
    name = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}[len(shape)]}.get(mode, mode)
    want = x.astype(np.float64)
    for axis, n in enumerate(shape[2:], 2):
        factor = how.get("scale_factor")
        m = how["size"] if factor is None else math.floor(n * factor)
        step = None if factor is None else 1 / factor
        if mode == "linear":
            want = np.moveaxis(np.tensordot(linear(n, m, step), want, (1, axis)), 0, axis)
        else:
            want = want.take(nearest(n, m, step, 0.5 if mode == "nearest-exact" else 0.0), axis)
    y = F.interpolate(x, **how, mode=name)
    assert y.shape == want.shape
    np.testing.assert_allclose(y, want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sizes", [(9, 11), (3, 2), (1, 1), (5, 6)])
def test_aligned_corners(sizes):
    x = draw(2, 3, 5, 6)
    rows, columns = linear(5, sizes[0], corners=True), linear(6, sizes[1], corners=True)
    want = np.einsum("ij,ncjk,lk->ncil", rows, x, columns)
    np.testing.assert_allclose(F.interpolate(x, sizes, mode="bilinear", align_corners=True), want, atol=2e-6)
    np.testing.assert_allclose(nn.UpsamplingBilinear2d(sizes)(x), want, atol=2e-6)


def test_bicubic_reproduces_lines_and_keeps_the_corners():
    x = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 1, 8, 8))
    y = F.interpolate(x, 15, mode="bicubic", align_corners=True)
    np.testing.assert_allclose(y[0, 0, :, 4:-4], np.broadcast_to(np.arange(15) / 2, (15, 15))[:, 4:-4], atol=0.1)
    np.testing.assert_allclose(y[0, 0, ::2, ::2], x[0, 0], atol=1e-6)


def test_area_is_the_mean():
    x = draw(2, 3, 4, 6, 8)
    volumes = F.interpolate(x, (2, 3, 2), mode="area")
    np.testing.assert_allclose(volumes, x.reshape(2, 3, 2, 2, 3, 2, 2, 4).mean((3, 5, 7)), atol=1e-6)
    images = F.interpolate(x[:, :, 0], scale_factor=0.5, mode="area")
    np.testing.assert_allclose(images, x[:, :, 0].reshape(2, 3, 3, 2, 4, 2).mean((3, 5)), atol=1e-6)
    signals = F.interpolate(x[:, :, 0, 0], 2, mode="area")
    np.testing.assert_allclose(signals, x[:, :, 0, 0].reshape(2, 3, 2, 4).mean(3), atol=1e-6)


def test_antialiased_shrinking_weighs_a_triangle():
    x = draw(1, 1, 12, 12)
    triangle = np.maximum(0, 1 - np.abs(np.arange(12) - (4 * np.arange(3)[:, None] + 1.5)) / 4)
    triangle /= triangle.sum(1, keepdims=True)
    y = F.interpolate(x, 3, mode="bilinear", antialias=True)
    np.testing.assert_allclose(y[0, 0], triangle @ x[0, 0] @ triangle.T, atol=2e-6)


def test_the_scale_that_is_given_counts_unless_it_is_computed_anew():
    x = np.arange(10, dtype=np.float32).reshape(1, 1, 10)
    given, anew = (
        F.interpolate(x, scale_factor=1.55, mode="linear", recompute_scale_factor=flag) for flag in (None, True)
    )
    np.testing.assert_allclose(given[0, 0], linear(10, 15, 1 / 1.55) @ np.arange(10), atol=1e-5)
    np.testing.assert_allclose(anew[0, 0], linear(10, 15) @ np.arange(10), atol=1e-5)


def test_axes_that_keep_their_size_are_as_they_were():
    x = draw(1, 2, 7, 9)
    for mode in ("nearest", "bilinear", "area"):
        np.testing.assert_array_equal(F.interpolate(x, scale_factor=1.05, mode=mode), x)
    assert np.abs(F.interpolate(x, scale_factor=1.05, mode="bicubic") - x).max() > 0.1


@pytest.mark.parametrize(
    ("shape", "settings", "error", "text"),
    [
        ((1, 2, 4), {}, ValueError, "takes size or scale_factor, got neither"),
        ((1, 2, 4), {"size": 2, "scale_factor": 2}, ValueError, "takes size or scale_factor, got both"),
        ((1, 2, 4), {"size": 2, "recompute_scale_factor": True}, ValueError, "recompute_scale_factor needs a scale_"),
        ((1, 2, 4), {"size": 0}, ValueError, "interpolate: size must be a positive integer, got 0"),
        ((1, 2, 4), {"size": 2.5}, ValueError, "interpolate: size must be a positive integer, got 2.5"),
        ((1, 2, 4), {"size": (2, 3)}, ValueError, "size must be one number for each of 1 spatial dimensions"),
        ((1, 2, 4), {"scale_factor": -1}, ValueError, "interpolate: scale_factor must be a finite number"),
        ((1, 2, 4), {"scale_factor": "2x"}, TypeError, "interpolate: scale_factor must be a number"),
        ((1, 2, 4), {"scale_factor": 0.1}, ValueError, r"scale_factor 0.1 leaves nothing of shape \(1, 2, 4\)"),
        ((1, 2, 4), {"size": 2, "align_corners": True}, ValueError, "align_corners is for linear, .* mode 'nearest'"),
        ((1, 2, 4), {"size": 2, "mode": "linear", "antialias": True}, ValueError, "antialias is for bilinear and bic"),
        ((1, 2, 4), {"size": 2, "mode": "bilinear"}, NotImplementedError, "mode 'bilinear' is for 4 dimensions"),
        ((1, 2, 4, 4), {"size": 2, "mode": "trilinear"}, NotImplementedError, "mode 'trilinear' is for 5 dimensions"),
        ((1, 2, 4), {"size": 2, "mode": "lanczos"}, NotImplementedError, "mode must be one of nearest, .*'lanczos'"),
        ((2, 4), {"size": 2}, NotImplementedError, r"takes an input \(N, C, W\), .*, got shape \(2, 4\)"),
    ],
)  # fmt: skip
def test_what_is_refused(shape, settings, error, text):
    with pytest.raises(error, match=text):
        F.interpolate(draw(*shape), **settings)


def test_layers_look_like_pytorchs():
    assert repr(nn.Upsample(scale_factor=2, mode="bilinear")) == "Upsample(scale_factor=2.0, mode='bilinear')"
    assert repr(nn.Upsample((3, 4))) == "Upsample(size=(3, 4), mode='nearest')"
    assert (
        repr(nn.UpsamplingNearest2d(scale_factor=(2, 3)))
        == "UpsamplingNearest2d(scale_factor=(2.0, 3.0), mode='nearest')"
    )
    x = draw(1, 2, 3, 4)
    np.testing.assert_array_equal(nn.UpsamplingNearest2d(scale_factor=2)(x), x.repeat(2, 2).repeat(2, 3))
    assert not nn.Upsample(scale_factor=2).state_dict()


class Pyramid(nn.Module):
    """Two levels, the coarse one resized to the fine one and added."""

    def __init__(self, mode):
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.mode = mode

    def forward(self, x):
        fine = self.fine(x).relu()
        return fine + F.interpolate(self.coarse(fine), size=fine.shape[2:], mode=self.mode)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [(8, 10), (7, 3)])
def test_gradients(mode, sizes):
    """Of a weight before it, in float64: resizing is a matrix of rows and one of columns."""
    ne.manual_seed(0)
    x, y, conv = draw(2, 3, 4, 5), draw(2, 6, *sizes), nn.Conv2d(3, 6, 1, bias=False)
    before = conv.weight.numpy()[:, :, 0, 0].astype(np.float64)
    rows, columns = (matrix_of(n, m, mode) for n, m in zip((4, 5), sizes))
    resized = np.einsum("ih,jw,nchw->ncij", rows, columns, x.astype(np.float64))
    error = np.einsum("oc,ncij->noij", before, resized) - y
    wanted = np.einsum("noij,ncij->oc", 2 * error / error.size, resized)
    model = nn.Sequential(conv, nn.Upsample(sizes, mode=mode))
    found = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))(x, y)
    assert abs(found - np.mean(error**2)) < 1e-5
    np.testing.assert_allclose(before - conv.weight.numpy()[:, :, 0, 0], wanted, rtol=1e-4, atol=1e-5)


def matrix_of(n, m, mode):
    """What each impulse along an axis becomes."""
    impulses = np.eye(n, dtype=np.float32).reshape(1, n, n, 1)
    return F.interpolate(impulses, (m, 1), mode=mode)[0, :, :, 0].T.astype(np.float64)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_files(mode, tmp_path):
    model = Pyramid(mode)
    path = tmp_path / "pyramid.onnx"
    ne.onnx.export(model, path, input_shape=(3, 9, 10))
    assert "Resize" in [n.op_type for n in onnx.load(path).graph.node]
    session, x = ne.InferenceSession(path), draw(3, 3, 9, 10)
    np.testing.assert_allclose(session(x), model.eval()(x), atol=1e-5)


def test_a_decoder_goes_image_by_image():
    """What enlarges an activation is computed for few images, with the layers around it, before the next ones come."""
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReLU(), nn.Conv2d(32, 8, 3)
    )
    step = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e-3))
    page = str(step.profile(draw(32, 8, 28, 28), draw(32, 8, 54, 54), runs=1))
    resizing = [line for line in page.splitlines() if " resample2d" in line]
    assert len(resizing) == 2
    assert not any(" 32x32x28x28" in line or " 32x32x56x56" in line for line in resizing)
