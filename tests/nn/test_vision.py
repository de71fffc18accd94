"""grid_sample and affine_grid: PyTorch's conventions in closed forms, errors, gradients and files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


IDENTITY = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)


@pytest.mark.parametrize("corners", [None, False, True])
def test_the_identity_gives_the_image(corners):
    x = draw(1, 3, 5, 6)
    grid = F.affine_grid(IDENTITY, x.shape, align_corners=corners)
    assert grid.shape == (1, 5, 6, 2)
    np.testing.assert_allclose(F.grid_sample(x, grid, align_corners=corners), x, atol=1e-5)


def test_flips_shifts_and_volumes():
    x = draw(2, 3, 4, 6)
    flip = np.broadcast_to(IDENTITY * np.float32([[-1], [1]]), (2, 2, 3))
    np.testing.assert_allclose(F.grid_sample(x, F.affine_grid(flip, x.shape)), x[..., ::-1], atol=1e-5)
    shift = np.broadcast_to(IDENTITY + np.float32([[[0, 0, 2 / 6], [0, 0, 0]]]), (2, 2, 3))
    moved = F.grid_sample(x, F.affine_grid(shift, x.shape), padding_mode="border")
    np.testing.assert_allclose(moved, x[..., [1, 2, 3, 4, 5, 5]], atol=1e-5)
    volume = draw(1, 2, 3, 4, 5)
    theta = np.eye(3, 4, dtype=np.float32)[None]
    grid = F.affine_grid(theta, volume.shape)
    np.testing.assert_allclose(F.grid_sample(volume, grid, "nearest"), volume, atol=1e-6)


def test_a_single_pixel_lies_in_the_middle():
    assert not F.affine_grid(IDENTITY, (1, 1, 1, 1), align_corners=True).any()


def test_coordinates_that_are_nan_count_as_the_left_end():
    x, grid = draw(1, 2, 3, 4), np.full((1, 1, 1, 2), np.nan, np.float32)
    for mode in ("bilinear", "nearest"):
        y = F.grid_sample(x, grid, mode, align_corners=True)
        np.testing.assert_allclose(y[0, :, 0, 0], x[0, :, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "linear"}, "grid_sample: mode must be one of bilinear, nearest, bicubic, got 'linear'"),
        ({"padding_mode": "wrap"}, "grid_sample: padding_mode must be one of zeros, border, reflection, got 'wrap'"),
    ],
)
def test_settings_that_do_not_exist(settings, text):
    with pytest.raises(ValueError, match=text):
        F.grid_sample(draw(1, 2, 3, 4), draw(1, 2, 2, 2), **settings)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"grid must be \(N, H', W', 2\) for an input of shape \(1, 2, 3, 4\)"):
        F.grid_sample(draw(1, 2, 3, 4), draw(1, 2, 2, 3))
    with pytest.raises(ValueError, match="mode 'bicubic' is for inputs"):
        F.grid_sample(draw(1, 2, 3, 4, 5), draw(1, 2, 2, 2, 3), "bicubic")
    with pytest.raises(
        ValueError, match=r"affine_grid: size must be \(N, C, H, W\) or \(N, C, D, H, W\), got \(1, 2, 3\)"
    ):
        F.affine_grid(IDENTITY, (1, 2, 3))
    with pytest.raises(ValueError, match=r"affine_grid: theta must have shape \(2, 2, 3\) for size \(2, 1, 4, 4\)"):
        F.affine_grid(IDENTITY, (2, 1, 4, 4))
    with pytest.raises(ValueError, match="affine_grid: size must be a positive integer, got 0"):
        F.affine_grid(IDENTITY, (1, 1, 0, 4))


class Transformer(nn.Module):
    """A spatial transformer: the image moved by an affine map that it is looked at for."""

    def __init__(self):
        super().__init__()
        self.locate = nn.Linear(36, 6)
        self.locate.weight.data[:] = 0
        self.locate.bias.data[:] = np.float32([1, 0, 0.1, 0, 1, -0.1])

    def forward(self, x):
        theta = self.locate(x.reshape(x.shape[0], 36)).reshape(x.shape[0], 2, 3)
        return F.grid_sample(x, F.affine_grid(theta, x.shape))


def test_a_spatial_transformer_learns_where_to_look():
    model, x = Transformer(), np.repeat(draw(1, 1, 6, 6), 8, 0)
    smooth = F.interpolate(F.interpolate(x, 3, mode="area"), 6, mode="bicubic")
    step = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.02))
    losses = [step(smooth, smooth) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


def test_files(tmp_path):
    model, x = Transformer().eval(), draw(3, 1, 6, 6)
    path = tmp_path / "transformer.onnx"
    ne.onnx.export(model, path, input_shape=(1, 6, 6), opset=17)
    assert "GridSample" in [n.op_type for n in onnx.load(path).graph.node]
    np.testing.assert_allclose(ne.InferenceSession(path)(x), model(x), atol=1e-5)
