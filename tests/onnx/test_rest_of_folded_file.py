"""What is kept of a file that is folded: all that has no part in it, and what is not supported."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from fold_files import IMAGE, conv, folded, goes, model, norm, operators
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import draw, ints, node

from normengine.onnx.folded_file import fold_model
from normengine.passes.fold_batchnorm import Folding


def test_training_mode_is_left_alone():
    bn, weights = norm("a", "b", training_mode=1)
    bn.output.extend(["mean", "var"])
    given = model(conv("x", "a"), (bn, weights), node("Relu", ["b"], ["y"]))
    found = fold_model(given, IMAGE)
    assert found.model.SerializeToString() == given.SerializeToString()
    assert found.foldings == (Folding("bn", reason="is in training mode; export the network in eval mode"),)


def test_operators_that_are_not_supported_stay_and_what_lies_beside_them_folds():
    strange = node("Strange", ["b"], ["c"], "strange", domain="some.where")
    parts = (
        conv("x", "a"),
        norm("a", "b", name="bn"),
        strange,
        conv("c", "d", "last", (2, 4, 1, 1)),
        norm("d", "y", 2, "bn2"),
    )
    given = model(*parts)
    given.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, (2, 4, 6, 6)))
    found = fold_model(given, IMAGE)
    assert operators(found.model) == ["Conv", "Strange", "Conv"]
    assert [row.into for row in found.foldings] == [("conv",), ("last",)]
    assert found.unread == ("strange",)
    assert found.model.graph.node[1] == strange
    assert found.model.opset_import == given.opset_import
    before, after = map(onnx.load_model_from_string, found.parts)
    assert [i.name for i in before.graph.input] == [i.name for i in after.graph.input] == ["x", "c"]
    feeds = {"x": draw(2, 3, 8, 8), "c": draw(2, 4, 6, 6)}
    for a, b in zip(*(ReferenceEvaluator(m).run(None, feeds) for m in (before, after)), strict=True):
        assert np.abs(a - b).max() <= 2e-6 * max(1.0, np.abs(a).max())


def test_what_an_operator_makes_that_is_not_supported():
    strange = node("Strange", ["x"], ["c"], "strange", domain="some.where")
    given = model(strange, norm("c", "d", 3), node("Relu", ["d"], ["y"]))
    given.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, (2, 3, 6, 6)))
    found = fold_model(given, IMAGE)
    assert found.foldings == (Folding("bn", reason="its input comes from 'strange' (its operator is not supported)"),)


def test_what_nobody_knows_the_extents_of_stays():
    strange = node("Strange", ["x"], ["c"], "strange", domain="some.where")
    given = model(strange, conv("c", "d"), norm("d", "y"))
    found = fold_model(given, IMAGE)
    assert found.model == given and found.parts is None
    assert found.foldings[0].reason == "type or extents of what it reads or makes are not known"


def test_a_graph_within_a_node_reads_what_is_around_it():
    inner = helper.make_graph(
        [node("Neg", ["b"], ["n"])], "then", [], [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)]
    )
    other = helper.make_graph(
        [node("Abs", ["a"], ["m"])], "else", [], [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)]
    )
    parts = (
        conv("x", "a"),
        norm("a", "b", name="bn"),
        node("ReduceMax", ["x"], ["r"], keepdims=0),
        node("Cast", ["r"], ["k"], to=9),
    )
    given = model(*parts, node("If", ["k"], ["y"], "choice", then_branch=inner, else_branch=other))
    found, rows = folded(given)
    assert rows[0].reason == "its input is also read by 'choice' (it has graphs of its own)"
    assert operators(found) == operators(given)


def test_all_else_is_kept():
    given = model(
        conv("x", "a"), norm("a", "b"), node("Relu", ["b"], ["y"], "act"),
        shapes={"x": ("batch", 3, "height", 8)}, opset=15, producer_name="somebody", producer_version="3",
        doc_string="a network", model_version=7, domain="org.here",
    )  # fmt: skip
    helper.set_model_props(given, {"labels": "cat,dog", "mean": "0.5"})
    given.graph.doc_string = "of two"
    given.graph.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, ("batch", 4, None, 6)))
    found, _ = folded(given, {"x": ("batch", 3, 8, 8)})
    for field in ("ir_version", "producer_name", "producer_version", "doc_string", "model_version", "domain"):
        assert getattr(found, field) == getattr(given, field)
    assert found.metadata_props == given.metadata_props and found.opset_import == given.opset_import
    assert found.graph.input == given.graph.input and found.graph.output == given.graph.output
    assert found.graph.doc_string == "of two" and found.graph.name == "network"
    assert [n.name for n in found.graph.node] == ["conv", "act"]
    assert found.graph.value_info == given.graph.value_info


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_a_batch_norm_that_is_written_out(shape):
    steps = [("Sub", "a", "b"), ("Mul", "b", "c"), ("Add", "c", "d"), ("Div", "d", "e")]
    parts = [(node(op, [x, f"{op}.c"], [y], op), {f"{op}.c": np.abs(draw(*shape)) + 1}) for op, x, y in steps]
    last = node("Sub", ["k", "e"], ["y"], "turned"), {"k": draw(*shape)}
    given = model(conv("x", "a", bias=True), *parts, last)
    found = fold_model(given, IMAGE)
    assert [(row.batch_norm, row.into) for row in found.constants] == [(op, ("conv",)) for op, *_ in steps] + [
        ("turned", ("conv",))
    ]
    done, rows = folded(given)
    assert rows == () and operators(done) == ["Conv"]


def test_one_number_for_all_channels_stays():
    given = model(conv("x", "a", bias=True), (node("Mul", ["a", "c"], ["y"], "times"), {"c": np.float32(0.3)}))
    found = fold_model(given, IMAGE)
    assert found.constants == () and operators(found.model) == ["Conv", "Mul"]


def test_a_file_whose_weights_are_inputs_too():
    given = model(conv("x", "a"), norm("a", "y"), ir_version=3, opset=9)
    for tensor in given.graph.initializer:
        given.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    found = fold_model(given, IMAGE).model
    onnx.checker.check_model(found)
    assert {i.name for i in found.graph.input} == {"x", *(t.name for t in found.graph.initializer)}
    assert operators(found) == ["Conv"]


def test_weights_that_nodes_hold():
    bn, weights = norm("a", "y")
    constants = [node("Constant", [], [n], value=numpy_helper.from_array(a)) for n, a in weights.items()]
    weight = node("Constant", [], ["w"], value=numpy_helper.from_array(draw(4, 3, 3, 3)))
    given = model(weight, *constants, node("Conv", ["x", "w"], ["a"], "conv"), bn)
    goes(given, "Conv")


def test_nodes_without_names_and_alike():
    bn, weights = norm("a", "y")
    bn.name = ""
    layer, own = conv("x", "a")
    layer.name = ""
    _, rows = folded(model((layer, own), (bn, weights)))
    assert rows == (Folding("y", ("a",)),)


def test_nodes_that_no_output_needs():
    _, rows = folded(model(conv("x", "a"), norm("a", "b"), node("Relu", ["x"], ["y"])))
    assert rows == (Folding("bn", reason="no output needs it"),)


def test_what_is_large_is_not_computed_to_know_shapes():
    large = node("ConstantOfShape", ["size"], ["c"], "large"), {"size": ints(2**40)}
    total = node("ReduceSum", ["c"], ["r"], "sum", keepdims=0)
    given = model(conv("x", "a"), norm("a", "b"), large, total, node("Add", ["b", "r"], ["y"], "add"))
    found = fold_model(given, IMAGE)
    assert found.foldings == (Folding("bn", ("conv",)),) and "large" in found.unread
