"""Every operator that is read, in its forms through the opsets, against ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import RNG, draw, ints, node

from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

X = {"x": (2, 4, 7, 6)}
W3 = draw(5, 4, 3, 3)


def one(op_type, shapes=None, weights=None, opset=17, **attributes):
    """A row: one node that reads the inputs, then the weights (names that begin with ``_`` are left out)."""
    shapes, weights = shapes or X, weights or {}
    names = [*shapes, *weights]
    nodes = [node(op_type, ["" if n.startswith("_") else n for n in names], ["y"], "it", **attributes)]
    return nodes, shapes, {k: v for k, v in weights.items() if not k.startswith("_")}, opset


CONV = {
    "plain": one("Conv", weights={"w": W3, "b": draw(5)}),
    "pads": one("Conv", weights={"w": W3}, pads=[1, 0, 2, 3], strides=[2, 1], kernel_shape=[3, 3]),
    "same upper": one("Conv", weights={"w": draw(5, 4, 2, 4)}, auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": one("Conv", weights={"w": draw(5, 4, 2, 4)}, auto_pad="SAME_LOWER"),
    "valid": one("Conv", weights={"w": W3}, auto_pad="VALID", dilations=[2, 1]),
    "groups": one("Conv", weights={"w": draw(6, 2, 3, 3)}, group=2),
    "depthwise": one("Conv", weights={"w": draw(4, 1, 3, 3)}, group=4, opset=11),
}
LINEAR = {
    "gemm": one("Gemm", {"x": (3, 4)}, {"w": draw(5, 4), "b": draw(5)}, transB=1),
    "gemm alpha beta": one("Gemm", {"x": (3, 4)}, {"w": draw(4, 5), "b": draw(1, 5)}, alpha=0.5, beta=-2.0),
    "gemm transA": one("Gemm", {"x": (4, 3)}, {"w": draw(4, 5)}, transA=1),
    "gemm full c": one("Gemm", {"x": (3, 4)}, {"w": draw(4, 5), "b": draw(3, 5)}, beta=0.5),
    "gemm column c": one("Gemm", {"x": (3, 4)}, {"w": draw(4, 5), "b": draw(3, 1)}),
    "gemm scalar c": one("Gemm", {"x": (3, 4)}, {"w": draw(4, 5), "b": draw()}, beta=3.0),
    "gemm of inputs": one("Gemm", {"x": (3, 4), "w": (5, 4), "c": (3, 5)}, transB=1, alpha=2.0, beta=0.5),
    "matmul": one("MatMul", {"x": (3, 4)}, {"w": draw(4, 5)}),
    "matmul of images": one("MatMul", X, {"w": draw(6, 5)}),
    "matmul of inputs": one("MatMul", {"x": (3, 4), "z": (4, 2)}),
    "matmul from the left": (
        [node("MatMul", ["w", "x"], ["y"])], X, {"w": draw(5, 7)}, 17),
    "matmul and add": (
        [node("MatMul", ["x", "w"], ["a"]), node("Add", ["b", "a"], ["y"])],
        {"x": (3, 4)}, {"w": draw(4, 5), "b": draw(5)}, 17),
    "conv and add": (
        [node("Conv", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])], X, {"w": W3, "b": draw(5, 1, 1)}, 17),
}  # fmt: skip
POOL = {
    "max": one("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    "max dilated": one("MaxPool", kernel_shape=[3, 2], dilations=[2, 2]),
    "max ceil": one("MaxPool", kernel_shape=[2, 2], strides=[2, 4], ceil_mode=1),
    "average": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average counted": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 1], count_include_pad=1),
    "average ceil": one("AveragePool", kernel_shape=[2, 2], strides=[2, 4], ceil_mode=1, opset=19),
    "global average": one("GlobalAveragePool"),
    "global max": one("GlobalMaxPool"),
}
ELEMENTWISE = {
    **{name: one(name) for name in ("Relu", "Sigmoid", "Tanh", "Neg", "Exp", "Erf", "Abs", "Softplus", "Identity")},
    "LeakyRelu": one("LeakyRelu", alpha=0.3),
    "LeakyRelu default": one("LeakyRelu"),
    "PRelu": one("PRelu", weights={"slope": draw(4, 1, 1)}),
    "Elu": one("Elu", alpha=0.7),
    "Celu": one("Celu", alpha=0.7),
    "Selu": one("Selu"),
    "Selu constants": one("Selu", alpha=1.2, gamma=0.9),
    "Mish": one("Mish", opset=18),
    "HardSigmoid": one("HardSigmoid", alpha=0.3, beta=0.4),
    "HardSwish": one("HardSwish"),
    "Gelu": one("Gelu", opset=20),
    "Gelu tanh": one("Gelu", opset=20, approximate="tanh"),
    "Swish": one("Swish", opset=24),
    "Swish alpha": one("Swish", opset=24, alpha=1.5),
    "Clip": one("Clip", weights={"low": np.float32(-0.3), "high": np.float32(0.4)}),
    "Clip low": one("Clip", weights={"low": np.float32(0.1)}),
    "Clip high": one("Clip", weights={"_": 0, "high": np.float32(0.4)}),
    "Clip to 6": one("Clip", weights={"low": np.float32(0), "high": np.float32(6)}),
    "Clip attributes": one("Clip", min=-0.5, max=0.25, opset=10),
    "Clip nothing": one("Clip"),
    "Add": one("Add", {"x": (2, 4), "z": (3, 1, 4)}),
    "Sub": one("Sub", weights={"c": draw(6)}),
    "Mul": one("Mul", weights={"c": draw(4, 1, 1)}),
    "Div": one("Div", weights={"c": np.float32(3)}),
    "Sum": one("Sum", {"x": (2, 4), "z": (4,)}, {"c": draw(2, 1)}),
    "Max": one("Max", {"x": (2, 4), "z": (4,)}, {"c": draw(2, 1)}),
    "Min": one("Min", {"x": (2, 4), "z": (4,)}),
    "Pow 2": one("Pow", weights={"p": np.float32(2)}),
    "Pow -3": one("Pow", weights={"p": np.float32(-3)}),
    "x * sigmoid(x)": (
        [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])], X, {}, 17),
    "Where of Greater": (
        [node("Greater", ["x", "c"], ["m"]), node("Exp", ["x"], ["e"]), node("Where", ["m", "x", "e"], ["y"])],
        X, {"c": draw(4, 1, 1)}, 17),
    "Where of Less": (
        [node("Less", ["x", "z"], ["m"]), node("Where", ["m", "z", "x"], ["y"])],
        {"x": (2, 3), "z": (3,)}, {}, 17),
    "Cast of Greater": (
        [node("Greater", ["x", "c"], ["m"]), node("Cast", ["m"], ["f"], to=1), node("Mul", ["x", "f"], ["y"])],
        X, {"c": np.float32(0.1)}, 17),
    "roots": (
        [node("Mul", ["x", "x"], ["a"]), node("Add", ["a", "one"], ["b"]), node("Sqrt", ["b"], ["c"]),
         node("Log", ["b"], ["d"]), node("Pow", ["b", "half"], ["e"]), node("Pow", ["b", "less"], ["f"]),
         node("Reciprocal", ["b"], ["g"]), node("Sum", ["c", "d", "e", "f", "g"], ["y"])],
        X, {"one": np.float32(1), "half": np.float32(0.5), "less": np.float32(-0.5)}, 17),
}  # fmt: skip
NORM = {
    "batch norm": one("BatchNormalization", weights={"s": draw(4), "b": draw(4), "m": draw(4), "v": abs(draw(4))}),
    "batch norm 1d": one(
        "BatchNormalization", {"x": (3, 4)}, {"s": draw(4), "b": draw(4), "m": draw(4), "v": abs(draw(4))}, epsilon=0.1
    ),
    "instance norm": one("InstanceNormalization", weights={"s": draw(4), "b": draw(4)}),
    "instance norm 1d": one("InstanceNormalization", {"x": (3, 4, 5)}, {"s": draw(4), "b": draw(4)}, epsilon=0.1),
    "group norm by instance norm": (
        [
            node("Reshape", ["x", "rows"], ["r"]),
            node("InstanceNormalization", ["r", "s", "b"], ["n"]),
            node("Reshape", ["n", "whole"], ["z"]),
            node("Mul", ["z", "c"], ["y"]),
        ],
        X,
        {"rows": ints(0, 2, -1), "s": draw(2), "b": draw(2), "whole": ints(2, 4, 7, 6), "c": draw(4, 1, 1)},
        17,
    ),
    "group norm by instance norm of what is computed": (
        [
            node("Reshape", ["x", "rows"], ["r"]),
            node("Abs", ["v"], ["s"]),
            node("InstanceNormalization", ["r", "s", "b"], ["n"]),
            node("Relu", ["n"], ["y"]),
        ],
        {**X, "v": (2,)},
        {"rows": ints(0, 2, -1), "b": draw(2)},
        17,
    ),
    "group norm 18": one("GroupNormalization", weights={"s": draw(2), "b": draw(2)}, opset=18, num_groups=2),
    "group norm 21": one("GroupNormalization", weights={"s": draw(4), "b": draw(4)}, opset=21, num_groups=2),
    "group norm 1d": one(
        "GroupNormalization", {"x": (3, 6, 5)}, {"s": draw(6), "b": draw(6)}, opset=21, num_groups=3, epsilon=0.1
    ),
    "layer norm": one("LayerNormalization", weights={"s": draw(6), "b": draw(6)}),
    "layer norm of images": one("LayerNormalization", weights={"s": draw(4, 7, 6), "b": draw(4, 7, 6)}, axis=1),
    "layer norm without bias": one("LayerNormalization", weights={"s": draw(7, 6)}, axis=-2, epsilon=0.1),
    "layer norm that broadcasts": one("LayerNormalization", weights={"s": draw(7, 1), "b": draw(1, 6)}, axis=2),
    # As many images as channels, since ONNX's evaluator takes the one number for the other.
    "response norm": one("LRN", {"x": (7, 7, 3, 2)}, size=3, alpha=0.5, beta=0.6, bias=2.0),
    "response norm of an even window": one("LRN", {"x": (7, 7, 3, 2)}, size=4, alpha=2.0),
    "root mean square norm": one("RMSNormalization", weights={"s": draw(7, 6)}, opset=23, axis=-2, epsilon=0.1),
    "root mean square norm that broadcasts": one("RMSNormalization", weights={"s": draw(6)}, opset=23, axis=1),
    "mean and variance norm": one("MeanVarianceNormalization", opset=13),
    "mean and variance norm of rows": one("MeanVarianceNormalization", opset=9, axes=[-1]),
    "response norm default": one("LRN", {"x": (4, 4, 6, 5)}, size=20),
    "dropout": one("Dropout"),
    "dropout with a mask": (
        [node("Dropout", ["x"], ["d", "m"]), node("Where", ["m", "d", "zero"], ["y"])],
        X,
        {"zero": np.float32(0)},
        17,
    ),
    "dropout ratio": one("Dropout", weights={"ratio": np.float32(0.5)}),
}
SOFTMAX = {
    "softmax": one("Softmax", axis=1),
    "softmax default": one("Softmax"),
    "log softmax": one("LogSoftmax", axis=-2),
}
REDUCE = {
    "mean": one("ReduceMean", axes=[2, 3]),
    "mean kept": one("ReduceMean", axes=[-1], keepdims=0),
    "mean of all": one("ReduceMean", keepdims=0),
    "mean 18": one("ReduceMean", weights={"axes": ints(1, -1)}, opset=18),
    "sum": one("ReduceSum", weights={"axes": ints(0)}),
    "sum 11": one("ReduceSum", axes=[1], opset=11),
    "max": one("ReduceMax", axes=[2, 3]),
    "max of rows": one("ReduceMax", axes=[-1], keepdims=0),
    "min": one("ReduceMin", axes=[1, 2]),
    "max of channels": one("ReduceMax", axes=[1], keepdims=0),
    "max of all": one("ReduceMax", keepdims=0),
    "max 18": one("ReduceMax", weights={"axes": ints(0, -1)}, opset=18),
    "max noop": one("ReduceMax", opset=18, noop_with_empty_axes=1),
    "sum noop": one("ReduceSum", noop_with_empty_axes=1),
    "prod": one("ReduceProd", axes=[1, 3]),
    "prod of all": one("ReduceProd", {"x": (2, 5)}, keepdims=0),
    "prod 18": one("ReduceProd", weights={"axes": ints(-1)}, opset=18, keepdims=0),
    "l1": one("ReduceL1", axes=[1], keepdims=0),
    "l1 noop": one("ReduceL1", opset=18, noop_with_empty_axes=1),
    "l2": one("ReduceL2", axes=[1], keepdims=1),
    "l2 18": one("ReduceL2", weights={"axes": ints(1, 2)}, opset=18),
    "squares": one("ReduceSumSquare", axes=[0, 2], opset=11),
    "log of a sum": ([node("Exp", ["x"], ["e"]), node("ReduceLogSum", ["e"], ["y"], axes=[2], keepdims=0)], X, {}, 17),
    "log of a sum of exponentials": one("ReduceLogSumExp", axes=[1, 2], keepdims=0),
    "log of a sum of exponentials of all": one("ReduceLogSumExp"),
}
SHAPE = {
    "reshape": one("Reshape", weights={"s": ints(0, -1)}),
    "reshape zeros": one("Reshape", weights={"s": ints(0, 0, 42)}),
    "flatten": one("Flatten"),
    "flatten 0": one("Flatten", axis=0),
    "flatten -2": one("Flatten", axis=-2),
    "flatten 4": one("Flatten", axis=4),
    "squeeze": one("Squeeze", {"x": (2, 1, 3, 1)}),
    "squeeze 13": one("Squeeze", {"x": (2, 1, 3, 1)}, {"a": ints(-1)}),
    "squeeze 11": one("Squeeze", {"x": (2, 1, 3, 1)}, axes=[1], opset=11),
    "unsqueeze": one("Unsqueeze", {"x": (2, 3)}, {"a": ints(-1, 0)}),
    "unsqueeze 11": one("Unsqueeze", {"x": (2, 3)}, axes=[1], opset=11),
    "transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "transpose default": one("Transpose"),
    "concat": one("Concat", {"x": (2, 4, 3), "z": (2, 1, 3)}, {"c": draw(2, 2, 3)}, axis=-2),
    "expand": one("Expand", {"x": (2, 1, 3)}, {"s": ints(4, 1, 5, 1)}),
    "slice": one("Slice", weights={"s": ints(1, -3), "e": ints(2**63 - 1, -1), "a": ints(1, -1), "t": ints(2, 1)}),
    "slice from the front": one("Slice", weights={"s": ints(0, 1), "e": ints(1, 3)}),
    "gather one": one("Gather", weights={"i": np.array(-1)}, axis=1),
    "gather steps": one("Gather", weights={"i": ints(1, 3, 5)}, axis=2),
    "gather any": one("Gather", weights={"i": ints(3, 0, -1, 3)}, axis=1),
    "gather square": one("Gather", weights={"i": np.array([[0, 1], [2, 3]])}, axis=1),
    "pad": one("Pad", weights={"p": ints(0, 1, 2, 0, 0, 0, 1, 3)}),
    "pad with ones": one("Pad", weights={"p": ints(0, 0, 2, 0, 0, 1, 0, 3), "c": np.float32(1)}),
    "pad 18": one("Pad", weights={"p": ints(1, 2), "_": 0, "a": ints(-1)}, opset=18),
    "cast": one("Cast", {"x": ((2, 3), "int64")}, to=TensorProto.FLOAT),
}
ROWS = {**CONV, **LINEAR, **POOL, **ELEMENTWISE, **NORM, **SOFTMAX, **REDUCE, **SHAPE}


def feeds_for(shapes):
    return {
        name: draw(*given) if not isinstance(given[0], tuple) else RNG.integers(-9, 9, given[0]).astype(given[1])
        for name, given in shapes.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_an_operator_gives_what_the_reference_gives(name, model, imported, reference):
    nodes, shapes, weights, opset = ROWS[name]
    content, feeds = model(nodes, shapes, ["y"], weights, opset), feeds_for(shapes)
    (want,), (got,) = reference(content, feeds), imported(content, feeds)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2e-6 * max(1.0, np.abs(want).max())


def test_squeezing_axes_of_an_empty_list_squeezes_all(model, imported):
    """As ONNX Runtime does, of known arrays too."""
    nodes = [node("Squeeze", ["x", "a"], ["b"]), node("Squeeze", ["w", "a"], ["c"]), node("Add", ["b", "c"], ["y"])]
    content = model(nodes, {"x": (2, 1, 3, 1)}, ["y"], {"a": ints(), "w": draw(1, 3, 1)})
    (got,) = imported(content, {"x": draw(2, 1, 3, 1)})
    assert got.shape == (2, 3)


def test_split_with_and_without_sizes(model, imported):
    x = draw(2, 7)
    for opset, extra, attributes, sizes in [
        (11, {}, {"split": [2, 5]}, (2, 5)),
        (13, {"s": ints(4, 3)}, {}, (4, 3)),
        (18, {}, {"num_outputs": 2}, (4, 3)),
    ]:
        content = model(
            [node("Split", ["x", *extra], ["a", "b"], axis=1, **attributes)], {"x": (2, 7)}, ["a", "b"], extra, opset
        )
        a, b = imported(content, {"x": x})
        assert np.array_equal(a, x[:, : sizes[0]])
        assert np.array_equal(b, x[:, sizes[0] :])


def test_pooling_with_padding_for_the_same_size(model, imported):
    """7 rows in steps of 2 are 4 windows of 3: one row of padding on either side; 6 columns need none."""
    x = draw(2, 4, 7, 6)
    window = {"kernel_shape": [3, 2], "strides": [2, 2]}
    (same,) = imported(model([node("MaxPool", ["x"], ["y"], auto_pad="SAME_LOWER", **window)], X, ["y"]), {"x": x})
    (pads,) = imported(model([node("MaxPool", ["x"], ["y"], pads=[1, 0, 1, 0], **window)], X, ["y"]), {"x": x})
    assert same.shape == (2, 4, 4, 3)
    assert np.array_equal(same, pads)


def test_negative_pads_crop(model, imported):
    x = draw(2, 4, 7, 6)
    content = model([node("Pad", ["x", "p"], ["y"])], X, ["y"], {"p": ints(0, 0, -2, 1, 0, -1, -1, 0)})
    (got,) = imported(content, {"x": x})
    assert np.array_equal(got, np.pad(x[:, :3, 2:6], [(0, 0), (0, 0), (0, 0), (1, 0)]))


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_before_opset_13_takes_all_axes_from_its_axis_on(op_type, model, imported):
    x = draw(2, 3, 4)
    flat = np.exp(x.reshape(2, 12))
    want = (flat / flat.sum(1, keepdims=True)).reshape(x.shape)
    (got,) = imported(model([node(op_type, ["x"], ["y"], axis=1)], {"x": x.shape}, ["y"], opset=11), {"x": x})
    assert np.allclose(got if op_type == "Softmax" else np.exp(got), want, rtol=1e-6)


def test_padding_goes_into_the_layer_behind_it(model):
    pads = node("Pad", ["x", "p"], ["a"])
    weights = {"p": ints(0, 0, 1, 2, 0, 0, 0, 1), "w": W3}
    behind = [
        (node("Conv", ["a", "w"], ["y"], pads=[1, 0, 0, 0]), ["conv2d"], (2, 2, 0, 1)),
        (node("AveragePool", ["a"], ["y"], kernel_shape=[3, 3]), ["avg_pool2d"], (1, 2, 0, 1)),
    ]
    for layer, operators, padding in behind:
        content = model([pads, layer], X, ["y"], weights)
        graph = import_graph(read_model(content), X)
        assert [n.op for n in graph.nodes] == operators
        assert graph.nodes[0].attrs["padding"] == padding


def test_merged_padding_computes_the_same(model, imported, reference):
    feeds = feeds_for(X)
    low = {"c": np.float32("-inf")}
    rounded = {"kernel_shape": [3, 3], "ceil_mode": 1}
    for layer, extra in [
        (node("Conv", ["a", "w"], ["y"], pads=[1, 0, 0, 0]), {"w": W3}),
        (node("AveragePool", ["a"], ["y"], kernel_shape=[3, 3]), {}),
        (node("AveragePool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), {}),
        (node("AveragePool", ["a"], ["y"], kernel_shape=[2, 2], strides=[2, 2]), {}),
        (node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3]), {}),
        (node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3]), low),
        *((node("MaxPool", ["a"], ["y"], strides=[s, t], **rounded), low) for s in (1, 2, 3, 4) for t in (1, 2, 3)),
        (node("MaxPool", ["a"], ["y"], strides=[4, 2], pads=[1, 0, 1, 1], **rounded), low),
    ]:
        pads = node("Pad", ["x", "p", "c"] if "c" in extra else ["x", "p"], ["a"])
        content = model([pads, layer], X, ["y"], {"p": ints(0, 0, 1, 2, 0, 0, 0, 1), **extra})
        (want,), (got,) = reference(content, feeds), imported(content, feeds)
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_bias_added_behind_a_layer_becomes_its_own(model):
    for name in ("matmul and add", "conv and add"):
        nodes, shapes, weights, opset = ROWS[name]
        graph = import_graph(read_model(model(nodes, shapes, ["y"], weights, opset)), shapes)
        assert [len(n.inputs) for n in graph.nodes] == [3]


def test_weights_are_the_arrays_of_the_file(model):
    content = model([node("Conv", ["x", "w"], ["y"])], X, ["y"], {"w": W3})
    found = read_model(content)
    graph = import_graph(found, X)
    assert next(iter(graph.constants.values())).base is found.weights["w"].base


def test_shapes_computed_from_the_batch_size(model, imported):
    """x.view(x.size(0), -1) and a block of zeros, as exporters write them."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "front"], ["n1"]),
        node("Constant", [], ["rest"], value=numpy_helper.from_array(ints(-1))),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("Mul", ["n", "two"], ["twice"]),
        node("Div", ["twice", "two"], ["again"]),
        node("Cast", ["again"], ["cast"], to=TensorProto.INT64),
        node("Unsqueeze", ["cast", "front"], ["n2"]),
        node("Concat", ["n2", "two1"], ["block"], axis=0),
        node("ConstantOfShape", ["block"], ["zeros"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
        node("Concat", ["flat", "zeros"], ["y"], axis=1),
    ]
    weights = {"zero": np.array(0), "front": ints(0), "two": np.array(2), "two1": ints(2)}
    content = model(nodes, {"x": ("N", 2, 3)}, ["y"], weights)
    for n in (1, 2, 5):
        x = draw(n, 2, 3)
        (got,) = imported(content, {"x": x})
        assert np.array_equal(got, np.concatenate([x.reshape(n, 6), np.full((n, 2), 0.5)], 1))


def test_known_arrays_are_computed_as_onnx_says(model, imported):
    """Integers divide towards zero; ranges, comparisons and reductions end in the shape of a reshape."""
    nodes = [
        node("Div", ["seven", "minus_two"], ["q"]),  # -3
        node("Neg", ["q"], ["three"]),
        node("Range", ["one", "three", "one"], ["range"]),  # 1, 2
        node("ReduceProd", ["range"], ["two"], keepdims=1),
        node("Equal", ["two", "range"], ["mask"]),
        node("Where", ["mask", "two", "minus"], ["shape"]),  # -1, 2
        node("Slice", ["shape", "end", "far", "zero", "end"], ["turned"]),  # 2, -1
        node("Reshape", ["x", "turned"], ["y"]),
    ]
    weights = {
        "seven": np.array(7), "minus_two": np.array(-2), "one": np.array(1), "minus": ints(-1), "end": ints(-1),
        "far": ints(-(2**63) + 1), "zero": ints(0),
    }  # fmt: skip
    (got,) = imported(model(nodes, {"x": (3, 4)}, ["y"], weights), {"x": draw(3, 4)})
    assert got.shape == (2, 6)


def test_what_no_output_needs_is_left_out(model):
    nodes = [
        node("Relu", ["x"], ["y"]),
        node("Resize", ["y"], ["dead"], "up"),
        node("NonZero", ["dead"], ["dead as well"]),
    ]
    graph = import_graph(read_model(model(nodes, X, ["y"])), X)
    assert [n.op for n in graph.nodes] == ["relu"]


def test_outputs_that_nothing_reads_are_left_out(model, imported, reference):
    """Whatever their type: the places of maxima, the logarithms beside a loss, a mask."""
    nodes = [
        node("MaxPool", ["x"], ["a", "places"], kernel_shape=[2, 2]),
        node("Dropout", ["a"], ["b", "mask"]),
        node("Dropout", ["b"], ["y", ""]),
    ]
    content, feeds = model(nodes, X, ["y"]), feeds_for(X)
    assert np.array_equal(imported(content, feeds)[0], reference(content, feeds)[0])
