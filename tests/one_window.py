"""A layer whose window is the whole image, so that a closed form in float64 gives its loss and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

import normengine as ne
from normengine import nn, optim

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
Y = RNG.standard_normal((4, 5, 1, 1)).astype(np.float32)

State = Mapping[str, np.ndarray]


def layer() -> nn.Conv2d:
    """(N, 2, 3, 3) to (N, 5, 1, 1), weights and biases away from zero."""
    ne.manual_seed(1)
    conv = nn.Conv2d(2, 5, 3)
    conv.weight.data += 0.05
    conv.bias.data[...] = np.linspace(-1, 1, 5)
    return conv


def loss_of(weight: np.ndarray, bias: np.ndarray) -> float:
    """The mean squared error of the layer, in float64."""
    outputs = X.reshape(4, -1).astype(np.float64) @ weight.reshape(5, -1).T + bias
    return float(np.mean((outputs - Y.reshape(4, 5)) ** 2))


def stepped(conv: nn.Conv2d) -> tuple[float, dict[str, np.ndarray]]:
    """The loss before a step, and the gradients that it followed, in float64."""
    before = {key: array.astype(np.float64) for key, array in conv.state_dict().items()}
    step = ne.TrainStep(conv, nn.MSELoss(), optim.SGD(conv.parameters(), lr=1.0))
    loss = step(X, Y)
    assert step.traced_again == ""
    return loss, {key: before[key] - array for key, array in conv.state_dict().items()}


def differences(weight_of: Callable[[State], np.ndarray], state: State) -> dict[str, np.ndarray]:
    """Central differences of the loss for every number of ``state``, in float64."""
    state = {key: array.astype(np.float64) for key, array in state.items()}
    found = {key: np.zeros(array.shape) for key, array in state.items()}
    h = 1e-6
    for key, array in state.items():
        for at in np.ndindex(array.shape):
            values = []
            for shift in (h, -h):
                moved = {**state, key: array.copy()}
                moved[key][at] += shift
                values.append(loss_of(weight_of(moved), moved["bias"]))
            found[key][at] = (values[0] - values[1]) / (2 * h)
    return found


def assert_trains_as(conv: nn.Conv2d, weight_of: Callable[[State], np.ndarray]) -> None:
    """The layer's weight, loss and gradients are those of the closed form ``weight_of(state_dict)``."""
    state = {key: array.copy() for key, array in conv.state_dict().items()}
    exact = weight_of({key: array.astype(np.float64) for key, array in state.items()})
    np.testing.assert_allclose(conv.weight, exact, rtol=1e-5, atol=1e-6)
    wanted = differences(weight_of, state)
    loss, found = stepped(conv)
    assert abs(loss - loss_of(exact, state["bias"])) < 1e-5
    assert found.keys() == wanted.keys()
    for key, gradient in wanted.items():
        assert np.abs(gradient).max() > 1e-3, key
        np.testing.assert_allclose(found[key], gradient, rtol=1e-4, atol=2e-6, err_msg=key)
