"""Settings that are no numbers, not finite or out of range: refused where they are given and where they are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.settings import LARGEST, finite, whole

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
Y = np.array([0, 1, 1, 0])
NAN = math.nan


def trained(make: Callable[[Any], optim.Optimizer]) -> tuple[nn.Linear, optim.Optimizer, ne.TrainStep]:
    ne.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    step(X, Y)
    return model, optimizer, step


def sgd(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)


def adam(parameters: Any) -> optim.Optimizer:
    return optim.Adam(parameters, lr=0.1, weight_decay=0.01)


@pytest.mark.parametrize(
    ("make", "name", "value", "error"),
    [
        (sgd, "lr", None, TypeError),
        (sgd, "lr", "0.1", TypeError),
        (sgd, "lr", NAN, ValueError),
        (sgd, "lr", math.inf, ValueError),
        (sgd, "lr", 1e39, ValueError),
        (sgd, "lr", 10**400, ValueError),
        (sgd, "lr", -0.1, ValueError),
        (sgd, "lr", np.array([0.1, 0.2]), TypeError),
        (sgd, "lr", np.array(NAN, np.float32), ValueError),
        (sgd, "momentum", NAN, ValueError),
        (sgd, "dampening", NAN, ValueError),
        (sgd, "dampening", None, TypeError),
        (sgd, "weight_decay", math.inf, ValueError),
        (adam, "betas", (0.9, NAN), ValueError),
        (adam, "betas", (None, 0.9), TypeError),
        (adam, "betas", 0.9, TypeError),
        (adam, "eps", NAN, ValueError),
    ],
)
def test_a_setting_of_an_optimizer_is_checked_before_anything_is_updated(
    make: Any, name: str, value: Any, error: type[Exception]
) -> None:
    model, optimizer, step = trained(make)
    settings, before = optimizer.param_groups[0], model.weight.data.copy()
    good = settings[name]
    settings[name] = value
    for _ in range(2):
        with pytest.raises(error, match=rf"{type(optimizer).__name__}: {name} of group 0 must be .*, got"):
            step(X, Y)
    assert np.array_equal(model.weight.data, before) and step.steps == 1
    settings[name] = good
    step(X, Y)
    assert step.steps == 2 and np.isfinite(model.weight.data).all()


@pytest.mark.parametrize("value", [np.float32(0.1), np.array(0.1, np.float32), np.array([0.1], np.float32)])
def test_a_number_in_an_array_is_a_number(value: Any) -> None:
    want, *_, first = trained(sgd)
    got, optimizer, second = trained(sgd)
    optimizer.param_groups[0]["lr"] = value
    assert first(X, Y) == second(X, Y)
    np.testing.assert_allclose(got.weight.data, want.weight.data, rtol=1e-6)


def test_an_array_that_becomes_nan_is_noticed() -> None:
    model, optimizer, step = trained(adam)
    rate = optimizer.param_groups[0]["lr"] = np.array(0.1)
    step(X, Y)
    rate[...], before = NAN, model.weight.data.copy()
    with pytest.raises(ValueError, match="Adam: lr of group 0 must be a finite number of 0 or more, got nan"):
        step(X, Y)
    assert np.array_equal(model.weight.data, before) and step.steps == 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Dropout(NAN), ValueError, r"Dropout: p must be in \[0, 1\], got nan"),
        (lambda: nn.Dropout(None), TypeError, "Dropout: p must be a number, got None"),
        (lambda: F.dropout(X, "0.5"), TypeError, "dropout: p must be a number, got '0.5'"),
        (lambda: nn.UniformDropout(NAN), ValueError, "UniformDropout: beta must be a finite number of 0 or more"),
        (lambda: nn.BatchNorm2d(2, eps=NAN), ValueError, "BatchNorm2d: eps must be a finite number of 0 or more"),
        (lambda: nn.BatchNorm2d(2, eps=-1), ValueError, "BatchNorm2d: eps must be a finite number of 0 or more"),
        (lambda: nn.BatchNorm2d(2, momentum=NAN), ValueError, r"BatchNorm2d: momentum must be in \[0, 1\], got nan"),
        (lambda: F.batch_norm(X, None, None, training=True, eps=NAN), ValueError, "batch_norm: eps must be a finite"),
        (lambda: nn.LeakyReLU(NAN), ValueError, "LeakyReLU: negative_slope must be a finite number, got nan"),
        (lambda: F.leaky_relu(X, math.inf), ValueError, "leaky_relu: negative_slope must be a finite number, got inf"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=NAN), ValueError, r"label_smoothing must be in \[0, 1\], got nan"),
        (lambda: nn.CrossEntropyLoss([1, NAN]), ValueError, "CrossEntropyLoss: weight must hold finite numbers of 0"),
        (lambda: nn.NLLLoss([1, -1]), ValueError, "NLLLoss: weight must hold finite numbers of 0 or more, got -1.0"),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=[math.inf]), ValueError, "BCEWithLogitsLoss: pos_weight must hold"),
        (lambda: nn.init.trunc_normal_(X.copy(), std=1e9), ValueError, "hardly meets a normal distribution"),
        (lambda: nn.init.normal_(X.copy(), std=NAN), ValueError, "normal_: std must be a finite number of 0 or more"),
        (lambda: ne.train.cosine(NAN), ValueError, r"cosine: warmup must be in \[0, 1\), got nan"),
        (lambda: ne.data.random_shift(NAN), ValueError, "random_shift: pixels must be an integer of 0 or more"),
        *(
            (lambda size=size: ne.data.DataLoader((X, Y), size), ValueError, "batch_size must be a positive integer")
            for size in (0, NAN, 2.5, None, True)
        ),
    ],
)
def test_settings_of_layers_losses_and_data(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_layer_whose_setting_became_nan() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[1].eps = NAN
    with pytest.raises(ValueError, match="batch_norm: eps must be a finite number of 0 or more, got nan"):
        model(X)


@pytest.mark.parametrize(("given", "error"), [(NAN, ValueError), (None, TypeError), (-1.0, ValueError)])
def test_what_a_schedule_gives(given: Any, error: type[Exception]) -> None:
    model, optimizer, _ = trained(sgd)
    before = model.weight.data.copy()
    trainer = ne.Trainer(model, optimizer, nn.CrossEntropyLoss())
    with pytest.raises(error, match="Trainer.fit: what the schedule gives must be"):
        trainer.fit(X, Y, epochs=1, schedule=lambda done: given, progress=False)
    assert np.array_equal(model.weight.data, before) and optimizer.param_groups[0]["lr"] == 0.1


def test_the_limits_of_numbers() -> None:
    assert finite(LARGEST, "x") == LARGEST and finite(np.int8(3), "x") == 3.0 and finite(1, "x", 0, 1) == 1.0
    assert whole(np.uint8(3), "n") == 3 and type(whole(np.int64(2), "n")) is int
    for given in (1.0, "1", None, True, -1):
        with pytest.raises(ValueError, match="n must be an integer of 0 or more, got"):
            whole(given, "n")
