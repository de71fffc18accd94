"""What a step watches: every change that a trace could see is noticed, and none that it could not compiles anew."""

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.train.watch import Watch


class Settings:
    def __init__(self):
        self.flag, self.rate, self.name, self.nothing = True, 0.5, "mean", None
        self.sizes = (2, [3, 4])
        self.table = {"a": [1.0, {"b": 2}]}
        self.array, self.number, self.empty = np.arange(3.0), np.array(1), np.zeros(0)
        self.function = abs


CHANGES = {
    "flag": lambda s: setattr(s, "flag", False),
    "rate": lambda s: setattr(s, "rate", 0.25),
    "name": lambda s: setattr(s, "name", "sum"),
    "nothing": lambda s: setattr(s, "nothing", 0),
    "new": lambda s: setattr(s, "new", 1),
    "gone": lambda s: delattr(s, "rate"),
    "list in a tuple": lambda s: s.sizes[1].append(5),
    "dict in a list in a dict": lambda s: s.table["a"][1].update(b=3),
    "key": lambda s: s.table.update(c=1),
    "another array": lambda s: setattr(s, "array", s.array.copy()),
    "another array of another shape": lambda s: setattr(s, "array", np.zeros((2, 2))),
    "another array of one number": lambda s: setattr(s, "number", np.array([1])),
    "another empty array": lambda s: setattr(s, "empty", np.zeros(0)),
    "another function": lambda s: setattr(s, "function", lambda x: abs(x)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed(change):
    settings = Settings()
    watch = Watch([Settings(), settings])
    assert not watch.changed()
    change(settings)
    assert watch.changed()


def test_content_of_arrays_and_what_equals_is_no_change():
    settings = Settings()
    watch = Watch([settings])
    settings.array[0] = 7
    settings.table["a"] = [1.0, {"b": 2}]
    settings.sizes = (2, [3, 4])
    assert not watch.changed()


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
    "momentum of a norm": lambda m, loss, o: setattr(m.norm, "momentum", 0.5),
    "a setting in a container": lambda m, loss, o: m.scales["relu"].__setitem__(0, 2.0),
    "a layer": lambda m, loss, o: setattr(m, "norm", nn.Identity()),
    "a frozen parameter": lambda m, loss, o: setattr(m.conv.weight, "requires_grad", False),
    "a parameter": lambda m, loss, o: setattr(m.conv, "bias", None),
    "the loss": lambda m, loss, o: setattr(loss, "label_smoothing", 0.1),
    "the form of the update": lambda m, loss, o: o.param_groups[0].update(nesterov=True),
    "the momentum": lambda m, loss, o: o.param_groups[0].update(momentum=0.0),
}


@pytest.mark.parametrize("change", ANEW.values(), ids=ANEW)
def test_a_changed_setting_compiles_anew(change):
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
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_other_values_compile_nothing_and_count(change):
    model, _, optimizer, step = made(weight_decay=0.01)
    program = step.program
    change(model, optimizer)
    tracked = int(model.norm.num_batches_tracked)
    twin, _, other, twin_step = made(weight_decay=0.01)
    change(twin, other)
    twin_step._compiled.clear()
    twin_step._last = None
    assert step(X, Y) == twin_step(X, Y)
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
