"""Folding against the closed form in float64, and what it says of each batch normalization."""

from __future__ import annotations

import numpy as np
import pytest
from fold_nets import WINDOW, Net, constants, draw, folded, operators, statistics

from normengine.graph import Spec
from normengine.passes.fold_batchnorm import Folding, fold_batchnorm


def test_a_convolution_takes_the_scale_into_its_rows():
    weight, bias, stats = draw(4, 3, 3, 3), draw(4), statistics(4)
    graph, found = folded(Net(2, 3, 6, 6).conv("conv", weight, bias).norm("bn", stats, eps=1e-3).graph())
    assert found == (Folding("bn", ("conv",)),)
    assert operators(graph) == ["conv2d"]
    gamma, beta, mean, var = (a.astype(np.float64) for a in stats)
    scale = gamma / np.sqrt(var + 1e-3)
    got = constants(graph)
    assert np.array_equal(got["conv.weight"], (weight * scale[:, None, None, None]).astype(np.float32))
    assert np.array_equal(got["conv.bias"], (bias * scale + (beta - mean * scale)).astype(np.float32))


def test_a_layer_without_bias_gets_one_under_its_own_name():
    graph, _ = folded(Net(2, 3, 6, 6).conv("features.0", draw(4, 3, 3, 3)).norm("features.1").graph())
    assert set(constants(graph)) == {"features.0.weight", "features.0.bias"}


def test_a_linear_layer_takes_a_batch_norm_1d():
    graph, found = folded(Net(5, 7).linear("fc", draw(4, 7)).norm("bn").graph())
    assert operators(graph) == ["linear"]
    assert found == (Folding("bn", ("fc",)),)


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_and_depthwise_convolutions(groups):
    net = Net(2, 6, 7, 7).conv("conv", draw(12, 6 // groups, 3, 3), groups=groups, padding=(1, 1, 1, 1), stride=(2, 2))
    graph, _ = folded(net.norm("bn").graph())
    assert operators(graph) == ["conv2d"]


def test_the_graph_that_was_given_stays_as_it_was():
    given = Net(2, 3, 6, 6).conv("conv", draw(4, 3, 3, 3)).norm("bn").graph()
    text, arrays = str(given), {name: a.copy() for name, a in constants(given).items()}
    fold_batchnorm(given)
    assert str(given) == text
    assert all(np.array_equal(constants(given)[name], a) for name, a in arrays.items())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_before_a_convolution_without_padding(groups):
    net = Net(2, 4, 6, 6).norm("bn").conv("conv", draw(8, 4 // groups, 3, 3), draw(8), groups=groups)
    graph, found = folded(net.graph())
    assert operators(graph) == ["conv2d"]
    assert found == (Folding("bn", ("conv",)),)


def test_before_a_linear_layer():
    graph, _ = folded(Net(3, 4).norm("bn").linear("fc", draw(5, 4)).graph())
    assert operators(graph) == ["linear"]


def test_before_a_convolution_that_pads_only_without_a_shift():
    padded = {"padding": (1, 1, 1, 1)}
    _, found = folded(Net(2, 4, 6, 6).norm("bn").conv("conv", draw(8, 4, 3, 3), **padded).graph())
    reason = "its input is an input of the network, and 'conv' after it pads with zeros"
    assert found == (Folding("bn", reason=reason),)
    zero = np.zeros(4, np.float32)
    stats = [draw(4), zero, zero, np.ones(4, np.float32)]
    graph, _ = folded(Net(2, 4, 6, 6).norm("bn", stats).conv("conv", draw(8, 4, 3, 3), **padded).graph())
    assert operators(graph) == ["conv2d"]


def test_before_several_layers_that_all_take_it():
    net = Net(2, 4, 6, 6).norm("bn")
    shared = net.value
    left = net.conv("left", draw(3, 4, 1, 1), x=shared).value
    right = net.conv("right", draw(5, 4, 3, 3), x=shared).value
    graph, found = folded(net.graph(left, right))
    assert operators(graph) == ["conv2d", "conv2d"]
    assert found == (Folding("bn", ("left", "right")),)


def test_one_batch_norm_after_the_other():
    graph, found = folded(Net(2, 3, 6, 6).conv("conv", draw(4, 3, 3, 3)).norm("bn1").norm("bn2").graph())
    assert operators(graph) == ["conv2d"]
    assert found == (Folding("bn1", ("conv",)), Folding("bn2", ("conv",)))


def test_before_a_layer_that_took_the_one_between():
    graph, found = folded(Net(2, 3, 6, 6).norm("bn1").norm("bn2").conv("conv", draw(4, 3, 3, 3)).graph())
    assert operators(graph) == ["conv2d"]
    assert found == (Folding("bn1", ("conv",)), Folding("bn2", ("conv",)))


def test_several_are_rounded_once():
    weight, one, two, three = draw(4, 3, 1, 1), statistics(4), statistics(4), statistics(3)
    net = Net(2, 3, 6, 6).norm("bn0", three, eps=0.0).conv("conv", weight).norm("bn1", one, eps=0.0)
    graph, _ = folded(net.norm("bn2", two, eps=0.0).graph())
    scale = {n: g.astype(np.float64) / np.sqrt(v.astype(np.float64)) for n, (g, _, _, v) in enumerate((one, two))}
    columns = three[0].astype(np.float64) / np.sqrt(three[3].astype(np.float64))
    exact = weight * (scale[0] * scale[1])[:, None, None, None] * columns[None, :, None, None]
    assert np.allclose(constants(graph)["conv.weight"], exact, rtol=2.0**-24 * 1.001, atol=0)


def test_what_normalizes_by_the_batch_is_listed_too():
    net = Net(4, 3, 6, 6).conv("conv", draw(4, 3, 3, 3))
    weight, bias = (net.builder.constant(a) for a in statistics(4)[:2])
    with net.builder.at("bn"):
        y, _, _ = net.builder.add_multi("batch_norm_train", net.value, weight, bias, eps=1e-5)
    _, found = folded(net.graph(y))
    assert found == (Folding("bn", reason="it normalizes with the statistics of each batch"),)


def test_a_weight_that_two_layers_share_is_folded_for_each():
    net = Net(2, 4, 6, 6)
    weight = net.builder.constant(draw(4, 4, 1, 1), "shared.weight")
    for name in ("a", "b"):
        with net.builder.at(name):
            net.value = net.builder.add("conv2d", net.value, weight, **WINDOW)
        net.norm(f"bn_{name}").layer("relu", f"relu_{name}")
    graph, _ = folded(net.graph())
    assert operators(graph) == ["conv2d", "relu", "conv2d", "relu"]


def test_it_stays_where_its_input_is_read_elsewhere():
    net = Net(2, 3, 6, 6).conv("layer4.conv", draw(4, 3, 1, 1))
    made = net.value
    normed = net.norm("layer4.bn").value
    with net.builder.at("layer4"):
        total = net.builder.add("add", made, normed)
    graph, found = folded(net.graph(total))
    assert found == (Folding("layer4.bn", reason="its input is also read by 'layer4.add'"),)
    assert operators(graph) == ["conv2d", "batch_norm", "add"]


def test_it_stays_where_its_input_is_an_output_or_comes_from_elsewhere():
    net = Net(2, 3, 6, 6).conv("conv", draw(4, 3, 1, 1))
    _, found = folded(net.graph(net.value, net.norm("bn").value))
    assert found[0].reason == "its input is also an output of the network"
    _, found = folded(Net(2, 3, 6, 6).layer("relu", "act").norm("bn").graph())
    assert found[0].reason == "its input comes from 'act', neither a convolution nor a linear layer"


def test_it_stays_where_weights_are_no_constants():
    net = Net(2, 3, 6, 6)
    weight = net.builder.state_value("conv.weight", Spec((4, 3, 1, 1)))
    with net.builder.at("conv"):
        net.value = net.builder.add("conv2d", net.value, weight, **WINDOW)
    _, found = fold_batchnorm(net.norm("bn").graph())
    assert found[0].reason == "the weight of 'conv' is not a constant"


@pytest.mark.parametrize(
    "gamma, mean, var, eps",
    [
        (1.0, 0.0, 1e-30, 1e-5),  # a channel that never varied
        (-3.0, 0.5, 2.0, 1e-5),  # negative scale
        (1.0, 1e6, 1e-2, 1e-5),  # huge mean, small variance
        (1e-20, 0.0, 1.0, 1e-5),  # a channel that training switched off
        (0.0, 5.0, 3.0, 0.0),
        (1e4, -1e3, 1e-12, 1e-3),
    ],
)
def test_extreme_parameters(gamma, mean, var, eps):
    stats = [np.full(4, v, np.float32) for v in (gamma, 0.25, mean, var)]
    weight = draw(4, 3, 3, 3)
    graph, found = fold_batchnorm(Net(2, 3, 6, 6).conv("conv", weight).norm("bn", stats, eps=eps).graph())
    assert found[0].into == ("conv",)
    scale = np.float64(stats[0]) / np.sqrt(np.float64(stats[3]) + eps)
    got = constants(graph)
    assert np.allclose(got["conv.weight"], weight * scale[:, None, None, None], rtol=1e-7, atol=0)
    assert np.allclose(got["conv.bias"], stats[1] - stats[2] * scale, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    "gamma, var, weight, reason",
    [
        (1.0, 0.0, 1.0, "its scale or shift is no finite float32 number"),
        (1.0, -1.0, 1.0, "its scale or shift is no finite float32 number"),
        (1e30, 1.0, 1e20, "the folded weight is no finite float32 number"),
    ],
)
def test_what_would_overflow_stays(gamma, var, weight, reason):
    stats = [np.full(4, v, np.float32) for v in (gamma, 0.0, 0.0, var)]
    weights = np.full((4, 3, 1, 1), weight, np.float32)
    graph, found = fold_batchnorm(Net(2, 3, 6, 6).conv("conv", weights).norm("bn", stats, eps=0.0).graph())
    assert found == (Folding("bn", reason=reason),)
    assert operators(graph) == ["conv2d", "batch_norm"]
