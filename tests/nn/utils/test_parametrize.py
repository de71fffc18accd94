"""Weights that are computed of others: where these lie, what reads and writes them, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import onnx
import pytest
from one_window import X, Y, assert_trains_as, layer
from onnx import numpy_helper

import normengine as ne
from normengine import nn, optim
from normengine.nn.utils.parametrize import (
    ParametrizationList,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)


class Doubled(nn.Module):
    """A weight that is ``factor`` times its original."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, weight):
        return weight * self.factor

    def right_inverse(self, weight):
        return weight / self.factor


class Sum(nn.Module):
    """A weight that is the sum of two originals."""

    def forward(self, a, b):
        return a + b

    def right_inverse(self, weight):
        return weight * 0.25, weight * 0.75


class Squared(nn.Module):
    """Has no inverse."""

    def forward(self, weight):
        return weight * weight


class Cut(nn.Module):
    """Half the output channels."""

    def forward(self, weight):
        return weight[: weight.shape[0] // 2]


class Filled(nn.Module):
    """Takes a parameter of its own along."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(np.full((5, 1, 1, 1), 0.5, np.float32))

    def forward(self, weight):
        return weight + self.shift


def initializers(path):
    graph = onnx.load(path).graph
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}, [n.op_type for n in graph.node]


def test_the_original_is_the_parameter():
    conv = layer()
    parameter, before = conv.weight, conv.weight.numpy().copy()
    optimizer = optim.SGD(conv.parameters(), lr=0.1)
    assert register_parametrization(conv, "weight", Squared()) is conv
    assert is_parametrized(conv) and is_parametrized(conv, "weight") and not is_parametrized(conv, "bias")
    assert conv.parametrizations.weight.original is parameter
    assert list(conv.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert np.array_equal(parameter.numpy(), before)
    np.testing.assert_allclose(conv.weight, before**2, rtol=1e-6)
    ne.TrainStep(conv, nn.MSELoss(), optimizer)(X, Y)
    assert not np.array_equal(parameter.numpy(), before)
    assert_trains_as(conv, lambda state: state["parametrizations.weight.original"] ** 2)
    assert type(conv) is nn.Conv2d and "(0): Squared()" in repr(conv) and "weight" in dir(conv)


def test_a_right_inverse_keeps_the_value():
    conv = layer()
    before = conv.weight.numpy().copy()
    register_parametrization(conv, "weight", Doubled(4.0))
    assert np.array_equal(conv.weight, before)
    assert np.array_equal(conv.parametrizations.weight.original.numpy(), before / 4)
    other = layer()
    register_parametrization(other, "weight", Sum())
    assert list(other.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1"
    ]  # fmt: skip
    np.testing.assert_allclose(other.weight, before, rtol=1e-6)
    assert_trains_as(
        other, lambda state: state["parametrizations.weight.original0"] + state["parametrizations.weight.original1"]
    )


def test_parametrizations_follow_each_other_and_have_parameters():
    conv = layer()
    register_parametrization(conv, "weight", Squared())
    register_parametrization(conv, "weight", Filled())
    assert len(conv.parametrizations.weight) == 2 and isinstance(conv.parametrizations.weight[1], Filled)
    assert isinstance(conv.parametrizations.weight[:1], nn.ModuleList)
    shift = "parametrizations.weight.1.shift"
    assert shift in conv.state_dict()
    assert_trains_as(conv, lambda state: state["parametrizations.weight.original"] ** 2 + state[shift])


def test_what_reads_the_attribute_outside_of_forward_gets_an_array_that_cannot_be_written():
    conv = register_parametrization(layer(), "weight", Doubled())
    weight = conv.weight
    assert isinstance(weight, np.ndarray) and weight.shape == (5, 2, 3, 3)
    with pytest.raises(ValueError, match="read-only"):
        weight[...] = 0
    for initialize in (lambda: nn.init.zeros_(conv.weight), conv.reset_parameters):
        with pytest.raises(ValueError, match=r"nn.init: the array is read-only, .* before its weight is parametrized"):
            initialize()


def test_assignment_goes_through_the_right_inverses():
    conv = layer()
    register_parametrization(conv, "weight", Doubled(2.0))
    register_parametrization(conv, "weight", Doubled(4.0))
    wanted = np.arange(90, dtype=np.float32).reshape(5, 2, 3, 3)
    for value in (wanted, nn.Parameter(wanted), wanted.tolist()):
        conv.weight = np.zeros((5, 2, 3, 3))
        conv.weight = value
        assert np.array_equal(conv.weight, wanted)
        assert np.array_equal(conv.parametrizations.weight.original.numpy(), wanted / 8)
    assert list(conv.state_dict()) == ["bias", "parametrizations.weight.original"]
    with pytest.raises(ValueError, match=r"must have shape \(5, 2, 3, 3\), got \(5,\)"):
        conv.weight = np.zeros(5)
    register_parametrization(conv, "weight", Squared())
    with pytest.raises(RuntimeError, match=r"Squared has no right_inverse\(\)"):
        conv.weight = wanted
    assert np.array_equal(conv.parametrizations.weight.original.numpy(), wanted / 8)


def test_forward_cannot_assign_it():
    class Assigns(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = register_parametrization(layer(), "weight", Doubled())

        def forward(self, x):
            self.conv.weight = self.conv.weight * 2
            return self.conv(x)

    with pytest.raises(ValueError, match="'weight' is computed of parameters, which forward"):
        Assigns()(X)


@pytest.mark.parametrize("parametrization", [Doubled, Sum])
def test_removed_it_is_a_parameter_of_the_same_value(parametrization):
    conv = layer()
    before = conv.weight.numpy().copy()
    register_parametrization(conv, "weight", parametrization())
    first = conv.parametrizations.weight.originals()[0]
    assert remove_parametrizations(conv, "weight") is conv
    assert not is_parametrized(conv) and not hasattr(conv, "parametrizations")
    assert list(conv.state_dict()) == ["bias", "weight"] and isinstance(conv.weight, nn.Parameter)
    np.testing.assert_allclose(conv.weight.numpy(), before, rtol=1e-6)
    assert (conv.weight is first) == (parametrization is Doubled)
    conv.weight.data[...] = 0
    assert not conv(X)[:, :, 0, 0].std(axis=0).any()


def test_removed_it_may_be_the_original():
    conv = layer()
    before = conv.weight.numpy().copy()
    register_parametrization(conv, "weight", Squared())
    register_parametrization(conv, "bias", Squared())
    remove_parametrizations(conv, "weight", leave_parametrized=False)
    assert np.array_equal(conv.weight.numpy(), before) and is_parametrized(conv, "bias")
    register_parametrization(conv, "weight", Sum())
    with pytest.raises(ValueError, match="needs one original, there are 2"):
        remove_parametrizations(conv, "weight", leave_parametrized=False)
    assert is_parametrized(conv, "weight")


def test_another_shape_only_if_it_is_said_to_be_unsafe():
    conv = layer()
    before = dict(conv.state_dict())
    with pytest.raises(ValueError, match=r"must give a tensor float32\[5, 2, 3, 3\], got float32\[2, 2, 3, 3\]"):
        register_parametrization(conv, "weight", Cut())
    assert conv.state_dict().keys() == before.keys() and "parametrizations" not in conv._modules
    register_parametrization(conv, "weight", Cut(), unsafe=True)
    conv.bias = None
    assert conv.weight.shape == (2, 2, 3, 3) and conv(X).shape == (4, 2, 1, 1)
    with pytest.raises(ValueError, match=r"must give a tensor float32\[2, 2, 3, 3\], got float32\[1, 2, 3, 3\]"):
        register_parametrization(conv, "weight", Cut())
    assert len(conv.parametrizations.weight) == 1


@pytest.mark.parametrize(
    "given, name, parametrization, kind, text",
    [
        (lambda: object(), "weight", Squared(), TypeError, "module must be an nn.Module, got object"),
        (layer, "weight", abs, TypeError, "parametrization must be an nn.Module, got builtin_function_or_method"),
        (layer, "wait", Squared(), ValueError, "Conv2d has no parameter 'wait', choose from: weight, bias"),
        (nn.ReLU, "weight", Squared(), ValueError, "ReLU has no parameter 'weight', choose from: none"),
        (lambda: nn.utils.weight_norm(layer()), "weight", Squared(), ValueError, "is computed of other parameters"),
    ],
)
def test_what_cannot_be_parametrized(given, name, parametrization, kind, text):
    module = given()
    with pytest.raises(kind, match=f"register_parametrization of '{name}': .*{text}"):
        register_parametrization(module, name, parametrization)
    assert not isinstance(module, nn.Module) or "parametrizations" not in module._modules


def test_what_a_right_inverse_may_not_give():
    class Wrong(Squared):
        def right_inverse(self, weight):
            return "weight"

    conv = layer()
    with pytest.raises(ValueError, match=r"Wrong.right_inverse\(\) must return an array, .* got str"):
        register_parametrization(conv, "weight", Wrong())
    with pytest.raises(ValueError, match="Conv2d has no parametrization of it"):
        remove_parametrizations(conv, "weight")
    assert list(conv.state_dict()) == ["weight", "bias"]


def test_a_parameter_of_its_name_cannot_be_registered():
    conv = register_parametrization(layer(), "weight", Doubled())
    with pytest.raises(KeyError, match="has an attribute 'weight' already"):
        conv.register_parameter("weight", nn.Parameter(np.zeros(3)))
    with pytest.raises(AttributeError):
        del conv.weight


def network():
    ne.manual_seed(2)
    return nn.Sequential(
        register_parametrization(nn.Conv2d(1, 4, 3, padding=1, bias=False), "weight", Filling()), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Flatten(), register_parametrization(nn.Linear(100, 2), "weight", Sum()))  # fmt: skip


class Filling(nn.Module):
    """As ``Doubled``, for copies in other processes."""

    def forward(self, weight):
        return weight * 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_stand_alone(copied):
    model = network()
    x = np.random.default_rng(0).standard_normal((3, 1, 5, 5)).astype(np.float32)
    before = model.eval()(x)
    other = copied(model)
    assert isinstance(other[0].parametrizations.weight, ParametrizationList)
    assert np.array_equal(other(x), before)
    other[0].parametrizations.weight.original.data[...] = 0
    assert not other[0].weight.any() and np.array_equal(model(x), before)
    assert not np.array_equal(other(x), before)


def test_a_training_and_its_files(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 1, 5, 5)).astype(np.float32), rng.integers(0, 2, 24)
    model = network()
    owner = ne.Trainer(model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9), nn.CrossEntropyLoss(), seed=0)
    history = owner.fit(x, y, epochs=8, batch_size=8, progress=False)
    assert history.loss[-1] < 0.5 * history.loss[0]
    path = tmp_path / "weights.safetensors"
    ne.save(model, path)
    other = ne.load(network(), path)
    assert np.array_equal(other.eval()(x), model.eval()(x))
    assert owner.evaluate(x, y).accuracy > 0.8
    with pytest.raises(ValueError, match=r"missing keys: .*0\.parametrizations\.weight\.original"):
        ne.load(network(), path).load_state_dict({"0.weight": np.zeros((4, 1, 3, 3))})


def test_a_step_follows_the_settings_of_a_parametrization():
    conv = layer()
    register_parametrization(conv, "weight", made := Doubled(2.0))
    step = ne.TrainStep(conv, nn.MSELoss(), optim.SGD(conv.parameters(), lr=0.0))
    first = step(X, Y)
    made.factor = 0.0
    zero = step(X, Y)
    made.factor = 2.0
    assert step(X, Y) == first != zero
    assert abs(zero - np.mean((conv.bias.numpy()[:, None, None] - Y.astype(np.float64)) ** 2)) < 1e-5
    remove_parametrizations(conv, "weight")
    assert abs(step(X, Y) - first) < 1e-6


def test_a_parameter_that_two_layers_hold_stays_one():
    first, second = layer(), layer()
    second.weight = first.weight
    for conv in (first, second):
        register_parametrization(conv, "weight", Squared())
    model = nn.Sequential(first, second)
    assert len(list(model.parameters())) == 3
    assert first.parametrizations.weight.original is second.parametrizations.weight.original


class Wired(nn.Module):
    """A parametrized layer with a batch norm behind it, and one that is used twice, once where nothing is trained."""

    def __init__(self):
        super().__init__()
        ne.manual_seed(3)
        self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        register_parametrization(self.conv, "weight", Doubled())
        register_parametrization(self.twice, "weight", Squared())

    def forward(self, x):
        x = self.twice(self.bn(self.conv(x)).relu())
        with ne.no_grad():
            return self.twice(x.relu())


def test_a_file_has_plain_weights(tmp_path):
    model = Wired()
    model.bn.running_var[...] = [0.5, 1.0, 2.0, 3.0]
    model.bn.running_mean[...] = [0.1, 0.2, 0.3, 0.4]
    report = ne.onnx.export(model, tmp_path / "m.onnx", (1, 6, 7))
    assert report.folded == 1 and report.batch_norms[0].into == ("conv",)
    found, nodes = initializers(tmp_path / "m.onnx")
    assert set(found) == {"conv.weight", "conv.bias", "twice.weight", "twice.bias"}
    assert nodes == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    exact = model.twice.parametrizations.weight.original.numpy().astype(np.float64) ** 2
    assert np.array_equal(found["twice.weight"], exact.astype(np.float32))
    scale = 1 / np.sqrt(model.bn.running_var.astype(np.float64) + 1e-5)
    folded = 2.0 * model.conv.parametrizations.weight.original.numpy() * scale[:, None, None, None]
    assert np.array_equal(found["conv.weight"], folded.astype(np.float32))
    x = np.random.default_rng(0).standard_normal((5, 1, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(ne.InferenceSession(tmp_path / "m.onnx")(x), model.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_weight_that_depends_on_the_input_stays_computed(tmp_path):
    seen = [np.float32(1.0)]

    class Scaled(nn.Module):
        def forward(self, weight):
            return weight * seen[0].mean()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)
            register_parametrization(self.fc, "weight", Scaled())
            register_parametrization(self.fc, "bias", Squared())

        def forward(self, x):
            seen[0] = x
            return self.fc(x)

    ne.onnx.export(Model(), tmp_path / "m.onnx", (4,))
    found, nodes = initializers(tmp_path / "m.onnx")
    assert "fc.parametrizations.weight.original" in found and "fc.bias" in found and "ReduceMean" in nodes


def test_other_names_of_the_package_say_what_to_write():
    with pytest.raises(
        AttributeError, match=r"normengine.nn.utils has no 'clip_grad_norm_': gradients live inside a step"
    ):
        nn.utils.clip_grad_norm_([], 1.0)
    with pytest.raises(AttributeError, match="module 'normengine.nn.utils' has no attribute 'nothing'"):
        print(nn.utils.nothing)
