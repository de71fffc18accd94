"""``If`` becomes the branch that its condition takes, if that is known while the network is read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

SHAPE = (2, 3)


def branch(nodes, output, weights=None, name="branch"):
    stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], stored)


def choice(condition, then_branch, else_branch, output="y", label="choice"):
    return node("If", [condition], [output], label, then_branch=then_branch, else_branch=else_branch)


def run(content, **feeds):
    return ne.InferenceSession(content).run(None, feeds)[0]


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_of_a_known_condition_is_put_in_place(condition, model):
    """Branches read what is around them, have weights of their own, and may use the same names."""
    then_branch = branch(
        [node("Mul", ["a", "w"], ["t"]), node("Add", ["t", "x"], ["out"])], "out", {"w": np.float32(3)}
    )
    else_branch = branch([node("Sub", ["a", "w"], ["t"]), node("Neg", ["t"], ["out"])], "out", {"w": np.float32(5)})
    nodes = [node("Relu", ["x"], ["a"]), choice("c", then_branch, else_branch, "z"), node("Add", ["z", "a"], ["y"])]
    x = draw(*SHAPE)
    a = np.maximum(x, 0)
    want = (a * 3 + x if condition else 5 - a) + a
    content = model(nodes, {"x": SHAPE}, ["y"], {"c": np.array(condition)})
    assert np.allclose(run(content, x=x), want)


@pytest.mark.parametrize("rows", [2, 5])
def test_a_condition_on_a_shape(rows, model):
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Greater", ["n", "three"], ["many"]),
        choice("many", branch([node("Neg", ["x"], ["o"])], "o"), branch([node("Abs", ["x"], ["o"])], "o")),
    ]
    x = draw(rows, 3)
    content = model(nodes, {"x": ("N", 3)}, ["y"], {"zero": np.array(0), "three": np.array(3)})
    assert np.array_equal(run(content, x=x), -x if rows > 3 else np.abs(x))


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_branches_within_branches(outer, inner, model):
    nested = choice(
        "inner", branch([node("Mul", ["t", "x"], ["o"])], "o"), branch([node("Identity", ["t"], ["o"])], "o"), "chosen"
    )
    then_branch = branch([node("Add", ["x", "one"], ["t"]), nested, node("Neg", ["chosen"], ["out"])], "out")
    nodes = [choice("outer", then_branch, branch([node("Identity", ["x"], ["out"])], "out"))]
    weights = {"outer": np.array(outer), "inner": np.array(inner), "one": np.float32(1)}
    x = draw(*SHAPE)
    want = -((x + 1) * x if inner else x + 1) if outer else x
    assert np.allclose(run(model(nodes, {"x": SHAPE}, ["y"], weights), x=x), want)


def test_a_branch_may_be_what_it_reads(model):
    """Its output may be a name from around it, as PyTorch's exporter writes a squeeze that does nothing."""
    nodes = [node("Relu", ["x"], ["a"]), choice("c", branch([], "a"), branch([node("Neg", ["a"], ["o"])], "o"))]
    x = draw(*SHAPE)
    assert np.array_equal(run(model(nodes, {"x": SHAPE}, ["y"], {"c": np.array(True)}), x=x), np.maximum(x, 0))


def test_branches_that_make_known_arrays(model):
    shape = branch([node("Identity", ["long"], ["o"])], "o")
    nodes = [
        choice("c", shape, branch([node("Identity", ["wide"], ["o"])], "o"), "s"),
        node("Reshape", ["x", "s"], ["y"]),
    ]
    weights = {"c": np.array(False), "long": ints(6), "wide": ints(1, 6)}
    assert run(model(nodes, {"x": SHAPE}, ["y"], weights), x=draw(*SHAPE)).shape == (1, 6)


def test_a_condition_among_the_inputs(model):
    nodes = [choice("c", branch([node("Neg", ["x"], ["o"])], "o"), branch([node("Exp", ["x"], ["o"])], "o"))]
    session = ne.InferenceSession(model(nodes, {"x": SHAPE, "c": ((1,), "bool")}, ["y"]))
    x = draw(*SHAPE)
    for condition in (True, False, True):
        (y,) = session.run(None, {"x": x, "c": np.array([condition])})
        assert np.allclose(y, -x if condition else np.exp(x), rtol=1e-6)
    assert len(session.programs) == 2


def test_a_condition_on_the_data_is_refused(model):
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        choice("c", branch([node("Neg", ["x"], ["o"])], "o"), branch([node("Abs", ["x"], ["o"])], "o")),
    ]
    content = model(nodes, {"x": (20, 30)}, ["y"], {"zero": np.float32(0)})
    text = "If 'choice': the condition must be known before the network runs, but 'c' is computed by it"
    with pytest.raises(OnnxError, match=text):
        ne.InferenceSession(content)


def test_only_the_branch_that_is_taken_must_be_supported(model):
    strange = branch([node("Strange", ["x"], ["t"], "odd"), node("Stranger", ["t"], ["o"], "odder")], "o")
    plain = branch([node("Neg", ["x"], ["o"])], "o")
    for then_branch, else_branch in ((plain, strange), (strange, plain)):
        content = model([choice("c", then_branch, else_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
        if then_branch is plain:
            assert ne.InferenceSession(content)(draw(*SHAPE)).shape == SHAPE
        else:
            with pytest.raises(OnnxError, match=r"not supported: Strange \('choice/odd'\)$"):
                ne.InferenceSession(content)


def test_errors_within_a_branch_name_the_node(model):
    then_branch = branch([node("Concat", ["x", "x"], ["o"], "inner", axis=9)], "o")
    content = model([choice("c", then_branch, then_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
    with pytest.raises(OnnxError, match="^model bytes: Concat 'choice/inner': axis 9 is not one of the 2 axes"):
        ne.InferenceSession(content)
    then_branch = branch([node("Neg", ["nowhere"], ["o"], "inner")], "o")
    content = model([choice("c", then_branch, then_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
    with pytest.raises(OnnxError, match="If 'choice' reads 'nowhere', which nothing before it makes"):
        ne.InferenceSession(content)
    then_branch = branch([node("Neg", ["x"], ["o"], slope=1.0)], "o")
    content = model([choice("c", then_branch, then_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
    with pytest.raises(
        OnnxError, match="If 'choice': attribute '(then|else)_branch': Neg 'o': attribute 'slope' is not"
    ):
        ne.InferenceSession(content)


def test_loops_are_refused_in_one_sentence(model):
    ports = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "v": TensorProto.FLOAT}
    made = {"on": TensorProto.BOOL, "w": TensorProto.FLOAT}
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Neg", ["v"], ["w"])],
        "body",
        *([helper.make_tensor_value_info(name, kind, None) for name, kind in each.items()] for each in (ports, made)),
    )
    nodes = [node("Loop", ["n", "", "x"], ["z"], "around", body=body), node("Strange", ["z"], ["y"], "odd")]
    content = model(nodes, {"x": SHAPE}, ["y"], {"n": np.array(3)})
    with pytest.raises(OnnxError) as error:
        ne.InferenceSession(content)
    assert str(error.value) == (
        "model bytes uses operators that are not supported: Loop ('around'); Strange ('odd'); a loop runs as often as "
        "the data say, which no compiled network does: export its steps written out"
    )


def test_nodes_of_branches_count(model):
    then_branch = branch([node("Neg", ["x"], ["o"])], "o")
    content = model([choice("c", then_branch, then_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
    ne.InferenceSession(content, limits=ne.onnx.FileLimits(nodes=3))
    with pytest.raises(OnnxError, match="model bytes has 3 nodes, more than the 2 that are read"):
        ne.InferenceSession(content, limits=ne.onnx.FileLimits(nodes=2))


def test_functions_of_the_file_may_branch(model):
    """A file's own function with an If, whose condition is an attribute of the call."""
    function = helper.make_function(
        "own", "Either", ["v"], ["o"],
        [node("Constant", [], ["c"], "c"),
         choice("c", branch([node("Neg", ["v"], ["p"])], "p"), branch([node("Abs", ["v"], ["p"])], "p"), "o")],
        [helper.make_opsetid("", 17)], ["which"])  # fmt: skip
    reference = function.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "value", "which", onnx.AttributeProto.TENSOR
    call = node("Either", ["x"], ["y"], domain="own", which=numpy_helper.from_array(np.array(True)))
    proto = onnx.load_model_from_string(model([call], {"x": SHAPE}, ["y"]))
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    x = draw(*SHAPE)
    assert np.array_equal(run(proto.SerializeToString(), x=x), -x)


def test_a_branch_becomes_nothing_but_its_nodes(model):
    then_branch = branch([node("Neg", ["x"], ["o"])], "o")
    content = model([choice("c", then_branch, then_branch)], {"x": SHAPE}, ["y"], {"c": np.array(True)})
    graph = import_graph(read_model(content), {"x": SHAPE})
    assert [(made.op, made.layer) for made in graph.nodes] == [("neg", "choice/o")]


def test_branches_may_call_functions_of_the_file(model):
    function = helper.make_function(
        "own", "Twice", ["v"], ["o"], [node("Add", ["v", "v"], ["o"])], [helper.make_opsetid("", 17)]
    )
    then_branch = branch([node("Twice", ["x"], ["t"], domain="own"), node("Neg", ["t"], ["o"])], "o")
    else_branch = branch([node("Twice", ["x"], ["o"], domain="own")], "o")
    for condition, factor in ((True, -2), (False, 2)):
        content = model([choice("c", then_branch, else_branch)], {"x": SHAPE}, ["y"], {"c": np.array(condition)})
        proto = onnx.load_model_from_string(content)
        proto.functions.append(function)
        proto.opset_import.append(helper.make_opsetid("own", 1))
        x = draw(*SHAPE)
        assert np.array_equal(run(proto.SerializeToString(), x=x), factor * x)
