"""What Python can read without an attribute's name in its code: after each change, a step is that of one built anew."""

import collections
import copy
import itertools

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.nn import functional as F
from normengine.train.watch import Watch

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = np.arange(8) % 3
STORED = 1.0


class Net(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.layer, self.inside = nn.Linear(4, 3), inside
        self.register_buffer("level", np.zeros(2, np.float32))

    def forward(self, x):
        return self.inside(self, self.layer(x))


def made(inside, loss=None, **attributes):
    ne.manual_seed(0)
    model = Net(inside)
    for name, value in attributes.items():
        setattr(model, name, value)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    return model, ne.TrainStep(model, loss or nn.CrossEntropyLoss(), optimizer, seed=1)


def anew(step):
    """The loss of a step that knows nothing of before."""
    other = ne.TrainStep(step.model, step.loss, step.optimizer, seed=1)
    other._steps[()] = step.steps - 1
    return other(X, Y)


class Scale:
    factor = 1.0


def scaled(value):
    return value * Scale.factor


def stores(model, x):
    global STORED
    STORED = 2.0
    return x


def set_stored(model):
    global STORED
    STORED = 7.0


def renamed(model):
    model.__dict__["other"] = model.__dict__.pop("a")


CASES = {
    "named buffers": (lambda m, x: x * 2 if dict(m.named_buffers())["level"].sum() > 0 else x, None),
    "a named buffer": (lambda m, x: x * 2 if m.get_buffer("level").sum() > 0 else x, None),
    "buffers": (lambda m, x: x * 2 if next(m.buffers()).sum() > 0 else x, None),
    "state_dict": (lambda m, x: x * 2 if m.state_dict()["level"].sum() > 0 else x, None),
    "the table of buffers": (lambda m, x: x * 2 if m._buffers["level"].sum() > 0 else x, None),
    "a buffer as a tensor": (lambda m, x: x * (1 + m.get_buffer("level").sum()), None),
    "a name in another's place": (lambda m, x: x * getattr(m, "a", 3.0), renamed),
    "NumPy's polynomial": (lambda m, x: x * m.polynomial(2.0), lambda m: m.polynomial.__setitem__(0, 5.0)),
    "a function in NumPy's object": (lambda m, x: x * float(m.vector(2.0)), lambda m: setattr(Scale, "factor", 3.0)),
    "a standard container": (lambda m, x: x * m.table["a"], lambda m: m.table.update(a=5.0)),
    "a global that forward stores": (stores, set_stored),
}


@pytest.mark.parametrize(("inside", "change"), CASES.values(), ids=CASES)
def test_it_is_followed(inside, change):
    Scale.factor = 1.0
    loss = (lambda output, target: F.cross_entropy(output, target) * STORED) if inside is stores else None
    attributes = {"a": 2.5, "polynomial": np.poly1d([1.0, 2.0]), "vector": np.vectorize(scaled)}
    model, step = made(inside, loss, table=collections.UserDict(a=2.0), **attributes)
    before = [step(X, Y) for _ in range(2)]
    assert before[0] == before[1] == anew(step)
    (change or (lambda m: m.level.fill_(1)))(model)
    after = step(X, Y)
    assert after == anew(step)
    assert inside is stores or after != before[0]


def test_classes_of_c_hide_what_they_hold():
    class Counts(itertools.count):
        pass

    for value in (Counts(1), itertools.cycle([1])):
        model, step = made(lambda m, x: x * next(m.numbers), numbers=value)
        step(X, Y)
        assert step.traced_again.startswith("forward reads what cannot be watched: an object of type")
    assert Watch([lambda x: x * np.load("file.npy")]).unseen == "load in <lambda>"


def test_a_step_differentiates_wherever_it_is_called():
    seen = []
    _, step = made(lambda m, x: (seen.append(ne.is_grad_enabled()), x)[1])
    with ne.no_grad():
        step(X, Y)
    assert seen == [True]


def test_groups_may_be_tuples():
    _, step = made(lambda m, x: x)
    first = step(X, Y)
    group = step.optimizer.param_groups[0]
    group["params"] = tuple(group["params"])
    assert step(X, Y) == step(X, Y) == first


class Weighted(nn.Module):
    """A loss whose array is a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", np.ones(3, np.float32))

    def forward(self, output, target):
        return F.cross_entropy(output, target, weight=self.weight)


def test_other_arrays_in_the_place_of_a_losss_buffer():
    loss = Weighted()
    _, step = made(lambda m, x: x, loss)
    rng = np.random.default_rng(0)
    for _ in range(20):
        loss.weight = rng.uniform(0.1, 2, 3).astype(np.float32)
        assert step(X, Y) == anew(step)
    assert len(step.programs) == 1


def test_who_holds_what_forward_assigned_over_keeps_it():
    """The array of before is read by the loss, which gets it as it was."""

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.mean = nn.Linear(4, 3), ne.full((3,), 2.0)

        def forward(self, x):
            x = self.layer(x)
            self.mean = self.mean * 0 + x.mean(0).detach()
            return x

    ne.manual_seed(0)
    model = Keeps()
    first = model.mean
    loss = lambda output, target: F.cross_entropy(output, target) + (output * 0 + first).sum()
    step = ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.0), seed=1)
    for _ in range(3):
        plain = float(F.cross_entropy(model.layer(X), Y))
        assert step(X, Y) == pytest.approx(plain + 8 * 3 * 2.0, rel=1e-5)


def test_copies_share_nothing():
    _, step = made(lambda m, x: x)
    step(X, Y)
    one, other = copy.copy(step), copy.copy(step)
    one(X, Y)
    assert len(one.programs) == 1 and not other.programs
