"""Every form in which layers take a batch normalization: what is left, what the report says, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from fold_nets import WINDOW, Net, constants, draw, folded, operators, statistics

from normengine.graph import Graph, Spec
from normengine.ops import OPS, Op
from normengine.ops.inference import RULES
from normengine.passes.fold_batchnorm import Folding, fold_batchnorm, fold_with_steps

POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0), "ceil_mode": False}
MAX = {**POOL, "dilation": (1, 1)}
AVERAGE = {**POOL, "count_include_pad": True}
PADDED = (1, 1, 1, 1)


def positive(channels):
    weight, *rest = statistics(channels)
    return [np.abs(weight) + np.float32(0.1), *rest]


def unshifted(channels):
    zero = np.zeros(channels, np.float32)
    return [draw(channels), zero, zero, np.ones(channels, np.float32)]


def conv(*shape):
    return Net(2, 3, 8, 8).conv("conv", draw(4, 3, 3, 3), *shape)


def taken(net, *left, into=("conv",), name="bn"):
    graph, found = folded(net if isinstance(net, Graph) else net.graph())
    assert operators(graph) == list(left)
    assert found[-1] == Folding(name, into)
    return graph


def stays(net, reason, name="bn"):
    graph, found = folded(net if isinstance(net, Graph) else net.graph())
    assert found[-1] == Folding(name, reason=reason)
    assert "batch_norm" in operators(graph)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("avg_pool2d", AVERAGE),
        ("avg_pool2d", {**AVERAGE, "padding": PADDED, "count_include_pad": False}),
        ("avg_pool2d", {**AVERAGE, "ceil_mode": True, "stride": (3, 3)}),
        ("adaptive_avg_pool2d", {"output_size": (1, 1)}),
        ("adaptive_avg_pool2d", {"output_size": (4, 3)}),
        ("reduce_mean", {"axes": (2, 3), "keepdims": True}),
        ("reduce_mean", {"axes": (2, 3), "keepdims": False}),
        ("detach", {}),
    ],
)
def test_after_means(op, attrs):
    taken(conv().layer(op, "pool", **attrs).norm("bn"), "conv2d", op)


def test_after_means_that_count_zeros_only_without_a_shift():
    counted = {**AVERAGE, "padding": PADDED}
    stays(
        conv().layer("avg_pool2d", "pool", **counted).norm("bn"), "'pool' before it counts the zeros that it pads with"
    )
    taken(conv().layer("avg_pool2d", "pool", **counted).norm("bn", unshifted(4)), "conv2d", "avg_pool2d")


@pytest.mark.parametrize(("op", "attrs"), [("max_pool2d", MAX), ("reduce_max", {"axes": (2, 3), "keepdims": False})])
def test_after_maxima_where_no_scale_is_negative(op, attrs):
    taken(conv().layer(op, "pool", **attrs).norm("bn", positive(4)), "conv2d", op)
    negative = positive(4)
    negative[0][2] *= -1
    stays(
        conv().layer(op, "pool", **attrs).norm("bn", negative), "'pool' before it takes maxima, and a scale is negative"
    )


@pytest.mark.parametrize("shape", [(0, 4, -1), (0, 0, 18, 2), (-1, 4, 36)])
def test_through_reshapes_that_keep_channels(shape):
    taken(conv().layer("reshape", "shape", shape=shape).norm("bn"), "conv2d", "reshape")


def test_through_a_flattened_pixel():
    net = conv().layer("adaptive_avg_pool2d", "pool", output_size=(1, 1)).layer("reshape", "flat", shape=(0, -1))
    taken(net.norm("bn"), "conv2d", "adaptive_avg_pool2d", "reshape")


def test_a_batch_norm_of_flattened_features_goes_into_a_layer_behind_alone():
    flat = conv().layer("reshape", "flat", shape=(0, -1)).norm("bn")
    stays(flat, "'flat' before it joins channels of different scale or shift")
    flat = conv().layer("reshape", "flat", shape=(0, -1)).norm("bn").linear("fc", draw(5, 144))
    taken(flat, "conv2d", "reshape", "linear", into=("fc",))


def test_before_a_flattened_image_and_a_linear_layer():
    net = Net(2, 3, 4, 4).norm("bn").layer("max_pool2d", "pool", **MAX).layer("reshape", "flat", shape=(0, -1))
    stays(net.linear("fc", draw(5, 12)).graph(), "its input is an input of the network, and 'pool' after it takes "
          "maxima, and a scale is negative")  # fmt: skip
    net = Net(2, 3, 4, 4).norm("bn", positive(3)).layer("max_pool2d", "pool", **MAX)
    net = net.layer("reshape", "flat", shape=(0, -1)).linear("fc", draw(5, 12), draw(5))
    taken(net, "max_pool2d", "reshape", "linear", into=("fc",))


def test_rows_of_a_linear_layer_that_become_channels():
    net = Net(2, 5, 6).layer("reshape", "rows", shape=(-1, 6)).linear("fc", draw(4, 6))
    net = net.layer("reshape", "back", shape=(2, 5, 4)).layer("permute", "turn", axes=(0, 2, 1)).norm("bn")
    taken(net, "reshape", "linear", "reshape", "permute", into=("fc",))


def test_a_batch_norm_over_rows_stays():
    net = Net(2, 5, 6).layer("reshape", "rows", shape=(-1, 6)).linear("fc", draw(4, 6))
    stays(net.layer("reshape", "back", shape=(2, 5, 4)).norm("bn"), "'back' before it does not keep the channels apart")


def branches(net, *names, **attrs):
    x = net.value
    return [net.conv(name, draw(2, 4, 3, 3), x=x, **attrs).value for name in names]


def test_after_a_concatenation_of_layers():
    net = conv().layer("relu", "act")
    a, b = branches(net, "a", "b")
    net.value = net.builder.add("concat", a, b, axis=1)
    taken(net.norm("bn"), "conv2d", "relu", "conv2d", "conv2d", "concat", into=("a", "b"))


def test_after_a_concatenation_of_which_one_branch_ends_in_something_else():
    net = conv().layer("relu", "act")
    x, (a,) = net.value, branches(net, "a", padding=PADDED)
    with net.builder.at("cat"):
        net.value = net.builder.add("concat", a, x, axis=1)
    stays(net.norm("bn"), "the input of 'cat' comes from 'act', neither a convolution nor a linear layer")


def test_a_concatenation_that_reads_twice_what_a_layer_makes():
    net = conv()
    with net.builder.at("cat"):
        net.value = net.builder.add("concat", net.value, net.value, axis=1)
    stays(net.norm("bn"), "'cat' reads it twice")


def test_before_a_concatenation_and_a_layer():
    net = Net(2, 3, 6, 6)
    x = net.value
    a = net.norm("bn").value
    net.value = net.builder.add("concat", x, a, axis=1)
    taken(net.conv("conv", draw(4, 6, 3, 3), draw(4)), "concat", "conv2d")


def test_two_ways_into_one_layer():
    net = Net(2, 3, 6, 6).norm("bn", positive(3))
    y = net.value
    a, b = net.layer("max_pool2d", "a", x=y, **MAX).value, net.layer("avg_pool2d", "b", x=y, **AVERAGE).value
    net.value = net.builder.add("concat", a, b, axis=1)
    taken(net.conv("conv", draw(4, 6, 2, 2), draw(4)), "max_pool2d", "avg_pool2d", "concat", "conv2d")


def test_after_a_sum_of_layers():
    net = conv().layer("relu", "act")
    a, b = branches(net, "a", "b")
    net.value = net.builder.add("add", a, b)
    taken(net.norm("bn"), "conv2d", "relu", "conv2d", "conv2d", "add", into=("a", "b"))


def test_constants_that_are_added_or_multiplied_take_their_part():
    net = conv()
    bias, factor = net.builder.constant(draw(4, 1, 1), "b"), net.builder.constant(draw(1, 1, 6), "f")
    with net.builder.at("times"):
        net.value = net.builder.add("mul", net.value, factor)
    with net.builder.at("plus"):
        net.value = net.builder.add("add", net.value, bias)
    graph = taken(net.norm("bn"), "conv2d", "mul", "add", into=("times", "plus"))
    assert constants(graph)["f"].shape == (4, 1, 6)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("position", [0, 1])
def test_constants_of_each_channel_go_as_batch_norms_do(op, position):
    net = conv(draw(4))
    constant = net.builder.constant(draw(4, 1, 1) + np.float32(3), "c")
    with net.builder.at("it"):
        net.value = net.builder.add(op, *([constant, net.value] if position == 0 else [net.value, constant]))
    found = fold_with_steps(net.layer("relu", "act").graph())
    folded(net.graph())
    if (op, position) == ("div", 0):
        assert found.constants == () and len(found.graph.nodes) == 3
        return
    assert found.constants == (Folding("it", ("conv",)),) and found.foldings == ()
    assert operators(found.graph) == ["conv2d", "relu"]


def test_a_batch_norm_that_is_written_out():
    net = conv()
    for op in ("sub", "mul", "add"):
        constant = net.builder.constant(draw(1, 4, 1, 1), f"{op}.c")
        with net.builder.at(op):
            net.value = net.builder.add(op, net.value, constant)
    graph, _ = folded(net.layer("relu", "act").graph())
    assert operators(graph) == ["conv2d", "relu"]


@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 6), (1, 6), (2, 1, 1, 1), (2, 4, 6, 6)])
def test_constants_that_are_not_of_each_channel_stay(shape):
    net = conv()
    constant = net.builder.constant(draw(*shape), "c")
    net.value = net.builder.add("mul", net.value, constant)
    found = fold_with_steps(net.graph())
    assert found.constants == () and operators(found.graph) == ["conv2d", "mul"]


def test_a_constant_that_others_read_stays_theirs():
    net = conv()
    bias = net.builder.constant(draw(4, 1, 1), "b")
    with net.builder.at("plus"):
        summed = net.builder.add("add", net.value, bias)
    net.value = net.builder.add("relu", net.norm("bn", x=summed).value)
    net.value = net.builder.add("add", net.value, bias)
    graph, found = folded(net.graph())
    assert found[0].into == ("conv",)
    assert operators(graph) == ["conv2d", "relu", "add"]
    assert np.array_equal(constants(graph)["b"], net.builder.constants[bias])


def test_a_product_with_something_computed_takes_no_shift():
    def gated(arrays):
        net = conv()
        y = net.value
        gate = net.layer("sigmoid", "act", x=y).value
        with net.builder.at("gate"):
            net.value = net.builder.add("mul", y, gate)
        return net.norm("bn", arrays)

    stays(gated(None), "'gate' before it multiplies, which no shift goes through")
    stays(gated(unshifted(4)), "the input of 'gate' is also read by 'act'")


def test_a_slice_of_a_layer():
    net = conv().layer("slice", "cut", starts=(0, 1, 0, 0), stops=(2, 3, 6, 6), steps=(1, 1, 1, 1))
    taken(net.norm("bn"), "conv2d", "slice")


def test_in_a_row_with_nodes_between():
    net = (
        conv().norm("bn1").layer("avg_pool2d", "pool", **AVERAGE).norm("bn2").layer("reshape", "flat", shape=(0, 4, -1))
    )
    graph, found = folded(net.norm("bn").graph())
    assert operators(graph) == ["conv2d", "avg_pool2d", "reshape"]
    assert [f.into for f in found] == [("conv",)] * 3


def test_what_one_leaves_lets_another_go():
    """The second goes into the layer behind it; only then the first has a layer behind its pool."""
    net = Net(2, 3, 8, 8).norm("bn1").layer("avg_pool2d", "pool", **AVERAGE).norm("bn2").conv("conv", draw(4, 3, 3, 3))
    graph, found = folded(net.graph())
    assert operators(graph) == ["avg_pool2d", "conv2d"]
    assert found == (Folding("bn1", ("conv",)), Folding("bn2", ("conv",)))


def test_identity_goes_too():
    stats = [np.ones(4, np.float32), np.zeros(4, np.float32), np.zeros(4, np.float32), np.ones(4, np.float32)]
    taken(conv().layer("avg_pool2d", "pool", **AVERAGE).norm("bn", stats, eps=0.0), "conv2d", "avg_pool2d")


def test_identity_goes_where_nobody_has_to_take_it():
    net = conv().layer("relu", "act")
    factor, zero = net.builder.constant(draw(1, 1, 6), "f"), net.builder.constant(np.zeros((4, 1, 1), np.float32), "z")
    with net.builder.at("times"):
        net.value = net.builder.add("mul", net.value, factor)
    with net.builder.at("plus"):
        net.value = net.builder.add("add", net.value, zero)
    found = fold_with_steps(net.graph())
    assert found.constants == (Folding("plus", ("times",)),)
    assert operators(found.graph) == ["conv2d", "relu", "mul"]


def test_nothing_half_done_where_one_branch_overflows():
    net = conv().layer("relu", "act")
    x, (a,) = net.value, branches(net, "a")
    b = net.conv("b", draw(2, 4, 3, 3) + np.float32(100), x=x).value
    net.value = net.builder.add("concat", a, b, axis=1)
    stats = statistics(4)
    stats[0][3], stats[3][3] = 1e37, 1.0
    given = net.norm("bn", stats).graph()
    graph, found = fold_batchnorm(given)
    assert found[0].reason == "the folded weight is no finite float32 number"
    assert str(graph) == str(given)


def test_far_apart():
    net = conv()
    for i in range(70):
        net.layer("detach", f"d{i}")
    _, found = fold_batchnorm(net.norm("bn").graph())
    assert found[0].reason == "there are more than 64 nodes between it and what could take it"


def transposed(arrays, attrs):
    """``(N, C, H, W)`` and ``(C, O / groups, KH, KW)`` to ``(N, O, H * KH, W * KW)``: each pixel becomes a block."""
    x, w, *bias = (np.asarray(a, np.float64) for a in arrays)
    groups = attrs["groups"]
    n, c, h, width = x.shape
    blocks = np.einsum("ngchw,gcoij->ngohiwj", x.reshape(n, groups, -1, h, width), w.reshape(groups, -1, *w.shape[1:]))
    y = blocks.reshape(n, groups * w.shape[1], h * w.shape[2], width * w.shape[3])
    return (y + bias[0][:, None, None] if bias else y,)


def transposed_shape(specs, attrs):
    x, w = specs[0].shape, specs[1].shape
    return (Spec((x[0], attrs["groups"] * w[1], x[2] * w[2], x[3] * w[3])),)


@pytest.fixture
def spread(monkeypatch):
    op = Op("spread", transposed_shape, transposed, folds_norms=True, weight=1, weight_outputs=1)
    monkeypatch.setitem(OPS, "spread", op)
    monkeypatch.setitem(RULES, "spread", transposed_shape)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_takes_the_scale_into_its_second_axis(spread, groups):
    net = Net(2, 4, 3, 3).layer("spread", "up", draw(4, 3, 2, 2), draw(3 * groups), stride=(2, 2), groups=groups)
    taken(net.norm("bn"), "spread", into=("up",))
    net = Net(2, 4, 3, 3).layer("spread", "up", draw(4, 3, 2, 2), stride=(2, 2), groups=groups)
    taken(net.norm("bn"), "spread", into=("up",))


@pytest.mark.parametrize("groups", [1, 2])
def test_before_a_transposed_convolution_only_without_a_shift(spread, groups):
    net = Net(2, 4, 3, 3).norm("bn", unshifted(4))
    net = net.layer("spread", "up", draw(4, 3, 2, 2), draw(3 * groups), stride=(2, 2), groups=groups)
    taken(net, "spread", into=("up",))
    net = Net(2, 4, 3, 3).norm("bn").layer("spread", "up", draw(4, 3, 2, 2), stride=(2, 2), groups=groups)
    stays(net, "its input is an input of the network, and 'up' after it pads with zeros")
    net = Net(2, 4, 3, 3).norm("bn").layer("spread", "up", draw(4, 3, 1, 1), stride=(1, 1), groups=groups)
    taken(net, "spread", into=("up",))


def test_the_steps_tell_what_went_where():
    graph = Net(2, 3, 8, 8).norm("bn1").conv("conv", draw(4, 3, 3, 3)).norm("bn2").graph()
    found = fold_with_steps(graph)
    assert [(node.layer, before) for node, before in found.removed] == [("bn1", False), ("bn2", True)]
    (layer,) = found.graph.nodes
    assert found.origins[layer] is graph.nodes[1]


def random_network(seed):
    """A network with a batch norm behind, before and between most of its layers."""
    rng = np.random.default_rng(seed)
    net = Net(2, 4, 9, 9)
    values = [net.value]

    def norm():
        stats = positive(net.value.shape[1]) if rng.random() < 0.5 else statistics(net.value.shape[1])
        net.norm(f"bn{len(net.builder.nodes)}", stats)

    def layer():
        name, kind, c = f"n{len(net.builder.nodes)}", rng.integers(8), net.value.shape[1]
        if kind < 3:
            pads = PADDED if rng.random() < 0.5 or min(net.value.shape[2:]) < 3 else WINDOW["padding"]
            groups = int(rng.choice([g for g in (1, 2) if c % g == 0]))
            net.conv(name, draw(4 * groups, c // groups, 3, 3), padding=pads, groups=groups)
        elif kind == 3:
            net.layer("relu", name)
        elif kind == 4 and min(net.value.shape[2:]) > 3:
            net.layer(*rng.choice(["max_pool2d", "avg_pool2d"], 1), name, **{**MAX, **AVERAGE, "stride": (1, 1)})
        elif kind == 5:
            alike = [v for v in values if v.shape[2:] == net.value.shape[2:]]
            net.value = net.builder.add("concat", net.value, alike[rng.integers(len(alike))], axis=1)
        elif kind == 6:
            alike = [v for v in values if v.shape == net.value.shape]
            net.value = net.builder.add("add", net.value, alike[rng.integers(len(alike))]) if alike else net.value

    for _ in range(12):
        layer()
        if rng.random() < 0.6:
            norm()
        values.append(net.value)
    net.layer("reshape", "flat", shape=(0, -1))
    norm()
    net.linear("fc", draw(3, net.value.shape[1]) / np.float32(10))
    norm()
    return net.graph()


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_agree_before_and_after(seed):
    graph, found = folded(random_network(seed), tolerance=3e-5)
    left = operators(graph).count("batch_norm")
    assert left == sum(not f.into for f in found) and all(bool(f.into) != bool(f.reason) for f in found)
    again, rows = fold_batchnorm(graph)
    assert str(again) == str(graph) and not any(row.into for row in rows)
