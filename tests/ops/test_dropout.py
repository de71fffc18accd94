"""The noise of dropout: published answers of its generator, exact ends, and the moments of each distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, OperatorError
from normengine.ops.dropout import mix, philox

N = 1 << 18


def noise(op: str, shape: tuple[int, ...], seed: int = 1, step: int = 0, **attrs: Any) -> np.ndarray:
    settings = {"layer": 0, "per_channel": False, **attrs}
    arrays = [np.ones(shape), np.array(seed, np.uint32), np.array(step, np.uint32)]
    (y,) = OPS[op].reference(arrays, settings)
    return y


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), 0, (0xFF1DAE59, 0x6CD10DF2)),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
    ],
)
def test_philox_known_answers(counter: tuple[int, int], key: int, expected: tuple[int, int]) -> None:
    """The vectors that Random123 publishes for philox2x32 with ten rounds."""
    low, high = philox(np.array([counter[0]]), np.array([counter[1]]), key)
    assert (int(low[0]), int(high[0])) == expected


def test_mix_known_answers() -> None:
    """MurmurHash3's finalizer is a bijection with 0 fixed."""
    assert mix(0) == 0
    assert mix(1) == 0x514E28B7
    assert mix(2**32 + 1) == mix(1)


@pytest.mark.parametrize("per_channel", [False, True])
def test_ends_are_exact(per_channel: bool) -> None:
    shape = (4, 5, 6)
    np.testing.assert_array_equal(noise("dropout", shape, p=0.0, per_channel=per_channel), 1.0)
    np.testing.assert_array_equal(noise("dropout", shape, p=1.0, per_channel=per_channel), 0.0)
    np.testing.assert_array_equal(noise("gaussian_dropout", shape, p=0.0, per_channel=per_channel), 1.0)
    np.testing.assert_array_equal(noise("uniform_dropout", shape, beta=0.0, per_channel=per_channel), 1.0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_it(p: float) -> None:
    y = noise("dropout", (N,), p=p)
    kept = y != 0
    np.testing.assert_array_equal(y[kept], 1.0 / (1.0 - p))
    assert abs(kept.mean() - (1.0 - p)) < 4.0 * math.sqrt(p * (1.0 - p) / N)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_gaussian_moments(p: float) -> None:
    z = (noise("gaussian_dropout", (N,), p=p) - 1.0) / math.sqrt(p / (1.0 - p))
    assert abs(z.mean()) < 4.0 / math.sqrt(N)
    assert abs(z.var() - 1.0) < 4.0 * math.sqrt(2.0 / N)
    assert abs((z**3).mean()) < 4.0 * math.sqrt(15.0 / N)
    assert abs((z**4).mean() - 3.0) < 4.0 * math.sqrt(96.0 / N)
    assert np.isfinite(z).all()


def test_uniform_moments() -> None:
    r = noise("uniform_dropout", (N,), beta=0.4) - 1.0
    assert r.min() >= -0.4 and r.max() < 0.4
    assert abs(r.mean()) < 4.0 * 0.4 / math.sqrt(3.0 * N)
    assert abs(r.var() - 0.16 / 3.0) < 4.0 * 0.16 * math.sqrt(4.0 / 45.0 / N)


def test_whole_channels_are_dropped() -> None:
    y = noise("dropout", (6, 7, 3, 5), p=0.5, per_channel=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :, :1, :1], y.shape))
    np.testing.assert_array_equal(y[:, :, 0, 0].ravel(), noise("dropout", (42,), p=0.5))


@pytest.mark.parametrize("changed", [{"seed": 2}, {"step": 1}, {"layer": 1}])
def test_masks_of_other_seeds_steps_and_layers_are_independent(changed: dict[str, int]) -> None:
    a, b = noise("uniform_dropout", (N,), beta=1.0), noise("uniform_dropout", (N,), beta=1.0, **changed)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.0 / math.sqrt(N)


def test_neighbouring_elements_are_independent() -> None:
    y = noise("uniform_dropout", (N,), beta=1.0)
    for lag in (1, 2, 28):
        assert abs(np.corrcoef(y[lag:], y[:-lag])[0, 1]) < 4.0 / math.sqrt(N - lag)


def test_the_mask_depends_on_the_position_alone() -> None:
    long, short = noise("dropout", (100,), p=0.3), noise("dropout", (2, 5, 5), p=0.3)
    np.testing.assert_array_equal(long[:50], short.ravel())


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("dropout", {"p": 1.5}, "p must be between 0 and 1, got 1.5"),
        ("dropout", {"p": float("nan")}, "p must be between 0 and 1, got nan"),
        (
            "gaussian_dropout",
            {"p": 1.0},
            "p must be at least 0 and less than 1 (the noise has variance p / (1 - p)), got 1.0",
        ),
        ("uniform_dropout", {"beta": -0.1}, "beta must be 0 or more, got -0.1"),
    ],
)
def test_settings_without_a_meaning_are_refused(op: str, attrs: dict[str, float], message: str) -> None:
    counter = Spec((), "uint32")
    with pytest.raises(OperatorError) as caught:
        OPS[op].infer([Spec((2, 3)), counter, counter], {**attrs, "layer": 0, "per_channel": False})
    assert str(caught.value) == message
