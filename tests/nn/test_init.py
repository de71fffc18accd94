"""Initialization: PyTorch's distributions, repeated by a seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import normengine as ne
from normengine import nn
from normengine.nn import init

SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9


@pytest.fixture(autouse=True)
def _seed() -> None:
    ne.manual_seed(0)


def _is_uniform(array: np.ndarray, bound: float) -> None:
    assert np.abs(array).max() <= bound
    assert np.abs(array).max() > 0.98 * bound
    assert abs(array.std() - bound / math.sqrt(3)) < 0.02 * bound
    assert abs(array.mean()) < 0.03 * bound


def _is_normal(array: np.ndarray, std: float) -> None:
    assert abs(array.std() / std - 1) < 0.02
    assert abs(array.mean()) < 0.02 * std
    assert 3.2 * std < np.abs(array).max() < 6 * std


def test_conv_and_linear_are_uniform_within_one_over_the_root_of_fan_in() -> None:
    conv, linear = nn.Conv2d(32, 640, 3), nn.Linear(400, 800)
    _is_uniform(conv.weight.numpy(), 1 / math.sqrt(FAN_IN))
    _is_uniform(linear.weight.numpy(), 1 / 20)
    for layer, bound in ((conv, 1 / math.sqrt(FAN_IN)), (linear, 1 / 20)):
        assert 0.9 * bound < np.abs(layer.bias.numpy()).max() <= bound


def test_groups_count_their_own_channels() -> None:
    _is_uniform(nn.Conv2d(640, 640, 3, groups=640).weight.numpy(), 1 / 3)


def test_batch_norm_starts_as_identity() -> None:
    layer = nn.BatchNorm1d(3)
    assert {k: v.tolist() for k, v in layer.state_dict().items()} == {
        "weight": [1, 1, 1],
        "bias": [0, 0, 0],
        "running_mean": [0, 0, 0],
        "running_var": [1, 1, 1],
        "num_batches_tracked": 0,
    }


def test_families() -> None:
    weight = nn.Parameter(np.zeros(SHAPE))
    _is_uniform(init.xavier_uniform_(weight, gain=2).numpy(), 2 * math.sqrt(6 / (FAN_IN + FAN_OUT)))
    _is_normal(init.xavier_normal_(weight).numpy(), math.sqrt(2 / (FAN_IN + FAN_OUT)))
    _is_uniform(init.kaiming_uniform_(weight, nonlinearity="relu").numpy(), math.sqrt(6 / FAN_IN))
    _is_uniform(init.kaiming_uniform_(weight, a=1).numpy(), math.sqrt(3 / FAN_IN))
    _is_normal(init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu").numpy(), math.sqrt(2 / FAN_OUT))
    _is_normal(init.normal_(weight, 0.0, 0.01).numpy(), 0.01)
    truncated = init.trunc_normal_(weight, std=1.0, a=-0.5, b=1.0).numpy()
    assert truncated.min() >= -0.5
    assert truncated.max() <= 1.0
    assert abs(truncated.mean() - 0.207) < 0.01
    assert init.constant_(weight, 3).numpy().tolist() == np.full(SHAPE, 3).tolist()
    assert not init.zeros_(weight).numpy().any()
    assert (init.ones_(weight).numpy() == 1).all()


def test_special_matrices() -> None:
    square = init.orthogonal_(nn.Parameter(np.zeros((6, 4))), gain=2).numpy()
    np.testing.assert_allclose(square.T @ square, 4 * np.eye(4), atol=1e-5)
    assert init.eye_(np.empty((2, 3), np.float32)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 5)).astype(np.float32)
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    init.dirac_(layer.weight, groups=2)
    assert np.array_equal(layer(x), x)


def _pictures(count: int = 60) -> np.ndarray:
    """Smooth images, whose neighbouring pixels and channels are correlated."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((count, 2, 13, 12)) + 0.5 * rng.standard_normal((count, 1, 13, 12)) + 4
    return (noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + noise[:, :, 1:, :-1]).astype(np.float32)


def _whitened(many: int, eps: float, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The convolution's outputs, (O, outputs), and the eigenvalues of the covariance of patches."""
    layer = nn.Conv2d(2, many, (3, 2), bias=False)
    assert init.whitening_(layer.weight, images, eps) is layer.weight
    patches = np.lib.stride_tricks.sliding_window_view(np.float64(images), (3, 2), (2, 3))
    patches = patches.transpose(1, 4, 5, 0, 2, 3).reshape(12, -1)
    return np.float64(layer(images)).transpose(1, 0, 2, 3).reshape(many, -1), np.linalg.eigvalsh(np.cov(patches))[::-1]


@pytest.mark.parametrize("many", [12, 5])
def test_whitening_makes_outputs_of_unit_covariance(many: int) -> None:
    outputs, _ = _whitened(many, 0, _pictures())
    np.testing.assert_allclose(np.cov(outputs), np.eye(many), atol=1e-4)


def test_whitening_adds_eps_to_the_eigenvalues() -> None:
    outputs, values = _whitened(12, 0.3, _pictures())
    np.testing.assert_allclose(np.cov(outputs), np.diag(values / (values + 0.3)), atol=1e-4)


@pytest.mark.parametrize("many", [13, 20, 24])
def test_whitening_has_negatives_behind_all_filters(many: int) -> None:
    images = _pictures()
    weight = init.whitening_(np.empty((many, 2, 3, 2), np.float32), images)
    assert np.array_equal(weight[:12], init.whitening_(np.empty((12, 2, 3, 2), np.float32), images))
    assert np.array_equal(weight[12:], -weight[: many - 12])


def test_whitening_takes_patches_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images, weight = _pictures(), np.empty((12, 2, 3, 2))
    whole = init.whitening_(weight, images).copy()
    for most in (1, 300, 3000):
        monkeypatch.setattr(init, "BLOCK", most)
        assert max(len(rows) for rows in init._patches(images, (3, 2))) * 12 <= max(most, 11 * 12)
        np.testing.assert_allclose(init.whitening_(weight, images), whole, rtol=1e-8, atol=1e-12)


def test_whitening_of_integers_and_of_one_image() -> None:
    weight = np.empty((4, 1, 2, 2), np.float32)
    image = np.arange(25, dtype=np.uint8).reshape(1, 1, 5, 5) ** 2
    assert np.isfinite(init.whitening_(weight, image)).all()


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [("relu", None, 2**0.5), ("tanh", None, 5 / 3), ("linear", None, 1), ("leaky_relu", 1, 1), ("selu", None, 0.75)],
)
def test_gain(name: str, param: float | None, gain: float) -> None:
    assert init.calculate_gain(name, param) == pytest.approx(gain)


def test_a_seed_repeats_what_follows() -> None:
    draws = []
    for seed in (5, 5, 6):
        ne.manual_seed(seed)
        draws.append((nn.Conv2d(3, 4, 3).weight.numpy().tolist(), ne.randn(3).tolist(), ne.rand(2, 2).tolist()))
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[2][0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_normal_(np.empty(3)), r"fans need a weight .* got shape \(3,\)"),
        (lambda: init.kaiming_normal_(np.empty((3, 3)), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: init.calculate_gain("softplus"), "nonlinearity must be one of .* got 'softplus'"),
        (lambda: init.eye_(np.empty((3, 3, 3))), r"eye_ takes a matrix, got shape \(3, 3, 3\)"),
        (lambda: init.dirac_(np.empty((3, 3, 3)), groups=2), r"a multiple of 2, got shape \(3, 3, 3\)"),
        (lambda: init.orthogonal_(np.empty(3)), r"at least 2 dimensions, got shape \(3,\)"),
        (lambda: init.trunc_normal_(np.empty(3), a=100, b=101), "hardly meets"),
        (lambda: init.whitening_(np.empty((3, 2)), _pictures()), r"a weight \(O, I, kh, kw\), got shape \(3, 2\)"),
        (lambda: init.whitening_(np.empty((17, 2, 2, 2)), _pictures()), "more than the 16 filters that there are"),
        (
            lambda: init.whitening_(np.empty((4, 3, 2, 2)), _pictures()),
            r"numbers \(N, 3, H, W\) with H and W of \(2, 2",
        ),
        (lambda: init.whitening_(np.empty((4, 2, 2, 12)), _pictures()), r"H and W of \(2, 12\) or more, got float32"),
        (lambda: init.whitening_(np.empty((4, 2, 2, 2)), _pictures()[0]), r"got float32 of shape \(2, 12, 11\)"),
        (lambda: init.whitening_(np.empty((4, 2, 2, 2)), _pictures() * np.nan), "images: numbers must be finite"),
        (lambda: init.whitening_(np.empty((4, 2, 2, 2)), _pictures(0)), "two samples or more, got 0"),
        (lambda: init.whitening_(np.empty((4, 2, 2, 2)), _pictures(), -1), "whitening_: eps must be a finite number"),
        (lambda: init.whitening_(np.empty((4, 1, 2, 2)), np.ones((5, 1, 4, 4)), 0), "give an eps above 0"),
    ],
)
def test_errors(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_an_error_leaves_the_weight() -> None:
    weight = np.full((4, 1, 2, 2), 7.0)
    with pytest.raises(ValueError, match="eps above 0"):
        init.whitening_(weight, np.ones((5, 1, 4, 4)), 0)
    assert (weight == 7).all()
