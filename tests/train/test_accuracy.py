"""What counts as right: of classes, of two classes an element, of labels that a loss ignores; and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.train.accuracy import Tally, accuracy_of

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((40, 5)).astype(np.float32)
LABELS = np.where(RNG.random(40) < 0.5, SCORES.argmax(1), RNG.integers(0, 5, 40))


def test_scores_of_classes():
    expected = sum(int(s.argmax() == y) for s, y in zip(SCORES, LABELS, strict=True)) / 40
    assert 0.4 < expected < 0.9
    assert accuracy_of(nn.CrossEntropyLoss(), SCORES, LABELS) == expected
    assert accuracy_of(F.cross_entropy, SCORES, LABELS) == expected
    images = SCORES.reshape(4, 2, 5, 5).transpose(0, 2, 1, 3)
    assert accuracy_of(nn.CrossEntropyLoss(), images, images.argmax(1)) == 1


@pytest.mark.parametrize("ignored", [-100, 2, 9])
def test_labels_that_are_ignored_do_not_count(ignored):
    labels = LABELS.copy()
    labels[:20] = ignored
    counted = labels != ignored
    expected = (SCORES.argmax(1) == labels)[counted].mean()
    assert accuracy_of(nn.CrossEntropyLoss(ignore_index=ignored), SCORES, labels) == expected
    if ignored != 2:  # what a function of the user's ignores can be no class alone
        assert accuracy_of(lambda out, y: F.cross_entropy(out, y, ignore_index=ignored), SCORES, labels) == expected
    assert accuracy_of(nn.CrossEntropyLoss(ignore_index=ignored), SCORES, np.full(40, ignored)) is None


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits])
@pytest.mark.parametrize("shape", [(40,), (40, 1), (8, 5)])
def test_two_classes_an_element(loss, dtype, shape):
    """As an evaluation, whatever the type of the targets, and in the record of an epoch."""
    ne.manual_seed(0)
    x = RNG.standard_normal((shape[0], 3)).astype(np.float32)
    y = (RNG.random(shape) < 0.5).astype(dtype)
    outputs = shape[1] if len(shape) == 2 else 1
    model = nn.Sequential(nn.Linear(3, outputs), *([nn.Flatten(0)] if len(shape) == 1 else []))
    trainer = ne.Trainer(model, optim.SGD(model.parameters(), lr=0.0), loss)
    expected = ((trainer.predict(x) > 0) == (y > 0)).mean()
    assert trainer.evaluate(x, y).accuracy == pytest.approx(expected)
    (record,) = trainer.fit(x, y, epochs=1, batch_size=8, progress=False)
    assert record.accuracy == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (nn.CrossEntropyLoss(), SCORES, SCORES),
        (nn.MSELoss(), SCORES[:, 0], LABELS),
        (nn.MSELoss(), SCORES, LABELS[:, None]),
        (lambda out, y: F.mse_loss(out[:, 0], y), SCORES[:, :1], LABELS),
        (nn.BCEWithLogitsLoss(), SCORES, LABELS),
        (nn.CrossEntropyLoss(), (SCORES, SCORES), LABELS),
        (nn.CrossEntropyLoss(), {"out": SCORES}, LABELS),
    ],
)
def test_what_has_no_accuracy(loss, outputs, targets):
    assert accuracy_of(loss, outputs, targets) is None


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_batches_that_wait_are_all_counted(size):
    """Whatever the caller does to its arrays of targets afterwards."""
    scores = RNG.standard_normal((20000, 10)).astype(np.float32)
    labels = RNG.integers(0, 10, 20000)
    tally, buffer = Tally(nn.CrossEntropyLoss()), np.empty(size, np.int64)
    for i in range(0, 20000 - size + 1, size):
        buffer[:] = labels[i : i + size]
        tally.add(scores[i : i + size], buffer)
    used = 20000 // size * size
    assert tally.accuracy() == (scores.argmax(1) == labels)[:used].mean()
    assert Tally(nn.CrossEntropyLoss()).accuracy() is None


def trainer(model, loss, lr=0.0):
    return ne.Trainer(model, optim.SGD(model.parameters(), lr=lr), loss, seed=0)


@pytest.mark.usefixtures("backend")
def test_the_record_of_an_epoch_has_the_accuracy_of_its_steps():
    """In training mode, before each update: with rates of 0 and no dropout it is that of the batch's statistics."""
    ne.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    x, y = RNG.standard_normal((50, 4)).astype(np.float32), RNG.integers(0, 3, 50)
    (record,) = trainer(model, nn.CrossEntropyLoss()).fit(x, y, epochs=1, batch_size=16, shuffle=False, progress=False)
    right = [(model(x[i : i + 16]).argmax(1) == y[i : i + 16]).sum() for i in (0, 16, 32, 48)]
    assert record.accuracy == sum(right) / 50 and record.val_accuracy is None


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ([], nn.CrossEntropyLoss()),
        ([nn.LogSoftmax(1)], nn.NLLLoss()),
        ([], lambda out, y: F.cross_entropy(out, y)),
        ([], nn.CrossEntropyLoss(ignore_index=1, weight=[1, 2, 3])),
    ],
)
def test_counting_changes_no_bit_of_training(last, loss):
    x, y = RNG.standard_normal((48, 1, 4, 4)).astype(np.float32), RNG.integers(0, 3, 48)
    y[:3] = 0

    def losses(rated):
        ne.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3), *last)
        step = ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), seed=0)
        step._rated = rated
        assert (step._train(x, y)[1] is not None) == rated
        return [step(x, y) for _ in range(3)], [a.tobytes() for a in model.state_dict().values()]

    assert losses(True) == losses(False)


@pytest.mark.parametrize(
    ("model", "loss", "target"),
    [
        (nn.Conv2d(1, 3, 1), nn.CrossEntropyLoss(), np.zeros((4, 5, 5), int)),  # a prediction for each pixel
        (nn.Conv2d(1, 1, 1), nn.BCEWithLogitsLoss(), np.zeros((4, 1, 5, 5))),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 25)), nn.MSELoss(), np.zeros((4, 25))),
    ],
)
def test_what_would_cost_time_or_means_nothing_is_not_given(model, loss, target):
    owner = trainer(model, loss)
    (record,) = owner.fit(np.zeros((4, 1, 5, 5), np.float32), target, epochs=1, progress=False)
    assert record.accuracy is None
    assert len(owner.step.program.plan.graph.outputs) == 1


def test_a_step_by_itself_gives_no_outputs():
    model = nn.Linear(4, 3)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    step(np.zeros((2, 4), np.float32), np.zeros(2, int))
    assert len(step.program.plan.graph.outputs) == 1


def test_a_loss_that_changes_the_outputs_in_place():
    ne.manual_seed(0)
    model = nn.Linear(4, 3)
    x = RNG.standard_normal((20, 4)).astype(np.float32)

    def loss(out, y):
        out *= -1
        return F.cross_entropy(out, y)

    (record,) = trainer(model, loss).fit(x, model(x).argmax(1), epochs=1, progress=False)
    assert record.accuracy == 1


def test_a_model_that_gives_back_what_it_was_given():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones(3))

        def forward(self, x):
            return x

    model = Scale()
    owner = trainer(model, lambda out, y: F.cross_entropy(out * model.weight, y))
    (record,) = owner.fit(np.eye(3, dtype=np.float32), np.arange(3), epochs=1, progress=False)
    assert record.accuracy is None and record.loss > 0
