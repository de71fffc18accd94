"""A training that was saved, and goes on in another process, is the training that was never cut off, bit for bit."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.data import DataLoader, random_shift

EPOCHS = 4
HERE = Path(__file__)

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
}


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((50, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 50)


def parts(name, seed):
    """A model with all that draws random numbers, and an optimizer with all that it keeps."""
    ne.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), nn.Dropout2d(0.2),
        nn.GaussianDropout(0.1), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 3),
    )  # fmt: skip
    return model, OPTIMIZERS[name](model.parameters())


def digest(model, optimizer):
    arrays = [*model.state_dict().values()]
    for _, kept in sorted(optimizer.state_dict()["state"].items()):
        arrays += [np.asarray(kept[key]) for key in sorted(kept)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def fitted(name, path=None, until=EPOCHS, seed=0):
    """Fits to the end, or until an epoch after which everything is saved; goes on where a file is found."""
    model, optimizer = parts(name, seed)
    trainer = ne.Trainer(model, optimizer, nn.CrossEntropyLoss(), seed=seed)
    if path is not None and path.exists():
        state = pickle.loads(path.read_bytes())
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        trainer.load_state_dict(state["trainer"])

    def callback(record):
        if record.epoch == until < EPOCHS:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "trainer": trainer.state_dict()}
            path.write_bytes(pickle.dumps(state))
            return False

    x, y = data()
    history = trainer.fit(
        x, y, epochs=EPOCHS, initial_epoch=len(trainer.history), batch_size=16, validation=0.2, augment=random_shift(1),
        schedule=ne.train.cosine(warmup=0.3), callback=callback, progress=False,
    )  # fmt: skip
    records = [[e.epoch, e.loss, e.accuracy, e.val_loss, e.val_accuracy, list(e.lr)] for e in history]
    return {"digest": digest(model, optimizer), "records": records}


def stepped(name, path=None, until=EPOCHS, seed=0):
    """As :func:`fitted`, with a loop of the user's."""
    model, optimizer = parts(name, seed)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer, seed=seed)
    loader = DataLoader(data(), 16, shuffle=True, seed=seed, augment=random_shift(1))
    named = {"model": model, "optimizer": optimizer, "step": step, "loader": loader}
    if path is not None and path.exists():
        state = pickle.loads(path.read_bytes())
        for key, owner in named.items():
            owner.load_state_dict(state[key])
    losses = []
    while loader.epoch < until:
        losses += [step(x, y) for x, y in loader]
    if path is not None:
        path.write_bytes(pickle.dumps({key: owner.state_dict() for key, owner in named.items()}))
    return {"digest": digest(model, optimizer), "records": losses}


WAYS = {"fit": fitted, "steps": stepped}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_with_the_same_bits(way, name, tmp_path):
    """The second process draws other weights and another seed before it loads."""
    path = tmp_path / "training.pickle"
    whole = WAYS[way](name)
    first = WAYS[way](name, path, until=2)
    assert first["digest"] != whole["digest"]
    command = [sys.executable, HERE, way, name, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    second = json.loads(done.stdout)
    assert second["digest"] == whole["digest"]
    taken = second["records"] if way == "fit" else first["records"] + second["records"]
    assert taken == whole["records"]


def trainer():
    model, optimizer = parts("adam", 0)
    return ne.Trainer(model, optimizer, nn.CrossEntropyLoss(), seed=3)


def test_state_is_plain_values():
    owner = trainer()
    x, y = data()
    owner.fit(x, y, epochs=2, validation=(x, y), progress=False)
    state = owner.state_dict()
    assert state["seed"] == 3 and state["step"] == {"seed": 3, "steps": 4} and len(state["history"]) == 2
    other = trainer()
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.history.epochs == owner.history.epochs and other.state_dict() == state
    assert other.step.steps == 4 and len(pickle.dumps(state)) < 1000


RECORD = {"epoch": 1, "loss": 1.0, "accuracy": None, "val_loss": None, "val_accuracy": None, "lr": [0.1], "seconds": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "Trainer: saved seed must be an integer of 0 or more, got -1"),
        ({"step": {"seed": 0, "steps": -1}}, "TrainStep: saved steps must be an integer of 0 or more, got -1"),
        ({"step": {"seed": "a", "steps": 1}}, "TrainStep: saved seed must be an integer, got 'a'"),
        (
            {"step": {"steps": 1}},
            "TrainStep: state_dict must be what state_dict.* 'seed', 'steps', got a dict with 'st",
        ),
        ({"step": None}, "TrainStep: state_dict must be what .* got NoneType"),
        ({"history": None}, "History: state_dict must be a list of epochs, got NoneType"),
        ({"history": [RECORD, {}]}, "History: epoch 1 of state_dict must be .* 'seconds', got a dict with nothing"),
        ({"history": [RECORD | {"loss": None}]}, "History: epoch 0 of state_dict: loss must be a number, got None"),
        ({"history": [RECORD | {"lr": 0.1}]}, "epoch 0 of state_dict: lr must be a list of numbers, got 0.1"),
        ({"history": [RECORD | {"lr": ["a"]}]}, "epoch 0 of state_dict: lr must be a number, got 'a'"),
    ],
)
def test_a_state_that_is_none_changes_nothing(change, message):
    owner = trainer()
    state = {"seed": 1, "step": {"seed": 1, "steps": 7}, "history": [RECORD]}
    before = owner.state_dict()
    with pytest.raises(ValueError, match=message):
        owner.load_state_dict(state | change)
    with pytest.raises(ValueError, match="Trainer: state_dict must be what .* 'history', got a dict with 'model'"):
        owner.load_state_dict({"model": {}})
    assert owner.state_dict() == before
    owner.load_state_dict(state)
    assert owner.state_dict()["step"] == state["step"] and owner.history.lr == [(0.1,)]


def test_a_step_that_is_at_work_takes_no_state():
    """As from a signal handler."""
    model, optimizer = parts("sgd", 0)
    x, y = data()

    def loss(out, target):
        for load in (
            lambda: step.load_state_dict(step.state_dict()),
            lambda: owner.load_state_dict(owner.state_dict()),
        ):
            with pytest.raises(RuntimeError, match="while this step is at work in the same thread"):
                load()
        return nn.CrossEntropyLoss()(out, target)

    owner = ne.Trainer(model, optimizer, loss)
    step = owner.step
    step(x, y)
    assert step.steps == 1


if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), seed=9)))
