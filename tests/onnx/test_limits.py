"""What a small file may cost: refused before the work is done, with the limit and how to raise it."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

import normengine as ne
from normengine.onnx import FileLimits, OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

node = helper.make_node
X = {"x": (2, 4)}
RAISE = r"if the file is trusted, open it with limits=normengine.onnx.FileLimits\({}=...\)"


def ints(*numbers):
    return np.array(numbers, np.int64)


def chain(count, op_type="Relu"):
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    return [node(op_type, [a], [b]) for a, b in itertools.pairwise(names)]


def refused(content, text, name=None, limits=None, shapes=X):
    with pytest.raises(OnnxError, match=text + (".*" + RAISE.format(name) if name else "")) as error:
        import_graph(read_model(content, limits), shapes)
    assert str(error.value).startswith("model bytes")
    assert len(str(error.value)) < 1000


def imported(content, limits=None, shapes=X):
    return import_graph(read_model(content, limits), shapes)


def test_nodes(model):
    content = model(chain(11), X, ["y"])
    refused(content, "model bytes has 11 nodes, more than the 10 that are read", "nodes", FileLimits(nodes=10))
    assert len(imported(content, FileLimits(nodes=11)).nodes) == 11
    refused(model(chain(100_001), X, ["y"]), "has 100001 nodes, more than the 100000", "nodes")


def test_nodes_that_one_node_becomes(model):
    content = model([node("Pow", ["x", "p"], ["y"])], X, ["y"], {"p": np.float32(8)})
    refused(content, "Pow 'y': the network becomes 6 nodes here", "nodes", FileLimits(nodes=5))


def nested(model, depth, width):
    """Functions that call the next one ``width`` times; the last is a Relu."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    proto = onnx.load_model_from_string(model([node("f0", ["x"], ["y"], domain="mine")], X, ["y"]))
    proto.opset_import.append(opsets[1])
    for i in range(depth):
        names = ["a", *(f"t{k}" for k in range(width - 1)), "b"]
        body = [node(f"f{i + 1}", [a], [b], domain="mine") for a, b in itertools.pairwise(names)]
        last = [node("Relu", ["a"], ["b"])]
        body = body if i < depth - 1 else last
        proto.functions.append(helper.make_function("mine", f"f{i}", ["a"], ["b"], body, opsets))
    return proto


def test_functions(model):
    assert len(read_model(nested(model, 4, 5).SerializeToString()).nodes) == 125
    content = nested(model, 11, 10).SerializeToString()
    refused(content, "has 10000000000 nodes with its functions in place, more than the 100000", "nodes")
    content = nested(model, 2000, 1).SerializeToString()
    refused(content, "its functions call each other 2001 deep, more than the 32", "function_depth")
    assert len(read_model(nested(model, 40, 1).SerializeToString(), FileLimits(function_depth=41)).nodes) == 1


def test_functions_of_many_bytes(model):
    proto = nested(model, 3, 30)
    proto.functions[-1].doc_string = "x" * 1000
    limits = FileLimits(model_bytes=500_000)
    refused(proto.SerializeToString(), r"may have 9\d\d\d\d\d bytes with its functions in place", "model_bytes", limits)


def test_functions_that_repeat_the_attributes_of_their_call(model):
    proto = nested(model, 2, 2)
    for node_ in proto.functions[0].node:
        node_.attribute.add(name="v", ref_attr_name="v", type=onnx.AttributeProto.FLOATS)
    for function in proto.functions:
        function.attribute.append("v")
    proto.functions[1].node[0].attribute.add(name="alpha", ref_attr_name="v", type=onnx.AttributeProto.FLOATS)
    proto.graph.node[0].attribute.append(helper.make_attribute("v", [0.5] * 10_000))
    limits = FileLimits(model_bytes=150_000)
    refused(proto.SerializeToString(), r"may have 2\d\d\d\d\d bytes with its functions in place", "model_bytes", limits)


def test_functions_that_call_themselves(model):
    proto = nested(model, 3, 2)
    for user in (proto.functions[2], proto.functions[1]):
        user.node[0].op_type, user.node[0].domain = "f1", "mine"
        refused(proto.SerializeToString(), "the function 'mine.f[12]' calls itself")


def test_functions_that_are_no_functions(model):
    proto = nested(model, 2, 2)
    proto.functions.append(proto.functions[0])
    refused(proto.SerializeToString(), "two functions are named 'mine.f0'")
    proto = nested(model, 2, 2)
    proto.graph.node[0].input.extend(["x", "x"])
    refused(proto.SerializeToString(), "its functions cannot be put in place")


def test_sizes_of_files(model, tmp_path):
    content = model(chain(1), X, ["y"])
    refused(content, rf"has {len(content)} bytes, more than the 9 that", "model_bytes", FileLimits(model_bytes=9))
    path = tmp_path / "sparse.onnx"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(OnnxError, match="sparse.onnx has 21474836480 bytes, an ONNX file at most 2147483647"):
        read_model(path)


def test_bytes_beside_the_file(model, tmp_path):
    weights = {"w": np.ones(300, np.float32), "v": np.ones(300, np.float32)}
    proto = onnx.load_model_from_string(model([node("Add", ["w", "v"], ["y"])], {}, ["y"], weights))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    read_model(path, FileLimits(external_bytes=2400))
    with pytest.raises(OnnxError, match="weight 'v': 2400 bytes are read from files beside the model, more than"):
        read_model(path, FileLimits(external_bytes=2399))


@pytest.mark.parametrize(
    "nodes, weights, opset",
    [
        ([node("Unsqueeze", ["x", "a"], ["y"])], {"a": np.arange(100_000)}, 17),
        ([node("Unsqueeze", ["x"], ["y"], axes=list(range(100_000)))], {}, 11),
        ([node("Reshape", ["x", "a"], ["y"])], {"a": np.ones(100_000, np.int64)}, 17),
        ([node("Expand", ["x", "a"], ["y"])], {"a": np.ones(100_000, np.int64)}, 17),
        ([node("Transpose", ["x"], ["y"], perm=list(range(100_000)))], {}, 17),
        ([node("Slice", ["x", "a", "a"], ["y"])], {"a": np.ones(100_000, np.int64)}, 17),
        ([node("ReduceSum", ["x", "a"], ["y"])], {"a": np.zeros(100_000, np.int64)}, 17),
        ([node("ConstantOfShape", ["a"], ["b"]), node("Add", ["x", "b"], ["y"])], {"a": np.ones(200, np.int64)}, 17),
    ],
)
def test_lists_of_axes_and_shapes(nodes, weights, opset, model):
    refused(model(nodes, X, ["y"], weights, opset), "at most 64 integers, got (100000|200)")


def test_rank(model):
    unsqueeze = model([node("Unsqueeze", ["x", "a"], ["y"])], X, ["y"], {"a": np.arange(30)})
    refused(unsqueeze, "Unsqueeze 'y': an array has 32 axes, more than the 31", "rank", FileLimits(rank=31))
    refused(model(chain(1), {"x": (1,) * 33}, ["y"]), "input 'x' has 33 axes, more than the 32")
    proto = onnx.load_model_from_string(model([node("Add", ["x", "w"], ["y"])], X, ["y"]))
    proto.graph.initializer.add(name="w", data_type=1, dims=[2**62] * 10_000)
    refused(proto.SerializeToString(), "weight 'w' has 10000 axes, more than the 32")


def test_shapes_that_no_array_can_have(model):
    proto = onnx.load_model_from_string(model([node("Add", ["x", "w"], ["y"])], X, ["y"]))
    proto.graph.initializer.add(name="w", data_type=1, dims=[2**32, 2**32, 0], raw_data=b"")
    refused(proto.SerializeToString(), r"weight 'w' has the shape \(4294967296, 4294967296, 0\), which no array can")
    shape = (2**32, 2**32, 0)
    refused(
        model(chain(1), {"x": shape}, ["y"]), "input 'x': an array of shape .* has no elements", shapes={"x": shape}
    )


def test_lists_of_attributes(model):
    content = model([node("Constant", [], ["c"], value_floats=[0.5] * 9), node("Sub", ["x", "c"], ["y"])], X, ["y"])
    words = "Constant 'c': attribute 'value_floats' is a list of 9, more than the 8"
    refused(content, words, "list_length", FileLimits(list_length=8))


def test_pieces(model):
    places = np.random.default_rng(0).integers(0, 1000, 200_000)
    content = model([node("Gather", ["x", "i"], ["y"], axis=1)], {"x": ((1, 1000), "int64")}, ["y"], {"i": places})
    refused(content, "Gather 'y': its array would be one of 1025 pieces", "pieces", shapes={"x": (1, 1000)})
    content = model([node("Concat", ["x"] * 3000, ["y"], axis=0)], X, ["y"])
    refused(content, "Concat 'y': its array would be one of 3000 pieces", "pieces")
    names = [f"p{i}" for i in range(2000)]
    content = model([node("Split", ["x"], names, axis=1)], {"x": (1, 2000)}, names)
    refused(content, "Split 'p0': its array would be one of 2000 pieces", "pieces", shapes={"x": (1, 2000)})
    joined = [node("Concat", ["x"] * 1000, [f"c{i}"], axis=0) for i in range(101)]
    content = model([*joined, node("Concat", [f"c{i}" for i in range(101)], ["y"], axis=0)], X, ["y"])
    refused(content, "Concat 'c100': with it, 101000 pieces of arrays are cut or put together", "nodes")


@pytest.mark.parametrize(
    "places, slices",
    [
        (range(100, 200), 1),
        ([*range(0, 100, 4), *range(1, 100, 4), *range(2, 100, 4)], 3),
        ([5, 5, 5, 7, 9, 8], 3),
        ([3, 2, 1], 1),
        ([-1, -200, 1, 2], 2),
    ],
)
def test_places_in_equal_steps_are_one_slice(places, slices, model):
    places = np.array(places)
    content = model([node("Gather", ["x", "i"], ["y"], axis=1)], {"x": (2, 200)}, ["y"], {"i": places})
    graph = imported(content, shapes={"x": (2, 200)})
    assert sum(n.op == "slice" for n in graph.nodes) == slices
    x = np.arange(400, dtype=np.float32).reshape(2, 200)
    assert np.array_equal(ne.InferenceSession(content).run(None, {"x": x})[0], x[:, places])


BIG = {"s": ints(2**12, 2**12)}


@pytest.mark.parametrize(
    "made",
    [
        [node("Add", [f"r{i}", "r0"], [f"r{i + 1}"]) for i in range(50)],
        [node("Cast", [f"r{i}"], [f"r{i + 1}"], to=1 if i % 2 else 7) for i in range(50)],
        [node("Concat", ["r0"] * 9, ["r50"], axis=0)],
        [node("Flatten", ["r0"], ["r1"]), *(node("ReduceMax", ["r1"], [f"m{i}"]) for i in range(49)),
         node("Sum", [f"m{i}" for i in range(49)], ["r50"])],
        [node("Range", ["a", "b", "c"], ["r50"])],
        [node("Gather", ["r0", "i"], ["r50"], axis=0)],
        [node("Where", ["t", "r0", "r0"], ["r1"]), node("Exp", ["r1"], ["r2"]), node("Exp", ["r2"], ["r50"])],
    ],
    ids=["Add", "Cast", "Concat", "ReduceMax", "Range", "Gather", "Where"],
)  # fmt: skip
def test_constants_that_are_computed(made, model):
    """A few bytes stand for many; the limit counts all of them together."""
    nodes = [node("ConstantOfShape", ["s"], ["r0"]), *made, node("ReduceMax", ["r50"], ["y"])]
    weights = {
        **BIG, "a": np.float32(0), "b": np.float32(2**24), "c": np.float32(1), "i": np.zeros(2**10, np.int64),
        "t": np.array(True),
    }  # fmt: skip
    words = r"the arrays that are computed while the network is read come to \d+ bytes here, more than the 1000000"
    refused(model(nodes, {}, ["y"], weights), words, "constant_bytes", FileLimits(constant_bytes=10**6), {})


def test_a_weight_that_is_laid_out_anew_for_each_reader(model):
    nodes = [node("Gemm", ["x", "w"], [f"y{i}"], alpha=0.5) for i in range(20)]
    content = model(nodes, {"x": (1, 200)}, [f"y{i}" for i in range(20)], {"w": np.ones((200, 200), np.float32)})
    words = "Gemm 'y3': the arrays that are computed while the network is read come to 320000 bytes"
    refused(content, words, "constant_bytes", FileLimits(constant_bytes=200_000), {"x": (1, 200)})
    imported(content, shapes={"x": (1, 200)})


def test_large_views_cost_nothing(model):
    """Sixteen million times one number, which the graph holds as that number."""
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])]
    graph = imported(model(nodes, {"x": (1,)}, ["y"], BIG), FileLimits(constant_bytes=0), {"x": (1,)})
    assert sum(array.nbytes for array in graph.constants.values()) == 4


@pytest.mark.parametrize("given", [-1, True, 2.5, None])
def test_a_limit_is_a_number(given):
    with pytest.raises(ValueError, match="FileLimits: nodes must be an integer that is not negative, got"):
        FileLimits(nodes=given)
    with pytest.raises(ValueError, match="FileLimits: rank must be an integer from 0 to 32, got 33"):
        FileLimits(rank=33)


def test_a_session_takes_limits(model):
    content = model(chain(3), X, ["y"])
    assert ne.InferenceSession(content, limits=ne.onnx.FileLimits(nodes=3))
    with pytest.raises(OnnxError, match="has 3 nodes, more than the 2"):
        ne.InferenceSession(content, limits=FileLimits(nodes=2))
