"""Models of several outputs: predictions in tuples and dicts as the model gives them, evaluated by their loss."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.data import DataLoader
from normengine.nested import flattened
from normengine.nn.tensor import Tensor

Heads = namedtuple("Heads", "wide narrow")
FORMS = {
    "tuple": lambda wide, narrow: (wide, narrow),
    "list": lambda wide, narrow: [wide, narrow],
    "dict": lambda wide, narrow: {"wide": wide, "narrow": narrow},
    "named": Heads,
    "nested": lambda wide, narrow: {"heads": (wide, [narrow, None]), "kind": "two"},
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def leaves(outputs):
    return flattened(outputs, np.ndarray)[0]


class TwoHeads(nn.Module):
    def __init__(self, form, widths=(7, 2)):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.wide, self.narrow = (nn.Linear(16, width) for width in widths)
        self.form = form

    def forward(self, x):
        features = self.body(x)
        return self.form(self.wide(features), self.narrow(features))


def loss_of(outputs, y):
    wide, narrow = flattened(outputs, Tensor)[0]
    return F.cross_entropy(wide, y) + 0.5 * F.cross_entropy(narrow, y)


def trainer(form, widths=(7, 2)):
    ne.manual_seed(0)
    model = TwoHeads(form, widths)
    return ne.Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss_of, seed=0)


def data(count):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 1, 4, 4)).astype(np.float32), rng.integers(0, 2, count)


@every_form
@pytest.mark.parametrize("count", [5, 300, 512])
def test_predictions_have_the_form_that_the_model_gives(form, count):
    owner, (x, _) = trainer(form), data(count)
    outputs = owner.predict(x)
    owner.model.eval()
    expected = owner.model(x)
    assert type(outputs) is type(expected)
    assert [a.shape for a in leaves(outputs)] == [(count, 7), (count, 2)]
    for found, whole in zip(leaves(outputs), leaves(expected), strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    if isinstance(outputs, dict) and "kind" in outputs:
        assert outputs["kind"] == "two" and outputs["heads"][1][1] is None


def cross_entropy(scores, y):
    scores = scores.astype(np.float64)
    logp = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return -logp[np.arange(len(y)), y].mean()


@every_form
@pytest.mark.parametrize("count", [5, 300, 512])
def test_evaluations_give_the_loss_what_the_model_gives(form, count):
    owner, (x, y) = trainer(form), data(count)
    wide, narrow = leaves(owner.predict(x))
    expected = cross_entropy(wide, y) + 0.5 * cross_entropy(narrow, y)
    for found in (owner.evaluate(x, y), owner.evaluate(DataLoader((x, y), 100)), owner.evaluate(x, y, batch_size=64)):
        assert found.loss == pytest.approx(expected, rel=1e-5)
        assert found.accuracy is None


@every_form
def test_training_validates(form):
    owner, (x, y) = trainer(form, (3, 3)), data(300)
    history = owner.fit(x, y, epochs=2, validation=(x, y), progress=False)
    assert history.val_loss[1] == owner.evaluate(x, y).loss
    assert history.accuracy == history.val_accuracy == [None, None]


class Pooled(nn.Module):
    """Gives besides what it makes of the samples something that is not one of each."""

    def __init__(self, other):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.temperature = nn.Parameter(np.ones(1))
        self.other = other

    def forward(self, x):
        return self.linear(x), self.other(self, x)


@pytest.mark.parametrize(
    ("other", "shape"),
    [
        (lambda model, x: x.mean(), "()"),
        (lambda model, x: model.temperature, "(1,)"),
        (lambda model, x: x.mean(0), "(4,)"),
    ],
)
def test_outputs_that_are_not_one_of_each_sample(other, shape):
    model = Pooled(other)
    owner = ne.Trainer(model, optim.SGD(model.parameters()), nn.CrossEntropyLoss())
    message = f"Trainer.predict: an output has shape {shape} for 256 samples"
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        owner.predict(np.zeros((300, 4), np.float32))


def test_outputs_that_are_numbers_of_the_batch():
    model = Pooled(lambda model, x: len(x))
    owner = ne.Trainer(model, optim.SGD(model.parameters()), nn.CrossEntropyLoss())
    assert owner.predict(np.zeros((512, 4), np.float32))[1] == 256
    with pytest.raises(ValueError, match=r"Trainer.predict\[1\] must be the same for each batch, got 256 first"):
        owner.predict(np.zeros((300, 4), np.float32))


def test_several_rows_a_sample():
    """A model that takes images apart gives as many for each."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1))
    owner = ne.Trainer(model, optim.SGD(model.parameters()), nn.MSELoss())
    assert owner.predict(np.zeros((300, 1, 2, 4), np.float32)).shape == (600, 3)


def test_images_of_several_sizes():
    """Outputs of unlike shapes cannot be evaluated at once."""
    model = nn.Conv2d(1, 2, 1)
    owner = ne.Trainer(model, optim.SGD(model.parameters()), nn.MSELoss())
    batches = [(np.zeros((2, 1, s, s), np.float32), np.zeros((2, 2, s, s), np.float32)) for s in (3, 4)]
    with pytest.raises(ValueError, match=r"must have the same shape for each sample, got .*\(2, 3, 3\)"):
        owner.evaluate(batches)
