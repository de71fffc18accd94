"""Arrays in another type than programs read: the same numbers, or an error that names the place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.conversion import converted

HUGE = np.array([0, 2**64 - 100], np.uint64)
"""As int64 the second would be -100, which cross entropies ignore."""
X = np.zeros((2, 3), np.float32)
WIDE = np.array([[1e300, 0.0, 0.0]])


def model() -> nn.Linear:
    return nn.Linear(3, 2)


def step(x: Any, y: Any) -> float:
    net = model()
    return ne.TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1))(x, y)


def evaluation() -> Any:
    net = model()
    return ne.Trainer(net, optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()).evaluate(X, HUGE)


def moments(**entries: Any) -> None:
    net = model()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "state": {0: entries}})


def norm(**entries: Any) -> None:
    layer = nn.BatchNorm1d(2)
    before = {key: array.copy() for key, array in layer.state_dict().items()}
    try:
        layer.load_state_dict({**before, **entries})
    finally:
        assert all(np.array_equal(before[key], array) for key, array in layer.state_dict().items())


def onnx_input(tmp_path: Any, x: np.ndarray) -> None:
    ne.onnx.export(model(), tmp_path / "m.onnx", input_shape=(3,))
    ne.InferenceSession(tmp_path / "m.onnx")(x)


WRAPS, OVERFLOWS = "must hold numbers that int64 has, got 18446744073709551516", "numbers that float32 has, got 1e.300"


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: step(X, HUGE), f"TrainStep: y {WRAPS}"),
        (lambda: step(WIDE, np.zeros(1, int)), f"TrainStep: x must hold {OVERFLOWS}"),
        (lambda: step(X, np.zeros(2, complex)), "TrainStep: y must be integer labels or float32 targets, got complex"),
        (evaluation, f"Trainer.evaluate: y {WRAPS}"),
        (lambda: F.cross_entropy(X, HUGE), f"cross_entropy: input {WRAPS}"),
        (lambda: model()(WIDE), f"Linear: input must hold {OVERFLOWS}"),
        (lambda: nn.Parameter(WIDE), f"Parameter: data must hold {OVERFLOWS}"),
        (lambda: ne.tensor([2**64 - 100]), f"tensor: data {WRAPS}"),
        (lambda: nn.Module().register_buffer("labels", HUGE), f"buffer 'labels' {WRAPS}"),
        (lambda: nn.CrossEntropyLoss(WIDE[0]), f"CrossEntropyLoss: weight must hold {OVERFLOWS}"),
        (lambda: norm(num_batches_tracked=np.nan), "num_batches_tracked must hold numbers that int64 has, got nan"),
        (lambda: norm(num_batches_tracked=0.5), "num_batches_tracked must hold numbers that int64 has, got 0.5"),
        (lambda: norm(running_mean=WIDE[0, :2]), f"running_mean must hold {OVERFLOWS}"),
        (lambda: moments(step=np.nan), "SGD: saved step of parameter 0 must hold numbers that int64 has, got nan"),
        (lambda: moments(step=-1), "SGD: saved step of parameter 0 must be an integer of 0 or more, got -1"),
        (
            lambda: moments(momentum_buffer=np.full((2, 3), 1e300)),
            f"saved momentum_buffer of parameter 0 must hold {OVERFLOWS}",
        ),
    ],
)
def test_numbers_that_the_type_does_not_have(convert: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert()


def test_a_session_refuses_what_becomes_infinite(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=f"input 'x' must hold {OVERFLOWS}"):
        onnx_input(tmp_path, WIDE)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, np.uint8, np.int64, np.bool_, ">f8", ">i2"])
def test_what_fits_is_converted(dtype: Any) -> None:
    given = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    for wanted in (np.float32, np.int64):
        made = converted(given.T, wanted, "x")
        assert made.dtype == wanted and made.flags.c_contiguous and np.array_equal(made, given.T)


def test_infinities_and_nan_stay_what_they_are() -> None:
    given = np.array([np.inf, -np.inf, np.nan, 1e-300])
    np.testing.assert_array_equal(converted(given, np.float32, "x"), np.array([np.inf, -np.inf, np.nan, 0], np.float32))


def test_an_array_of_the_type_is_itself() -> None:
    assert converted(X, np.float32, "x") is X
