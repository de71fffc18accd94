"""Whitening: unit covariance, the way back, ZCA's nearness, closed forms in two dimensions, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

import normengine.data.whitening as module
from normengine.data import Whitening, digits

RNG = np.random.default_rng(11)
MIX = RNG.standard_normal((6, 6)) + 2 * np.eye(6)
X = (RNG.standard_normal((500, 6)) @ MIX + 3).astype(np.float32)


def covariance(x: np.ndarray) -> np.ndarray:
    return np.cov(np.float64(x).reshape(len(x), -1).T)


@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize("shape", [(6,), (3, 1, 2)])
def test_mean_0_and_covariance_1(method: str, shape: tuple[int, ...]) -> None:
    y = Whitening(method, eps=0).fit_transform(X.reshape(-1, *shape))
    assert y.dtype == np.float32
    assert y.shape == ((500, 6) if method == "pca" else (500, *shape))
    assert np.allclose(y.mean(0, dtype=np.float64), 0, atol=1e-6)
    assert np.allclose(covariance(y), np.eye(6), atol=1e-5)


@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize("eps", [0, 0.1])
def test_inverse_gives_the_samples_back(method: str, eps: float) -> None:
    x = X.reshape(-1, 3, 2)
    whitening = Whitening(method, eps).fit(x)
    assert np.allclose(whitening.inverse_transform(whitening.transform(x[:7])), x[:7], atol=1e-4)


def test_eps_is_added_to_the_eigenvalues() -> None:
    whitening = Whitening(eps=0.5).fit(X)
    values = np.linalg.eigvalsh(covariance(X))[::-1]
    assert np.allclose(whitening.eigenvalues_, values, rtol=1e-10)
    assert np.allclose(covariance(whitening.transform(X)), np.diag(values / (values + 0.5)), atol=1e-5)


def test_zca_is_symmetric_and_nearest_to_the_input() -> None:
    whitening = Whitening("zca", eps=0).fit(X)
    matrix = np.float64(whitening.transform(whitening.mean_ + np.eye(6)))
    assert np.allclose(matrix, matrix.T, atol=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > 0
    centred, y = np.float64(X) - X.mean(0, dtype=np.float64), np.float64(whitening.transform(X))

    def distance(other: np.ndarray) -> float:
        return float(((other - centred) ** 2).sum() / (len(X) - 1))

    values = np.linalg.eigvalsh(covariance(X))
    assert np.isclose(distance(y), ((np.sqrt(values) - 1) ** 2).sum(), rtol=1e-5)
    assert distance(y) < distance(Whitening("pca", eps=0).fit_transform(X))
    for _ in range(20):
        turn, _ = np.linalg.qr(np.eye(6) + 0.1 * RNG.standard_normal((6, 6)))
        assert distance(y) < distance(y @ turn)


def test_closed_form_in_two_dimensions() -> None:
    """The eigenvalues of [[a, b], [b, c]], and its root (C + s) / t with s = sqrt(det C), t = sqrt(a + c + 2 s)."""
    x = (RNG.standard_normal((400, 2)) @ np.array([[2, 0.5], [0, 0.7]]) + [5, -1]).astype(np.float32)
    (a, b), (_, c) = c2 = covariance(x)
    half, root = (a + c) / 2, np.hypot((a - c) / 2, b)
    pca, zca = Whitening("pca", eps=0).fit(x), Whitening("zca", eps=0).fit(x)
    assert np.allclose(pca.eigenvalues_, [half + root, half - root], rtol=1e-10)
    first = np.array([b, half + root - a]) / np.hypot(b, half + root - a)
    assert np.allclose(np.abs(pca.components_ @ first), [1, 0], atol=1e-10)
    s = np.sqrt(a * c - b * b)
    inverse_root = np.linalg.inv((c2 + s * np.eye(2)) / np.sqrt(a + c + 2 * s))
    assert np.allclose(zca.transform(x), (x - x.mean(0, dtype=np.float64)) @ inverse_root, atol=1e-5)


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_the_leading_components(method: str) -> None:
    whitening = Whitening(method, eps=0, components=2).fit(X)
    assert whitening.components_.shape == (2, 6)
    assert whitening.eigenvalues_.shape == (2,)
    assert whitening.mean_.shape == (6,)
    y = whitening.transform(X)
    rank = np.linalg.matrix_rank(covariance(y), tol=1e-3)
    assert rank == 2
    assert y.shape == ((500, 2) if method == "pca" else X.shape)
    back = whitening.inverse_transform(y)
    kept = whitening.components_.T @ whitening.components_
    assert np.allclose(back, (X - whitening.mean_) @ kept + whitening.mean_, atol=1e-4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Whitening("zca").fit(X)
    monkeypatch.setattr(module, "BLOCK", 40)
    parts = Whitening("zca").fit(X)
    assert np.allclose(parts.eigenvalues_, whole.eigenvalues_, rtol=1e-12)
    assert np.allclose(parts.transform(X), whole.transform(X), atol=1e-6)


def test_far_from_zero() -> None:
    x = (RNG.standard_normal((4000, 3)) + 1e4).astype(np.float32)
    assert np.allclose(covariance(Whitening(eps=0).fit_transform(x)), np.eye(3), atol=1e-5)


def test_images_with_pixels_that_never_change() -> None:
    images, _ = digits("train")
    with pytest.raises(ValueError, match=r"1442 samples vary along \d\d axes, too few .* of 64; give an eps above 0"):
        Whitening(eps=0).fit(images)
    y = Whitening("zca", eps=1e-3).fit_transform(images)
    assert y.shape == images.shape
    assert np.isfinite(y).all()
    assert np.linalg.eigvalsh(covariance(y)).max() < 1


def test_fewer_samples_than_features() -> None:
    x = RNG.standard_normal((5, 8)).astype(np.float32)
    with pytest.warns(UserWarning, match="5 samples vary along at most 4 axes, fewer than the 8 that are kept") as said:
        y = Whitening("zca", eps=0.1).fit_transform(x)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert np.isfinite(y).all()
    with pytest.raises(ValueError, match="5 samples vary along 4 axes, too few to divide by the variances of 8"):
        Whitening(eps=0).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.allclose(covariance(Whitening(eps=0, components=4).fit_transform(x)), np.eye(4), atol=1e-4)


def test_an_error_leaves_what_was_fitted() -> None:
    whitening = Whitening(eps=0).fit(X)
    y = whitening.transform(X)
    for wrong in (X[:3], X[:, :0], np.where(X > 3, np.nan, X)):
        with pytest.raises(ValueError, match="Whitening"):
            whitening.fit(wrong)
    assert np.array_equal(whitening.transform(X), y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Whitening("ica"), "Whitening: method must be 'pca' or 'zca', got 'ica'"),
        (lambda: Whitening(eps=-1), "Whitening: eps must be a finite number of 0 or more, got -1"),
        (lambda: Whitening(components=0), "Whitening: components must be a positive integer, got 0"),
        (lambda: Whitening(components=7).fit(X), "components must be at most the 6 features of a sample, got 7"),
        (lambda: Whitening().transform(X), r"transform needs the samples' mean and covariance; call fit\(x\) first"),
        (lambda: Whitening().inverse_transform(X), "inverse_transform needs the samples' mean and covariance"),
        (lambda: Whitening().fit(X).transform(X[:, :4]), r"takes samples of 6 features, got 4 \(shape \(500, 4\)\)"),
        (lambda: Whitening(components=3).fit(X).inverse_transform(X), "takes samples of 3 features, got 6"),
        (lambda: Whitening().fit(X[:1]), "Whitening: fit: a covariance takes two samples or more, got 1"),
        (lambda: Whitening().fit(X * np.inf), "Whitening: fit: numbers must be finite as float32, got (-inf|inf)"),
        (lambda: Whitening().fit(X).transform(X * np.nan), "Whitening: numbers must be finite as float32, got nan"),
        (lambda: Whitening().fit(X[:, 0]), r"fit takes numbers in a shape \(N, ...\), none of it 0, got float32"),
        (lambda: Whitening().fit([["a", "b"]]), r"fit takes numbers in a shape \(N, ...\), none of it 0, got <U1"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_repr() -> None:
    assert repr(Whitening("zca", 0.1, 3)) == "Whitening(method='zca', eps=0.1, components=3)"
