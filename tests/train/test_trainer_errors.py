"""What a trainer refuses, in words, and what a refused batch leaves unchanged."""

import re

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.data import DataLoader

TUPLE = "must be one array, got a tuple of 2 parts of unlike shapes; put several targets side by side"


def two(y):
    return y[:, None].repeat(2, 1)


def trainer():
    ne.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return ne.Trainer(model, optimizer, nn.CrossEntropyLoss(), seed=0)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 1, 4, 4)).astype(np.float32), rng.integers(0, 3, 20)


def state(owner):
    return {name: np.array(array) for name, array in owner.model.state_dict().items()}


def test_bad_label_names_epoch_and_batch(data):
    x, y = data
    y[9] = 3
    owner = trainer()
    batches = [(x[:8], y[:8]), (x[8:16], y[8:16])]
    seen = []
    with pytest.raises(ValueError, match=r"epoch 1, batch 2: .*labels must be in 0\.\.2 for 3 classes, got 3") as error:
        owner.fit((seen.append(state(owner)) or batch for batch in batches), epochs=1, progress=False)
    assert type(error.value) is ValueError
    assert all(np.array_equal(seen[1][name], array) for name, array in state(owner).items())
    assert not len(owner.history)


def test_loss_that_is_not_finite_names_epoch_and_batch(data):
    x, y = data
    x[12] = np.nan
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2: .*the loss is nan"):
        trainer().fit(x, y, epochs=1, batch_size=10, shuffle=False, progress=False)


def test_images_that_do_not_fit_name_the_layer(data):
    x, y = data
    with pytest.raises(ValueError, match="epoch 1, batch 1: .*Conv2d '0': input has 2 channels, weight expects 1"):
        trainer().fit(np.concatenate([x, x], axis=1), y, epochs=1, progress=False)


def test_integer_images(data):
    x, y = data
    with pytest.raises(ValueError, match=re.escape("convert with x.astype(np.float32) / 255")):
        trainer().fit((255 * x).astype(np.uint8), y, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: {"y": y[:19]}, r"one entry a sample, got shapes \(20, 1, 4, 4\) and \(19,\)"),
        (lambda x, y: {"x": x[:0], "y": y[:0]}, "the data set has no samples"),
        (lambda x, y: {"y": None}, "y is missing"),
        (lambda x, y: {"epochs": -1}, "epochs must be an integer of 0 or more, got -1"),
        (lambda x, y: {"epochs": 1.5}, "epochs must be an integer of 0 or more, got 1.5"),
        (lambda x, y: {"x": 5, "y": None}, "y is missing"),
        (lambda x, y: {"validation": (x, y[:3])}, "validation x has 20 samples, y has 3"),
        (lambda x, y: {"validation": (x, y, y)}, r"validation must be a pair of arrays \(x, y\), .* got 3 parts"),
        (lambda x, y: {"validation": 1}, "validation must be a pair .*, a loader, or a share such as 0.1, got 1"),
        (lambda x, y: {"validation": x}, "a loader, or a share such as 0.1, got a ndarray"),
        (lambda x, y: {"validation": {"x": x}}, "a loader, or a share such as 0.1, got a dict"),
        (lambda x, y: {"validation": iter([(x, y)])}, "validation: a generator gives its batches once"),
        (lambda x, y: {"y": (y, two(y))}, f"Trainer.fit: y {TUPLE}"),
        (lambda x, y: {"y": [[0], [1, 2]] * 10}, "Trainer.fit: y must be one array, got a list of 20 parts of unlike"),
        (lambda x, y: {"x": (x, x[:, :, 0])}, "Trainer.fit: x must be one array, got a tuple of 2 parts of unlike"),
        (lambda x, y: {"validation": (x, (y, two(y)))}, f"Trainer.fit: validation y {TUPLE}"),
        (lambda x, y: {"x": [(x, (y, two(y)))], "y": None}, f"epoch 1, batch 1: TrainStep: y {TUPLE}"),
        (lambda x, y: {"x": [{"x": x, "y": y}], "y": None}, r"expected a pair \(x, y\), got dict; let the loader"),
        (lambda x, y: {"x": [(x, {"a": y})], "y": None}, "y must be integer labels or float32 targets, got a dict"),
        (lambda x, y: {"x": [({"a": x}, y)], "y": None}, "x must be float32, got a dict; give an array of float32"),
        (lambda x, y: {"initial_epoch": 3}, "initial_epoch 3 is beyond the 2 epochs"),
        (lambda x, y: {"initial_epoch": -1}, "initial_epoch must be an integer of 0 or more, got -1"),
        (lambda x, y: {"validation": np.float32("nan")}, "validation=nan is no share of 20 samples"),
        (
            lambda x, y: {"validation": ((255 * x).astype(np.uint8), y)},
            "validation x must be floating point, got uint8",
        ),
        (lambda x, y: {"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        (lambda x, y: {"x": iter([(x, y)]), "y": None}, "a generator gives its batches once"),
        (lambda x, y: {"x": DataLoader((x, y)), "y": None, "validation": 0.5}, "validation must be arrays"),
        (lambda x, y: {"x": [], "y": None}, "the loader gave no batches"),
        (lambda x, y: {"x": [x], "y": None}, r"epoch 1, batch 1: expected a pair \(x, y\), got ndarray"),
    ],
)
def test_arguments(data, change, message):
    x, y = data
    owner = trainer()
    before = state(owner)
    arguments = {"x": x, "y": y, "epochs": 2, "progress": False} | change(x, y)
    with pytest.raises(ValueError, match=message):
        owner.fit(**arguments)
    assert all(np.array_equal(before[name], array) for name, array in state(owner).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: [(x, y, y)], r"Trainer.evaluate, batch 1: expected a pair \(x, y\), got 3 parts"),
        (lambda x, y: [(x, (y, two(y)))], f"Trainer.evaluate: y {TUPLE}"),
        (lambda x, y: DataLoader((x, two(y)), 8), r"target must have shape \(20,\)"),
        (
            lambda x, y: [(x, y), (x, two(y))],
            r"Trainer.evaluate must have the same shape for each sample, got .*\(2,\)",
        ),
        (lambda x, y: [(x, y), (x, y[:3])], "Trainer.evaluate: x has 20 samples, y has 3"),
        (lambda x, y: iter(()), "Trainer.evaluate: the loader gave no batches"),
    ],
)
def test_loaders_that_cannot_be_evaluated(data, change, message):
    owner = trainer()
    with pytest.raises(ValueError, match=message):
        owner.evaluate(change(*data))
    with pytest.raises(ValueError, match=message):
        owner.fit(*data, epochs=1, validation=change(*data), progress=False)
    assert not len(owner.history)


def test_predict_and_evaluate(data):
    x, y = data
    with pytest.raises(ValueError, match=r"x is an empty batch, shape \(0, 1, 4, 4\)"):
        trainer().predict(x[:0])
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        trainer().predict(x, batch_size=0)
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 1.5"):
        trainer().predict(x, batch_size=1.5)
    with pytest.raises(ValueError, match="y is missing"):
        trainer().evaluate(x)
    with pytest.raises(ValueError, match="x has 20 samples, y has 5"):
        trainer().evaluate(x, y[:5])
    with pytest.raises(ValueError, match="labels must be|label"):
        trainer().evaluate(x, y + 3)
    owner = trainer()
    with pytest.raises(ValueError, match="has 2 channels"):
        owner.predict(np.concatenate([x, x], axis=1))
    assert all(module.training for module in owner.model.modules())
