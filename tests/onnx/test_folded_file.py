"""Each form of folding in files, against ONNX's reference evaluator on the file as it was."""

from __future__ import annotations

import numpy as np
import pytest
from fold_files import IMAGE, ROWS, conv, folded, goes, model, network, norm, operators, stays
from onnx import numpy_helper
from onnx_nodes import draw, ints, node

from normengine.onnx.folded_file import fold_model
from normengine.onnx.table import READERS
from normengine.passes.fold_batchnorm import Folding


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}])
def test_behind_a_convolution(bias, attributes):
    goes(model(conv("x", "a", bias=bias, **attributes), norm("a", "y")), "Conv")


@pytest.mark.skipif("ConvTranspose" not in READERS, reason="it is not read")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}])
def test_behind_a_transposed_convolution(bias, attributes):
    goes(model(conv("x", "a", shape=(3, 4, 3, 3), bias=bias, op="ConvTranspose", **attributes), norm("a", "y")),
         "ConvTranspose")  # fmt: skip


@pytest.mark.skipif("ConvTranspose" not in READERS, reason="it is not read")
@pytest.mark.parametrize("before", [False, True])
def test_beside_a_grouped_transposed_convolution(imported, before):
    """ONNX's evaluator takes one group alone; the operators' own references take them all."""
    layer = {"shape": (4, 3, 3, 2), "op": "ConvTranspose", "group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1]}
    behind = norm("x", "a", shift=False), conv("a", "y", **layer)
    given = model(*(behind if before else (conv("x", "a", **layer), norm("a", "y", 6))), shapes={"x": (2, 4, 5, 5)})
    found = fold_model(given, {"x": (2, 4, 5, 5)})
    assert found.foldings == (Folding("bn", ("conv",)),) and operators(found.model) == ["ConvTranspose"]
    feeds = {"x": draw(2, 4, 5, 5)}
    (wanted,), (got,) = (imported(m.SerializeToString(), feeds) for m in (given, found.model))
    assert np.abs(wanted - got).max() <= 1e-6 * np.abs(wanted).max()


def test_behind_a_convolution_of_signals():
    shapes = {"x": (2, 3, 9)}
    given = model(conv("x", "a", shape=(4, 3, 3)), norm("a", "y"), shapes=shapes)
    found, rows = folded(given, shapes)
    if rows[0].into:  # where it is read
        assert operators(found) == ["Conv"]


def test_behind_a_grouped_convolution():
    goes(model(conv("x", "a", shape=(6, 1, 3, 3), group=3), norm("a", "y", 6)), "Conv")


@pytest.mark.parametrize(
    "attributes",
    [{}, {"transB": 1}, {"alpha": 0.5}, {"alpha": -2.0, "beta": 0.25, "transB": 1}, {"transA": 1, "alpha": 3.0}],
)
@pytest.mark.parametrize("bias", [None, (4,), (1, 4), (1,), ()])
def test_behind_gemm(attributes, bias):
    weights = {"conv.weight": draw(4, 6) if "transB" in attributes else draw(6, 4)}
    if bias is not None:
        weights["conv.bias"] = draw(*bias)
    gemm = node("Gemm", ["x", *weights], ["a"], "conv", **attributes), weights
    shapes = {"x": (6, 3)} if "transA" in attributes else ROWS
    goes(model(gemm, norm("a", "y"), shapes=shapes), "Gemm", shapes=shapes)


def test_gemm_with_a_bias_of_each_row_stays():
    weights = {"w": draw(6, 4), "c": draw(3, 4)}
    given = model((node("Gemm", ["x", "w", "c"], ["a"], "conv"), weights), norm("a", "y"), shapes=ROWS)
    stays(given, "its input comes from 'conv' (it is several layers in one)", ROWS)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("computed", [False, True])
def test_before_gemm_that_adds_something_else_than_a_bias(shift, computed):
    weights = {"w": draw(6, 4)} | ({} if computed else {"c": draw(3, 4)})
    parts = [node("Neg", ["x2"], ["c"])] if computed else []
    shapes = {**ROWS, "x2": (3, 4)} if computed else ROWS
    gemm = node("Gemm", ["a", "w", "c"], ["y"], "conv", alpha=0.5, beta=2.0), weights
    given = model(norm("x", "a", 6, shift=shift), *parts, gemm, shapes=shapes)
    found, rows = folded(given, shapes)
    if shift:
        assert rows[0].into == () and operators(found) == operators(given)
    else:
        assert rows[0].into == ("conv",) and "BatchNormalization" not in operators(found)


def test_behind_a_product():
    product = node("MatMul", ["x", "w"], ["a"], "conv"), {"w": draw(6, 4)}
    goes(model(product, norm("a", "y"), shapes=ROWS), "Gemm", shapes=ROWS)


def test_behind_a_product_of_rows_in_more_axes():
    shapes = {"x": (2, 5, 6)}
    product = node("MatMul", ["x", "w"], ["a"], "conv"), {"w": draw(6, 4)}
    turned = node("Transpose", ["a"], ["b"], "turn", perm=[0, 2, 1])
    goes(model(product, turned, norm("b", "y"), shapes=shapes), "MatMul", "Add", "Transpose", shapes=shapes)


def test_behind_a_product_from_the_left():
    shapes = {"x": (2, 6, 5)}
    product = node("MatMul", ["w", "x"], ["a"], "conv"), {"w": draw(4, 6)}
    goes(model(product, norm("a", "y"), shapes=shapes), "MatMul", "Add", shapes=shapes)


def test_behind_a_product_without_a_shift():
    shapes = {"x": (2, 6, 5)}
    product = node("MatMul", ["w", "x"], ["a"], "conv"), {"w": draw(4, 6)}
    goes(model(product, norm("a", "y", shift=False), shapes=shapes), "MatMul", shapes=shapes)


@pytest.mark.parametrize(
    ("layer", "shapes", "shape"),
    [
        ((node("MatMul", ["x", "w"], ["a"], "conv"), {"w": draw(6, 4)}), ROWS, (4,)),
        ((node("MatMul", ["x", "w"], ["a"], "conv"), {"w": draw(6, 4)}), ROWS, (1, 4)),
        (conv("x", "a"), IMAGE, (4, 1, 1)),
        (conv("x", "a"), IMAGE, (1, 4, 1, 1)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_behind_a_layer_whose_bias_is_a_node_of_its_own(layer, shapes, shape, turned):
    names = ["b", "a"] if turned else ["a", "b"]
    given = model(layer, (node("Add", names, ["c"], "plus"), {"b": draw(*shape)}), norm("c", "y"), shapes=shapes)
    found = goes(given, layer[0].op_type, "Add", into=("plus",), shapes=shapes)
    assert {tuple(t.dims) for t in found.graph.initializer if t.name == "b"} == {shape}


def test_a_layer_that_is_read_under_another_name_too():
    plus = node("Add", ["b", "c"], ["d"], "plus"), {"c": draw(4, 1, 1)}
    parts = node("Identity", ["a"], ["b"]), plus, norm("d", "e"), node("Relu", ["a"], ["f"])
    given = model(conv("x", "a"), *parts, node("Add", ["e", "f"], ["y"], "sum"))
    found, _ = folded(given)
    assert "BatchNormalization" in operators(found)


@pytest.mark.parametrize("op", ["Identity", "Dropout"])
def test_through_what_does_nothing(op):
    given = model(conv("x", "a"), node(op, ["a"], ["b"]), norm("b", "y"))
    goes(given, "Conv", op)


@pytest.mark.parametrize(
    ("node_", "weights"),
    [
        (node("GlobalAveragePool", ["a"], ["b"], "it"), {}),
        (node("AveragePool", ["a"], ["b"], "it", kernel_shape=[2, 2], strides=[2, 2]), {}),
        (node("AveragePool", ["a"], ["b"], "it", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), {}),
        (node("ReduceMean", ["a"], ["b"], "it", axes=[2, 3], keepdims=0), {}),
        (node("Reshape", ["a", "shape"], ["b"], "it"), {"shape": ints(0, 4, -1)}),
        (node("Unsqueeze", ["a", "axes"], ["b"], "it"), {"axes": ints(4)}),
        (node("Add", ["a", "c"], ["b"], "it"), {"c": draw(1, 1, 6)}),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_through_what_lies_between(node_, weights):
    into = ("conv", "it") if node_.op_type == "Add" else ("conv",)
    goes(model(conv("x", "a"), (node_, weights), norm("b", "y")), "Conv", node_.op_type, into=into)


def test_a_flattened_pixel():
    parts = node("GlobalAveragePool", ["a"], ["b"]), node("Flatten", ["b"], ["c"]), norm("c", "y")
    goes(model(conv("x", "a"), *parts), "Conv", "GlobalAveragePool", "Flatten")


def test_a_mean_that_counts_the_zeros_that_it_pads_with():
    pool = node("AveragePool", ["a"], ["b"], "it", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    stays(model(conv("x", "a"), pool, norm("b", "y")), "'it' before it counts the zeros that it pads with")
    goes(model(conv("x", "a"), pool, norm("b", "y", shift=False)), "Conv", "AveragePool")


@pytest.mark.parametrize("op", ["MaxPool", "GlobalMaxPool"])
def test_maxima_where_every_scale_is_positive(op):
    pool = node(op, ["a"], ["b"], "it", **({"kernel_shape": [2, 2]} if op == "MaxPool" else {}))
    goes(model(conv("x", "a"), pool, norm("b", "y", positive=True)), "Conv", op)
    bn, weights = norm("b", "y")
    weights["bn.weight"][1] = -1
    stays(model(conv("x", "a"), pool, (bn, weights)), "'it' before it takes maxima, and a scale is negative")


def test_a_concatenation_of_layers():
    one, two = conv("x", "a", "one", (2, 3, 3, 3)), conv("x", "b", "two", (3, 3, 3, 3), bias=True)
    cat = node("Concat", ["a", "b"], ["c"], "cat", axis=1)
    goes(model(one, two, cat, norm("c", "y", 5)), "Conv", "Conv", "Concat", into=("one", "two"))


def test_a_concatenation_with_something_else():
    cat = node("Concat", ["a", "x"], ["c"], "cat", axis=1)
    given = model(conv("x", "a", pads=[1, 1, 1, 1]), cat, norm("c", "y", 7))
    stays(given, "the input of 'cat' is an input of the network")


def test_before_a_convolution():
    goes(model(norm("x", "a", 3), conv("a", "y", bias=True)), "Conv")
    goes(model(norm("x", "a", 3), conv("a", "y", shape=(6, 1, 3, 3), group=3)), "Conv")
    pads = {"pads": [1, 1, 1, 1]}
    goes(model(norm("x", "a", 3, shift=False), conv("a", "y", **pads)), "Conv")
    reason = "its input is an input of the network, and 'conv' after it pads with zeros"
    stays(model(norm("x", "a", 3), conv("a", "y", **pads)), reason)
    pad = node("Pad", ["a", "pads"], ["b"], "pad"), {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    stays(model(norm("x", "a", 3), pad, conv("b", "y")), reason)


def test_before_a_flattened_image_and_a_linear_layer():
    gemm = (
        node("Gemm", ["b", "w", "c"], ["y"], "conv", transB=1, alpha=0.5, beta=2.0),
        {"w": draw(5, 192), "c": draw(5)},
    )
    goes(model(norm("x", "a", 3), node("Flatten", ["a"], ["b"]), gemm), "Flatten", "Gemm")


def test_in_a_row():
    given = model(norm("x", "a", 3, "bn0"), conv("a", "b"), norm("b", "c", name="bn1"), norm("c", "y", name="bn2"))
    found, rows = folded(given)
    assert operators(found) == ["Conv"]
    assert rows == tuple(Folding(name, ("conv",)) for name in ("bn0", "bn1", "bn2"))
    assert [o.name for o in found.graph.output] == ["y"]


def test_a_weight_that_two_layers_share():
    shared = {"w": draw(3, 3, 1, 1)}
    parts = [node("Conv", ["x", "w"], ["a"], "one"), norm("a", "b", 3, "bn1"), node("Relu", ["b"], ["c"])]
    parts += [
        node("Conv", ["c", "w"], ["d"], "two"),
        norm("d", "e", 3, "bn2"),
        node("Conv", ["e", "w"], ["y"], "three"),
    ]
    found, rows = folded(model(*parts, weights=shared))
    assert [row.into for row in rows] == [("one",), ("two",)]
    assert operators(found) == ["Conv", "Relu", "Conv", "Conv"]
    (kept,) = [numpy_helper.to_array(t) for t in found.graph.initializer if t.name == "w"]
    assert np.array_equal(kept, shared["w"])


def test_what_somebody_else_needs():
    given = model(conv("x", "a"), norm("a", "b"), node("Add", ["a", "b"], ["y"], "sum"))
    stays(given, "its input is also read by 'sum'")
    stays(model(conv("x", "a"), norm("a", "y"), outputs=("y", "a")), "its input is also an output of the network")
    stays(model(conv("x", "a"), norm("a", "b"), node("Relu", ["a"], ["c"]), node("Shape", ["b"], ["s"]),
                node("Reshape", ["c", "s"], ["y"]), node("Relu", ["b"], ["z"]), outputs=("y", "z")),
          "its input is also read by '" "c'")  # fmt: skip


def test_a_shape_may_be_read_of_what_is_folded():
    """It stays what it was, under the one name that is left."""
    shape = node("Shape", ["a"], ["s"]), node("Concat", ["s0", "last"], ["t"], axis=0)
    first = node("Slice", ["s", "zero", "two"], ["s0"])
    flat = node("Reshape", ["b", "t"], ["y"])
    weights = {"zero": ints(0), "two": ints(2), "last": ints(-1)}
    given = model(conv("x", "a"), shape[0], first, shape[1], norm("a", "b"), flat, weights=weights)
    found, rows = folded(given)
    assert rows == (Folding("bn", ("conv",)),)
    assert "BatchNormalization" not in operators(found)


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed):
    found, rows = folded(network(seed), tolerance=2e-5)
    assert operators(found).count("BatchNormalization") == sum(not row.into for row in rows)
    assert rows[-1].into == ("gemm",) and rows[-2].into
