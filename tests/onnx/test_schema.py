"""Files that break ONNX's rules are refused where ONNX Runtime refuses them, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model
from normengine.onnx.schema import rule, stated

node = helper.make_node
IMAGE = {"x": (2, 4, 7, 6)}
TWO = {"x": (1, 2)}


def ints(*numbers):
    return np.array(numbers, np.int64)


def odd(op_type, attributes, inputs=("x",)):
    """A node with attributes as they come: (name, type, field, value)."""
    made = node(op_type, inputs, ["y"], "it")
    for name, kind, *given in attributes:
        made.attribute.add(name=name, type=kind, **dict([given] if given else []))
    return made


def row(nodes, text, inputs=TWO, opset=17, **weights):
    return pytest.param(nodes if isinstance(nodes, list) else [nodes], text, inputs, opset, weights, id=text[:50])


RULES = [
    row(node("Relu", ["x"], ["y"], "it", slope=1), r"Relu 'it': attribute 'slope' is not one that the operator has"),
    row(odd("LeakyRelu", [("alpha", AttributeProto.INT, "i", 1)]), "attribute 'alpha' must be a number, got 1"),
    row(odd("Softmax", [("axis", AttributeProto.FLOAT, "f", 1.0)]), "attribute 'axis' must be an integer, got 1.0"),
    row(odd("Softmax", [("axis", AttributeProto.UNDEFINED, "i", 1)]), "'axis' must be an integer, got nothing"),
    row(odd("LeakyRelu", [("alpha", AttributeProto.FLOATS)]), "'alpha' must be a number, got a list of numbers"),
    row(odd("Softmax", [("axis", AttributeProto.INT, "i", 0)] * 2), "attribute 'axis' is given twice"),
    row(node("Relu", ["x"], ["y", "z"], "it"), "Relu 'it': needs 1 outputs, got 2"),
    row(node("Relu", ["x", ""], ["y"], "it"), "Relu 'it': needs 1 inputs, got 2"),
    row(node("Add", ["x", ""], ["y"], "it"), "Add 'it': input 1 is missing"),
    row(node("Clip", ["x", "", "", ""], ["y"], "it"), "Clip 'it': needs 1 to 3 inputs, got 4"),
    row(node("Concat", [], ["y"], "it", axis=0), "Concat 'it': needs at least 1 inputs, got 0"),
    row(node("Cast", ["x"], ["y"], "it"), "Cast 'it': attribute 'to' is missing"),
    row([node("Gemm", ["x", "w"], [], "it"), node("Relu", ["x"], ["y"])], "Gemm 'it': needs 1 outputs, got 0",
        w=np.ones((2, 2), np.float32)),
    row([node("Gemm", ["x", "w"], [""], "it"), node("Relu", ["x"], ["y"])], "Gemm 'it': output 0 is missing",
        w=np.ones((2, 2), np.float32)),
    row(node("Gelu", ["x"], ["y"], "it"), "Gelu 'it': opset 17 has no such operator"),
    row(node("HardSwish", ["x"], ["y"], "it"), "HardSwish 'it': opset 13 has no such operator", opset=13),
    row(node("Upsample", ["x", "s"], ["y"], "it"), "Upsample 'it': opset 17 has no such operator", IMAGE,
        s=np.ones(4, np.float32)),
    row(node("Clip", ["x"], ["y"], "it", min=0.0), "attribute 'min' is not one that the operator has at opset 17"),
    row(node("Reshape", ["x"], ["y"], "it", shape=[-1]), "Reshape 'it': needs 2 inputs, got 1"),
    row(node("ReduceMean", ["x", "a"], ["y"], "it"), "ReduceMean 'it': needs 1 inputs, got 2", a=ints(1)),
    row(node("Add", ["x", "w"], ["y"], "it", broadcast=1), "attribute 'broadcast' is not one", opset=7,
        w=np.ones(2, np.float32)),
    row([node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["dead"], "it", a=1)], "Relu 'it': attribute 'a' is not one"),
    row([node("Relu", ["x"], ["y"]), node("Relu", ["q"], ["dead"], "it")], "Relu 'it' reads 'q', which nothing"),
    row([node("Relu", ["x"], ["a"]), node("Tanh", ["x"], ["a"], "it"), node("Relu", ["x"], ["y"])],
        "Tanh 'it' makes 'a', which exists already"),
    row([node("Split", ["x"], ["a", "a"], "it", axis=1), node("Relu", ["a"], ["y"])], "Split 'it' makes 'a', which"),
    row([node("Relu", ["x"], ["a"], "n"), node("Relu", ["a"], ["y"], "n")], "two nodes are named 'n'"),
    row([node("Add", ["x", "b"], ["a"], "it"), node("Relu", ["a"], ["b"]), node("Relu", ["a"], ["y"])],
        "Add 'it' reads what is only made from its own outputs"),
    row(node("Add", ["x", "y"], ["y"], "it"), "Add 'it' reads what is only made from its own outputs"),
    row(node("Reshape", ["x", "s"], ["y"], "it"), "input 1 is int32, which the operator does not read at opset 17",
        s=np.array([-1], np.int32)),
    row(node("Gather", ["x", "i"], ["y"], "it"), "input 1 is float32, which the operator does not read",
        i=np.array([np.nan], np.float32)),
    row([node("Add", ["a", "b"], ["c"], "it"), node("Relu", ["x"], ["y"]), node("Identity", ["c"], ["z"])],
        "inputs 0 and 1 must be of one type, got float32 and int64", a=np.float32(1), b=ints(1)),
]  # fmt: skip


def accepted(content):
    """Whether ONNX Runtime makes a session of the file."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def importing(content, inputs):
    import_graph(read_model(content), inputs)


@pytest.mark.parametrize("nodes, text, inputs, opset, weights", RULES)
def test_what_breaks_a_rule_is_refused_here_and_by_onnx_runtime(nodes, text, inputs, opset, weights, model):
    outputs = ["y", "z"] if any("z" in n.output for n in nodes) and len(nodes) > 1 else ["y"]
    content = model(nodes, inputs, outputs, weights, opset)
    assert not accepted(content)
    with pytest.raises(OnnxError, match=text) as error:
        importing(content, inputs)
    assert str(error.value).startswith("model bytes")


ALLOWED = {
    "a name that ONNX leaves free": [node("Relu", ["x"], ["y"], __note=1)],
    "inputs left out at the end": [node("Clip", ["x", "", ""], ["y"])],
    "an output left out at the end": [node("Dropout", ["x"], ["y", ""])],
    "another order": [node("Relu", ["b"], ["y"]), node("Tanh", ["a"], ["b"]), node("Relu", ["x"], ["a"])],
    "a default that is a reference": [odd("LeakyRelu", [("alpha", AttributeProto.FLOAT, "ref_attr_name", "a")])],
    "an output that is named twice": [node("Relu", ["x"], ["y"])],
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_onnx_runtime_reads_is_read(name, model):
    content = model(ALLOWED[name], TWO, ["y", "y"] if "twice" in name else ["y"])
    assert accepted(content)
    importing(content, TWO)


def test_nodes_in_another_order_compute_the_same(model, imported):
    nodes = [node("Tanh", ["b"], ["y"]), node("Add", ["a", "c"], ["b"]), node("Relu", ["x"], ["a"])]
    x = np.array([[-1.0, 2.0]], np.float32)
    (got,) = imported(model(nodes, TWO, ["y"], {"c": np.float32(1)}), {"x": x})
    assert np.allclose(got, np.tanh(np.maximum(x, 0) + 1))


@pytest.fixture
def proto(model):
    return onnx.load_model_from_string(
        model([node("Add", ["x", "w"], ["y"], "it")], TWO, ["y"], {"w": np.ones(2, np.float32)})
    )


def refused(proto, text):
    with pytest.raises(OnnxError, match=text):
        importing(proto.SerializeToString(), TWO)


def test_names_that_are_declared_twice(proto):
    proto.graph.input.append(proto.graph.input[0])
    assert not accepted(proto.SerializeToString())
    refused(proto, "input 'x' is declared twice")


@pytest.mark.parametrize("imports", [(("", 17), ("", 13)), (("ai.onnx", 13), ("", 17))])
def test_two_opsets_of_the_standard_operators(imports, proto):
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(*given) for given in imports)
    refused(proto, "imports the standard operators twice, at opsets 1[37] and 1[37]")


def test_the_same_opset_twice_is_one(proto):
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    importing(proto.SerializeToString(), TWO)


def test_no_outputs_and_no_version(proto):
    del proto.graph.output[:]
    refused(proto, "the network has no outputs; export it with one")
    proto.ClearField("ir_version")
    refused(proto, "damaged or not an ONNX file: it does not say its IR version")


@pytest.mark.parametrize(
    "kind, shape, fine",
    [(1, (2,), True), (1, ("N",), True), (1, None, True), (7, (2,), False), (1, (3,), False), (1, (1, 2), False)],
)
def test_a_weight_that_is_an_input_as_well_is_what_it_is_declared(kind, shape, fine, proto):
    proto.graph.input.append(helper.make_tensor_value_info("w", kind, shape))
    assert accepted(proto.SerializeToString()) is fine
    if fine:
        importing(proto.SerializeToString(), TWO)
    else:
        refused(proto, r"input 'w' is declared as \w+ of shape .*, its weight is float32 of shape \(2,\)")


def test_an_output_of_another_type_than_declared(proto):
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert not accepted(proto.SerializeToString())
    refused(proto, "output 'y' is declared as int64, but the network makes float32")


def test_a_constant_of_a_graph_is_no_number(model):
    inner = helper.make_graph([node("Relu", ["x"], ["a"])], "inner", [], [])
    made = node("Constant", [], ["c"], "it")
    made.attribute.append(helper.make_attribute("value", inner))
    content = model([made, node("Add", ["x", "c"], ["y"])], TWO, ["y"])
    with pytest.raises(OnnxError, match="Constant 'it': attribute 'value' must be a tensor, got a graph"):
        importing(content, TWO)


def test_numbers_beyond_their_type_are_cut_as_onnx_cuts_them(proto):
    tensor = numpy_helper.from_array(np.zeros(2, np.uint8), "u")
    tensor.ClearField("raw_data")
    tensor.int32_data.extend([300, -1])
    proto.graph.initializer.append(tensor)
    proto.graph.output.append(helper.make_tensor_value_info("u", TensorProto.UINT8, [2]))
    assert read_model(proto.SerializeToString()).weights["u"].tolist() == [44, 255]


@pytest.mark.parametrize("opset", range(6, onnx.defs.onnx_opset_version() + 1))
def test_the_stored_rules_are_those_of_onnx(opset):
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    for name in names:
        try:
            theirs = stated(onnx.defs.get_schema(name, opset, ""))
        except onnx.defs.SchemaError:
            theirs = None
        ours = rule(name, opset)
        assert (ours is None) == (theirs is None), name
        if theirs is not None:
            assert ours._replace(required=set(ours.required)) == theirs._replace(required=set(theirs.required)), name
