"""Weight normalization in both of its forms: PyTorch's keys and shapes, the closed form, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import onnx
import pytest
from one_window import X, Y, assert_trains_as, layer

import normengine as ne
from normengine import nn, optim
from normengine.nn.utils import parametrizations, remove_weight_norm, weight_norm
from normengine.nn.utils.parametrize import is_parametrized, remove_parametrizations

FORMS = {
    "old": (weight_norm, "weight_g", "weight_v"),
    "new": (
        parametrizations.weight_norm,
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ),
}
DIMS = {0: (5, 1, 1, 1), 1: (1, 2, 1, 1), 3: (1, 1, 1, 3), -4: (5, 1, 1, 1), None: (), -1: ()}
"""The axis that norms are kept along, and the shape of the norms; -1 is the whole, as in PyTorch."""


def undone(conv, form):
    return remove_weight_norm(conv) if form == "old" else remove_parametrizations(conv, "weight")


def norms(weight, shape):
    """Euclidean norms over the axes that ``shape`` has not, in the dtype of ``weight``."""
    axes = tuple(i for i in range(weight.ndim) if not shape or shape[i] == 1)
    return np.sqrt(np.square(weight).sum(axes)).reshape(shape)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dim, shape", DIMS.items())
def test_length_and_direction(form, dim, shape):
    make, g, v = FORMS[form]
    conv = layer()
    before = conv.weight.numpy().copy()
    assert make(conv, dim=dim) is conv
    state = conv.state_dict()
    assert list(state) == ["bias", g, v]
    assert state[g].shape == shape
    np.testing.assert_allclose(state[g], norms(before.astype(np.float64), shape), rtol=1e-6)
    assert np.array_equal(state[v], before)
    np.testing.assert_allclose(conv.weight, before, rtol=1e-6)
    conv.load_state_dict({**state, g: state[g] * 3, v: state[v] * 0.5})
    np.testing.assert_allclose(conv.weight, 3 * before, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dim, shape", [(0, (5, 1, 1, 1)), (1, (1, 2, 1, 1)), (None, ())])
def test_gradients_go_to_both_parts(form, dim, shape):
    make, g, v = FORMS[form]
    conv = make(layer(), dim=dim)
    conv.load_state_dict({**conv.state_dict(), g: conv.state_dict()[g] * 1.5})
    assert_trains_as(conv, lambda state: state[g] * state[v] / norms(state[v], shape))


@pytest.mark.parametrize("form", FORMS)
def test_of_a_linear_layer_under_another_name(form):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(np.arange(1, 7, dtype=np.float32).reshape(2, 3), requires_grad=False)

        def forward(self, x):
            return nn.functional.linear(x, self.matrix)

    net = FORMS[form][0](Net(), "matrix")
    keys = ["matrix_g", "matrix_v"] if form == "old" else [f"parametrizations.matrix.original{i}" for i in (0, 1)]
    assert list(net.state_dict()) == keys
    assert not any(parameter.requires_grad for parameter in net.parameters())
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(net(x), [[6, 15]], rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_assignment_sets_both_parts(form):
    make, g, v = FORMS[form]
    conv = make(layer())
    wanted = np.random.default_rng(0).standard_normal((5, 2, 3, 3)).astype(np.float32)
    conv.weight = wanted
    np.testing.assert_allclose(conv.weight, wanted, rtol=1e-6)
    np.testing.assert_allclose(conv.state_dict()[g], norms(wanted, (5, 1, 1, 1)), rtol=1e-6)
    kept = {key: array.copy() for key, array in conv.state_dict().items()}
    for wrong, text in ((wanted[:2], r"must have shape \(5, 2, 3, 3\)"), (wanted * 0, "has no direction")):
        with pytest.raises(ValueError, match=text):
            conv.weight = wrong
    assert all(np.array_equal(array, kept[key]) for key, array in conv.state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_removed_it_is_a_parameter_again(form):
    conv = FORMS[form][0](layer())
    ne.TrainStep(conv, nn.MSELoss(), optim.SGD(conv.parameters(), lr=0.1))(X, Y)
    before, y = conv.weight.copy(), conv(X)
    assert undone(conv, form) is conv
    assert list(conv.state_dict()) == ["bias", "weight"] and isinstance(conv.weight, nn.Parameter)
    assert np.array_equal(conv.weight.numpy(), before)
    np.testing.assert_allclose(conv(X), y, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="of 'weight'|'weight' of Conv2d has no weight_norm"):
        undone(conv, form)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda conv: pickle.loads(pickle.dumps(conv))])
@pytest.mark.parametrize("form", FORMS)
def test_copies_stand_alone(form, copied):
    conv = FORMS[form][0](layer())
    other = copied(conv)
    assert np.array_equal(other.weight, conv.weight)
    other.state_dict()[FORMS[form][1]][...] = 0
    assert not other.weight.any() and conv.weight.all()
    assert isinstance(undone(other, form).weight, nn.Parameter)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_has_the_plain_weight(form, tmp_path):
    make, g, v = FORMS[form]
    model = nn.Sequential(make(layer()), nn.BatchNorm2d(5), nn.Flatten(), make(nn.Linear(5, 2)))
    assert ne.onnx.export(model, tmp_path / "m.onnx", (2, 3, 3)).folded == 1
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [n.op_type for n in graph.node] == ["Conv", "Reshape", "Gemm"]
    assert {"0.weight", "0.bias", "3.weight", "3.bias"} < {t.name for t in graph.initializer}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "module, options, text",
    [
        (layer, {"name": "wait"}, "weight_norm: Conv2d has no parameter 'wait', choose from: weight, bias"),
        (layer, {"name": "bias"}, r"'bias' of Conv2d must be a weight .* at least 2 dimensions, got shape \(5,\)"),
        (lambda: nn.BatchNorm2d(3), {}, r"'weight' of BatchNorm2d must be a weight .*, got shape \(3,\)"),
        (layer, {"dim": 4}, r"weight_norm: dim 4 is out of range for a tensor of 4 dimensions \(-4 to 3\)"),
        (layer, {"dim": 1.5}, "weight_norm: dim must be an integer, got 1.5"),
        (lambda: nn.utils.weight_norm(layer()), {}, "'weight' of Conv2d is computed of other parameters already"),
        (lambda: parametrizations.weight_norm(layer()), {}, "'weight' of Conv2d is computed of other parameters"),
        (lambda: nn.init.zeros_((conv := layer()).weight) and conv, {}, "is zero or no number and has no direction"),
    ],
)
def test_what_is_refused_changes_nothing(form, module, options, text):
    given = module()
    before = list(given.state_dict())
    with pytest.raises(ValueError, match=text):
        FORMS[form][0](given, **options)
    assert list(given.state_dict()) == before


def test_the_forms_are_told_apart():
    conv = weight_norm(layer())
    assert not is_parametrized(conv)
    with pytest.raises(ValueError, match="Conv2d has no parametrization of it"):
        remove_parametrizations(conv, "weight")
    with pytest.raises(ValueError, match="'weight' of Conv2d has no weight_norm"):
        remove_weight_norm(parametrizations.weight_norm(layer()))
    with pytest.raises(TypeError, match="weight_norm: module must be an nn.Module, got list"):
        weight_norm([])
