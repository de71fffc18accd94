"""What is refused: operators that are not there, and whatever breaks a rule, as one error that names both."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

X = {"x": (2, 4, 7, 6)}
W3 = draw(5, 4, 3, 3)
W5 = draw(4, 5, 3, 3)


def test_unsupported_operators_are_listed_together(model):
    nodes = [
        node("RoiAlign", ["x", "s", "s"], ["a"], "up"),
        node("Relu", ["a"], ["b"], "fine"),
        node("RoiAlign", ["b", "s", "s"], ["c"], "further up"),
        node("Attention", ["c"], ["y"], "head", domain="com.microsoft"),
    ]
    content = model(nodes, X, ["y"], {"s": np.ones(2, np.int64)})
    with pytest.raises(OnnxError) as error:
        import_graph(read_model(content), X)
    assert str(error.value) == (
        "model bytes uses operators that are not supported: RoiAlign ('up', 'further up'); "
        "com.microsoft.Attention ('head')"
    )


def test_trees_are_refused_for_their_operators(model):
    """Not for the types that come with them."""
    trees = onnx.load_model_from_string(
        model([node("TreeEnsembleClassifier", ["x"], ["y", "p"], "trees", domain="ai.onnx.ml")], {"x": (2, 3)}, ["y"])
    )
    trees.graph.output.append(helper.make_tensor_sequence_value_info("p", TensorProto.FLOAT, None))
    trees.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    trees.opset_import[0].domain = "ai.onnx.ml"
    text = r"ai.onnx.ml.TreeEnsembleClassifier \('trees'\)"
    with pytest.raises(OnnxError, match=f"^model bytes uses operators that are not supported: {text}$"):
        ne.InferenceSession(trees.SerializeToString())


def test_a_list_of_unsupported_operators_has_an_end(model):
    names = ["x", *(f"a{i}" for i in range(499)), "y"]
    nodes = [node(f"Other{i % 50}", [a], [b]) for i, (a, b) in enumerate(itertools.pairwise(names))]
    nodes += [node("RoiAlign", ["y", "s", "s"], [f"r{i}"]) for i in range(50)]
    content = model(nodes, X, ["y", *(f"r{i}" for i in range(50))], {"s": np.ones(2, np.int64)})
    with pytest.raises(OnnxError, match=r"Other0 \('a0', 'a50', .*; and 31 more$") as error:
        import_graph(read_model(content), X)
    assert len(str(error.value)) < 5000


def test_operators_for_known_arrays_alone_are_listed_where_the_network_needs_them(model):
    nodes = [
        node("NonZero", ["x"], ["a"], "places"),
        node("Range", ["x", "x", "x"], ["b"], "numbers"),
        node("Add", ["a", "b"], ["y"], "sum"),
    ]
    with pytest.raises(OnnxError, match=r"not supported: NonZero \('places'\); Range \('numbers'\)$"):
        import_graph(read_model(model(nodes, X, ["y"], {"i": ints(0)})), X)


def rejected(nodes, text, shapes=X, weights=None, opset=17, outputs=("y",)):
    return pytest.param(nodes, shapes, weights or {}, opset, outputs, text, id=text[:40])


BAD = [
    rejected([node("Conv", ["x", "w"], ["y"], "c")], r"Conv 'c': input has 4 channels, weight expects 3",
             weights={"w": draw(5, 3, 3, 3)}),
    rejected([node("Conv", ["x", "w"], ["y"], "c", kernel_shape=[5, 5])],
             r"Conv 'c': attribute 'kernel_shape' is \(5, 5\), the weight has shape \(5, 4, 3, 3\)", weights={"w": W3}),
    rejected([node("Conv", ["x", "w"], ["y"], "c", strides=[0, 1])], "'strides' must be two positive integers",
             weights={"w": W3}),
    rejected([node("Conv", ["x", "w"], ["y"], "c", pads=[-1, 0, 0, 0])], "'pads' must be four integers that",
             weights={"w": W3}),
    rejected([node("Conv", ["x", "w"], ["y"], "c", auto_pad="SOME")], "'auto_pad' must be NOTSET, VALID",
             weights={"w": W3}),
    rejected([node("Sub", ["x"], ["y"], "s")], "Sub 's': needs 2 inputs, got 1"),
    rejected([node("Conv", ["x", "w"], ["y"], "c")], r"its input must be \(N, C, L\), .* got shape \(2, 4\)",
             {"x": (2, 4)}, {"w": draw(5, 4, 3)}),
    rejected([node("Conv", ["x", "w"], ["y"], "c")], r"the weight must be \(O, C/groups, ...\) with 2 extents of",
             weights={"w": draw(5, 4, 3)}),
    rejected([node("ConvTranspose", ["x", "w"], ["y"], "t")], "'t': input has 4 channels, weight expects 3",
             weights={"w": draw(3, 5, 3, 3)}),
    rejected([node("ConvTranspose", ["x", "w"], ["y"], "t", output_padding=[-1, 0])],
             "'output_padding' must be 2 integers that are not negative", weights={"w": W5}),
    rejected([node("ConvTranspose", ["x", "w"], ["y"], "t", output_shape=[3])],
             r"'output_shape' must be 2 positive integers, got \(3,\)", weights={"w": W5}),
    rejected([node("ConvTranspose", ["x", "w"], ["y"], "t", output_shape=[2**40, 4])],
             "'t': output_padding must be 2 numbers", weights={"w": W5}),
    rejected([node("ConvTranspose", ["x", "w"], ["y"], "t", pads=[9, 0, 9, 0])], "leaves nothing of the result",
             weights={"w": W5}),
    rejected([node("LpPool", ["x"], ["y"], "p", kernel_shape=[2, 2], p=65)], "'p' must be an integer from 1 to 64"),
    rejected([node("LpPool", ["x"], ["y"], "p", kernel_shape=[8, 2], ceil_mode=1)], r"LpPool 'p': kernel \(8, 2\) with",
             opset=18),
    rejected([node("GlobalLpPool", ["x"], ["y"], "p", p=0)], "'p' must be an integer from 1 to 64, got 0"),
    rejected([node("MaxPool", ["x"], ["y"], "m", kernel_shape=[2])], "'kernel_shape' must be two positive integers"),
    rejected([node("Conv", ["x", "w"], ["y"], "c", pads=[2**40, 0, 2**40, 0])], "Conv 'c': kernel, stride, dilation,",
             weights={"w": W3}),
    rejected([node("Relu", ["z"], ["y"], "r")], "Relu 'r' reads 'z', which nothing before it makes"),
    rejected([node("Relu", ["x"], ["x"], "r"), node("Relu", ["x"], ["y"])], "Relu 'r' makes 'x', which exists already"),
    rejected([node("Relu", ["x"], ["a"], "r")], "nothing makes 'y', an output of the network"),
    rejected([node("Concat", ["x", "x"], ["y"], "c")], "Concat 'c': attribute 'axis' is missing"),
    rejected([node("Concat", ["x", "x"], ["y"], "c", axis="one")], "attribute 'axis' must be an integer, got 'one'"),
    rejected([node("Concat", ["x", "x"], ["y"], "c", axis=4)], "axis 4 is not one of the 4 axes"),
    rejected([node("Reshape", ["x", "x"], ["y"], "r")], "the shape must be known before the network runs, but 'x' is"),
    rejected([node("Reshape", ["x", "s"], ["y"], "r")], r"Reshape 'r': cannot reshape \(2, 4, 7, 6\) to \(5, -1\)",
             weights={"s": ints(5, -1)}),
    rejected([node("LRN", ["x"], ["y"], "r", size=0)], "LRN 'r': attribute 'size' must be a positive integer, got 0"),
    rejected([node("LRN", ["x"], ["y"], "r", size=3)], r"LRN 'r': input must be \(N, C\)", {"x": (4,)}),
    rejected([node("MaxPool", ["x"], ["y", "i"], "m", kernel_shape=[2, 2, 2])],
             "MaxPool 'm': its output 1, 'i', is not supported", {"x": (1, 2, 3, 4, 5)}, outputs=("y", "i")),
    rejected([node("MaxUnpool", ["x", "i"], ["y"], "u", kernel_shape=[2, 2])], "'u': the indices must have the input's",
             weights={"i": ints(0, 1)}),
    rejected([node("MaxPool", ["x"], ["a", "i"], kernel_shape=[2, 2], strides=[2, 2]),
              node("MaxUnpool", ["a", "i", "s"], ["y"], "u", kernel_shape=[2, 2], strides=[2, 2])],
             r"'u': output_shape must be \(2, 4\) and extents of \(6, 6\) or more, got \(2, 4, 5, 6\)",
             weights={"s": ints(2, 4, 5, 6)}),
    rejected([node("Dropout", ["x"], ["y", "i"], "d")], "Dropout 'd': its output 1, 'i', is not supported",
             opset=10, outputs=("y", "i")),
    *(rejected([node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y", "m", "v", "a", "b"], "n")],
               "BatchNormalization 'n': is in training mode", weights={"s": draw(4)}, opset=opset)
      for opset in (7, 9, 13)),
    rejected([node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y", "m", "v"], "n")],
             "BatchNormalization 'n': has statistics among its outputs", weights={"s": draw(4)}, opset=15),
    rejected([node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], "n", training_mode=1)],
             "BatchNormalization 'n': is in training mode; export the network in eval mode", weights={"s": draw(4)}),
    rejected([node("Dropout", ["x", "r", "t"], ["y"], "d")], "Dropout 'd': training_mode must be one number, got shape",
             weights={"r": np.float32(0.5), "t": np.zeros(3, bool)}),
    rejected([node("Dropout", ["x", "r", "t"], ["y"], "d")], "Dropout 'd': is in training mode",
             weights={"r": np.float32(0.5), "t": np.array(True)}),
    rejected([node("Pad", ["x", "p"], ["y"], "p", mode="mirror")], "attribute 'mode' must be constant, reflect, edge",
             weights={"p": ints(*[0] * 8)}),
    rejected([node("Pad", ["x", "p"], ["y"], "p", mode="reflect")], r"axis 1 of shape \(2, 1\) has too few elements",
             {"x": (2, 1)}, {"p": ints(0, 1, 0, 0)}),
    rejected([node("Pad", ["x", "p"], ["y"], "p", mode="edge")], "array would be one of 2003 pieces",
             {"x": (2, 1)}, {"p": ints(0, 500, 0, 500)}),
    rejected([node("Slice", ["x", "s", "e", "a", "t"], ["y"], "s")], "slice 0:3:-1 of axis 1 with extent 4 selects",
             weights={"s": ints(0), "e": ints(3), "a": ints(1), "t": ints(-1)}),
    rejected([node("Celu", ["x"], ["y"], "c", alpha=0.0)], "Celu 'c': attribute 'alpha' must not be 0"),
    rejected([node("Greater", ["x", "i"], ["m"], "g"), node("Cast", ["m"], ["y"], to=1)],
             "right operand is int64, left operand is float32; convert one of them", weights={"i": ints(1)}),
    rejected([node("PRelu", ["x", "s"], ["y"], "p")], r"slope of shape \(3, 2, 4\) does not broadcast to the input",
             {"x": (2, 4)}, {"s": draw(3, 2, 4)}),
    rejected([node("DepthToSpace", ["x"], ["y"], "d", blocksize=3)], "4 channels .* are no multiple of the 9 places"),
    rejected([node("DepthToSpace", ["x"], ["y"], "d", blocksize=0)], "the block must be 1 or more, got 0"),
    rejected([node("DepthToSpace", ["x"], ["y"], "d", blocksize=2, mode="CDR")], "mode must be DCR or CRD, got 'CDR'"),
    rejected([node("SpaceToDepth", ["x"], ["y"], "d", blocksize=2)], "images of 7x6 .* are not made of blocks of 2x2"),
    rejected([node("Tile", ["x", "r"], ["y"], "t")], "must be one number for each axis", weights={"r": ints(2)}),
    rejected([node("Tile", ["x", "r"], ["y"], "t")], "cannot be made", weights={"r": ints(1, 2**40, 2**40, 1)}),
    rejected([node("Trilu", ["x"], ["y"], "t")], "must have 2 axes or more", {"x": (3,)}),
    rejected([node("Trilu", ["x", "k"], ["y"], "t")], "the diagonal must be one number", weights={"k": ints()}),
    *(rejected([node("OneHot", ["x", "d", "v"], ["y"], "o")], "the depth must be an integer of 1 or more",
               weights={"d": np.float32(d), "v": draw(2)}) for d in (0, 1.5, np.inf, np.nan)),
    rejected([node("OneHot", ["x", "d", "v"], ["y"], "o")], "cannot be made",
             weights={"d": np.array(2**50), "v": draw(2)}),
    rejected([node("OneHot", ["x", "d", "v"], ["y"], "o")], r"the values must be two, got shape \(3,\)",
             weights={"d": np.array(2), "v": draw(3)}),
    rejected([node("CumSum", ["x", "a"], ["y"], "c")], "axis 4 is not one of the 4 axes", weights={"a": np.int64(4)}),
    rejected([node("Gather", ["x", "i"], ["y"], "g", axis=1)], r"indices \[4\] are not all inside axis 1",
             weights={"i": ints(4)}),
    rejected([node("ConstantOfShape", ["s"], ["z"]), node("Reshape", ["x", "z"], ["y"])],
             r"an array of shape \(1099511627776, 1099511627776\) cannot be made", weights={"s": ints(2**40, 2**40)}),
    rejected([node("Range", ["a", "b", "c"], ["z"]), node("Reshape", ["x", "z"], ["y"])], "cannot be made",
             weights={"a": np.array(0), "b": np.array(2**60), "c": np.array(1)}),
    rejected([node("Div", ["a", "b"], ["z"], "d"), node("Reshape", ["x", "z"], ["y"])], "divides an integer by zero",
             weights={"a": ints(1), "b": ints(0)}),
    rejected([node("Cast", ["x"], ["y"], "c", to=TensorProto.FLOAT8E5M2)], "element type FLOAT8E5M2 is not supported"),
    rejected([node("Split", ["x", "s"], ["y", "z"], "s", axis=1)], "cannot split axis 1 of shape",
             weights={"s": ints(1, 2)}),
    rejected([node("ReduceMean", ["w"], ["y"], "m", axes=[0])], r"'m': a mean needs an element, got shape \(0, 3\)",
             weights={"w": draw(0, 3)}),
    rejected([node("ReduceMax", ["x"], ["y"], "m", axes=[1])], r"input 'x': an array of shape \(2, 0\) has no elements",
             {"x": (2, 0)}),
    rejected([node("ReduceMean", ["x"], ["y"], axes=[1])], r"input 'x': an array of shape \(2, 0\) has no elements",
             {"x": (2, 0)}),
    rejected([node("Expand", ["x", "s"], ["e"], "e"), node("ReduceMax", ["e"], ["y"])],
             r"Expand 'e': an array of shape \(0, 2, 1\) has no elements", {"x": (2, 1)}, weights={"s": ints(0, 1, 1)}),
    rejected([node("Gemm", ["x", "w"], ["y"], "g")], r"Gemm 'g': an array of shape \(0, 4\) has no elements",
             {"x": (2, 4)}, weights={"w": draw(4, 0)}),
    rejected([node("Conv", ["x", "w"], ["y"], "c")], r"Conv 'c': an array of shape \(0, 4, 3, 3\) has no elements",
             weights={"w": draw(0, 4, 3, 3)}),
    rejected([node("Range", ["a", "b", "a"], ["r"], "r"), node("Add", ["x", "r"], ["y"])],
             "Range 'r': cannot be computed", weights={"a": np.float32(1), "b": np.float32("inf")}),
    rejected([node("Reshape", ["s", "t"], ["r"], "r"), node("Reshape", ["x", "r"], ["y"])],
             "Reshape 'r': cannot be computed", weights={"s": ints(1, 2), "t": ints(-(2**62), 3)}),
    rejected([node("Squeeze", ["s", "t"], ["r"], "r"), node("Reshape", ["x", "r"], ["y"])],
             "Squeeze 'r': cannot be computed", weights={"s": ints(1, 2), "t": ints(2**40)}),
    rejected([node("MatMul", ["x", "x"], ["y"], "m")], "MatMul .m.: matrices .* differ in the summed extent: 6, 7"),
    rejected([node("Gemm", ["x", "w"], ["y"], "g")], "both factors must be matrices", weights={"w": draw(6, 5)}),
]  # fmt: skip


@pytest.mark.parametrize("nodes, shapes, weights, opset, outputs, text", BAD)
def test_what_breaks_a_rule_is_one_error(nodes, shapes, weights, opset, outputs, text, model):
    content = model(nodes, shapes, outputs, weights, opset)
    with pytest.raises(OnnxError, match=text):
        import_graph(read_model(content), shapes)


def test_an_absurd_input_takes_no_memory(model):
    content = model([node("Relu", ["x"], ["y"])], {"x": (2**30, 2**30)}, ["y"])
    with pytest.raises(OnnxError, match="more than this machine's"):
        import_graph(read_model(content), {"x": (2**30, 2**30)})


def test_random_damage_never_gives_another_error():
    folder = Path(__file__).parent.parent / "fixtures" / "onnx"
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("*.onnx"))[::4]:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            places = rng.integers(0, len(content), 4)
            damaged[places] = rng.integers(0, 256, 4)
            with suppress(OnnxError):
                found = read_model(damaged.tobytes())
                import_graph(found, {port.name: (2, 3, 8, 8) for port in found.inputs})
