"""What a step watches: every change that Python of a model or a loss could see, at the cost of one look where there is
none."""

import abc
import collections
import functools
import random
import types

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.train.watch import Watch


class Slotted:
    __slots__ = ("size",)

    def __init__(self):
        self.size = 1


class Kind(abc.ABC):
    """Whose instances are said from outside."""

    @abc.abstractmethod
    def extent(self):
        """Of what it holds."""


class Scaled:
    factor = 2.0
    table = {"a": [1.0]}

    def __init__(self):
        self.own = 1.0

    def __mul__(self, other):
        return other * self.hidden

    hidden = 3.0


GLOBAL = 1.0
MODULE = types.ModuleType("a_module_of_settings")
MODULE.rate = 0.5
MODULE.other = 1


class Settings(nn.Module):
    shared = 1.0

    def __init__(self):
        super().__init__()
        self.flag, self.rate, self.name, self.nothing, self.one, self.zero = True, 0.5, "mean", None, 1, 0.0
        self.sizes = (2, [3, 4])
        self.table = {"a": [1.0, {"b": 2}]}
        self.names = {"x", "y"}
        self.queue = collections.deque([1, 2])
        self.array, self.number, self.empty = np.arange(3.0), np.array(1), np.zeros(0)
        self.function = abs
        self.space = types.SimpleNamespace(scale=1.0, deep=types.SimpleNamespace(scale=1.0), unread=1)
        self.slotted, self.scaled = Slotted(), Scaled()
        closed = [1.0]
        factor = 1.0

        def closure(x, default=closed):
            return x * factor

        def set_factor(value):
            nonlocal factor
            factor = value

        self.closure, self.set_factor = closure, set_factor
        self.partial = functools.partial(closure, default=[2.0])
        self.unread = 1

    def forward(self, x):
        read = self.flag, self.rate, self.name, self.nothing, self.one, self.sizes, self.table, self.names, self.queue
        read += self.array, self.number, self.empty, self.function, self.scaled * self.shared, self.scaled.factor
        read += self.scaled.table, self.scaled.own, self.slotted.size, self.closure, self.partial
        read += (self.zero,)
        del read
        x = x if isinstance(self.slotted, Kind) else -x
        return x * self.space.scale * self.space.deep.scale * GLOBAL * MODULE.rate


CHANGES = {
    "flag": lambda s: setattr(s, "flag", False),
    "rate": lambda s: setattr(s, "rate", 0.25),
    "name": lambda s: setattr(s, "name", "sum"),
    "nothing": lambda s: setattr(s, "nothing", 0),
    "True for 1": lambda s: setattr(s, "one", True),
    "1.0 for 1": lambda s: setattr(s, "one", 1.0),
    "-0.0 for 0.0": lambda s: setattr(s, "zero", -0.0),
    "NumPy's number": lambda s: setattr(s, "rate", np.float64(0.5)),
    "new": lambda s: setattr(s, "new", 1),
    "gone": lambda s: delattr(s, "rate"),
    "list in a tuple": lambda s: s.sizes[1].append(5),
    "item of a list": lambda s: s.sizes[1].__setitem__(0, 5),
    "dict in a list in a dict": lambda s: s.table["a"][1].update(b=3),
    "key": lambda s: s.table.update(c=1),
    "set": lambda s: s.names.add("z"),
    "another set of as many": lambda s: (s.names.discard("x"), s.names.add("z")),
    "deque": lambda s: s.queue.rotate(),
    "another array": lambda s: setattr(s, "array", s.array + 1),
    "another array of another shape": lambda s: setattr(s, "array", np.zeros((2, 2))),
    "shape of an array": lambda s: setattr(s.array, "shape", (3, 1)),
    "content of an array": lambda s: s.array.__setitem__(0, 7),
    "another array of one number": lambda s: setattr(s, "number", np.array([1])),
    "another empty array": lambda s: setattr(s, "empty", np.zeros((0, 1))),
    "another function": lambda s: setattr(s, "function", lambda x: abs(x)),
    "attribute of an object": lambda s: setattr(s.space, "scale", 2.0),
    "attribute of an object in an object": lambda s: setattr(s.space.deep, "scale", 2.0),
    "slot": lambda s: setattr(s.slotted, "size", 2),
    "attribute of an object of a class": lambda s: setattr(s.scaled, "own", 2.0),
    "attribute of the module's class": lambda s: setattr(Settings, "shared", Settings.shared + 1),
    "attribute of an object's class": lambda s: setattr(Scaled, "factor", Scaled.factor + 1),
    "container of an object's class": lambda s: Scaled.table["a"].append(1),
    "what only an operator reads": lambda s: setattr(Scaled, "hidden", Scaled.hidden + 1),
    "variable of a closure": lambda s: s.set_factor(2.0),
    "default": lambda s: s.closure.__defaults__[0].append(1),
    "argument of a partial": lambda s: s.partial.keywords["default"].append(1),
    "what is an instance": lambda s: Kind.register(Slotted),
    "global": lambda s: globals().update(GLOBAL=GLOBAL + 1),
    "global of another module": lambda s: setattr(MODULE, "rate", MODULE.rate + 1),
    "forward of one object": lambda s: setattr(s, "forward", lambda x: x),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed(change):
    settings = Settings()
    watch = Watch([Settings(), settings])
    assert not watch.unseen
    assert watch.unchanged() and not watch.renew()
    change(settings)
    assert not watch.unchanged()
    assert watch.renew()
    assert watch.unchanged() and not watch.renew()


def test_what_is_equal_or_read_by_nothing_is_no_change():
    settings = Settings()
    watch = Watch([settings])
    settings.rate = float("0.5")
    settings.name = "".join(["me", "an"])
    settings.unread = settings.space.unread = 7
    assert not watch.renew() and watch.unchanged()


def test_what_cannot_be_watched_is_said():
    for value, said in (
        (iter([1]), "list_iterator"),
        ((i for i in range(3)), "generator"),
        (optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0), "SGD"),
        (np.array([object()]), "an array of objects"),
    ):
        settings = Settings()
        settings.function = value
        assert said in Watch([settings]).unseen
    code = {}
    exec("import time\ndef f(x):\n    return x * time.time()", code)
    assert Watch([code["f"]]).unseen == "module time"
    assert "open()" in Watch([lambda x: open("a")]).unseen  # noqa: SIM115


def test_generators_that_can_be_drawn_from_are_told_apart():
    own = np.random.default_rng(0)
    watch = Watch([lambda x: own.random()])
    for draw in (random.random, np.random.rand, own.random, lambda: ne.rand(2)):
        before = watch.generators()
        assert watch.generators() == before
        draw()
        assert watch.generators() != before


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 3)
        self.scales = {"relu": [1.0]}

    def forward(self, x):
        return self.head(nn.functional.relu(self.norm(self.conv(x)) * self.scales["relu"][0]).flatten(1))


X = np.random.default_rng(0).standard_normal((4, 2, 4, 4)).astype(np.float32)
Y = np.arange(4) % 3


def made(**settings):
    ne.manual_seed(0)
    model = Net()
    loss = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **settings)
    step = ne.TrainStep(model, loss, optimizer)
    step(X, Y)
    return model, loss, optimizer, step


ANEW = {
    "training": lambda m, loss, o: m.norm.eval(),
    "a layer": lambda m, loss, o: setattr(m, "norm", nn.Identity()),
    "a frozen parameter": lambda m, loss, o: setattr(m.conv.weight, "requires_grad", False),
    "a parameter": lambda m, loss, o: setattr(m.conv, "bias", None),
    "the loss": lambda m, loss, o: setattr(loss, "label_smoothing", 0.1),
    "the form of the update": lambda m, loss, o: o.param_groups[0].update(nesterov=True),
    "the momentum": lambda m, loss, o: o.param_groups[0].update(momentum=0.0),
}


@pytest.mark.parametrize("change", ANEW.values(), ids=ANEW)
def test_another_computation_compiles_anew(change):
    model, loss, optimizer, step = made()
    program = step.program
    step(X, Y)
    assert step.program is program
    change(model, loss, optimizer)
    step(X, Y)
    assert step.program is not program


SAME = {
    "learning rate": lambda m, o: o.param_groups[0].update(lr=0.01),
    "weight decay": lambda m, o: o.param_groups[0].update(weight_decay=0.02),
    "weights": lambda m, o: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}),
    "an array in a buffer's place": lambda m, o: setattr(m.norm, "running_mean", np.ones(4, np.float32)),
    "a counter in a buffer's place": lambda m, o: setattr(m.norm, "num_batches_tracked", np.array(5)),
    "momentum of a norm": lambda m, o: setattr(m.norm, "momentum", 0.5),
    "a number in a container": lambda m, o: m.scales["relu"].__setitem__(0, 2.0),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_other_values_compile_nothing_and_count(change):
    model, _, optimizer, step = made(weight_decay=0.01)
    program = step.program
    change(model, optimizer)
    tracked = int(model.norm.num_batches_tracked)
    twin, _, other, old = made(weight_decay=0.01)
    change(twin, other)
    fresh = ne.TrainStep(twin, nn.CrossEntropyLoss(), other, seed=old.seed)
    assert step(X, Y) == fresh(X, Y)
    assert step.program is program
    assert int(model.norm.num_batches_tracked) == tracked + 1
    np.testing.assert_array_equal(model.norm.running_mean, twin.norm.running_mean)
    np.testing.assert_array_equal(model.conv.weight.data, twin.conv.weight.data)


def test_a_group_that_is_added_counts():
    model = Net()
    optimizer = optim.SGD(model.conv.parameters(), lr=0.1)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    step(X, Y)
    before = model.head.weight.data.copy()
    optimizer.add_param_group({"params": list(model.head.parameters()), "lr": 0.5})
    step(X, Y)
    assert not np.array_equal(model.head.weight.data, before)


def test_objects_that_defend_themselves_are_not_looked_into():
    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

        @property
        def __dict__(self):
            raise KeyError("no")

    settings = Settings()
    settings.function = Odd()
    assert Watch([settings]).unseen == "an object that raises KeyError when it is looked into"
    code = {}
    exec("import sys\ndef f(x):\n    return x * len(sys.modules)", code)
    assert Watch([code["f"]]).unseen == "module sys"
