"""Every operator that can be written, at every opset where its form changes: checker, reference evaluator, and back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normengine.graph import Spec
from normengine.onnx import OnnxError
from normengine.onnx.reference import can_evaluate_quickly
from normengine.onnx.serialize import OPSETS, model_bytes
from normengine.onnx.table import WRITERS
from normengine.ops import OPS, Builder

WRITTEN = sorted(name for name, op in OPS.items() if name in WRITERS or op.onnx is not None)
CHANGES = (9, 10, 11, 13, 14, 17, 18, 20, 23, 24, 25, 28)
NOT_BEFORE = {
    "cross_entropy": lambda case: 13,
    "grid_sample": lambda case: 20 if len(case.shapes[0]) == 5 else 16,
    "gather_elements": lambda case: 11,
    "resize": lambda case: 11,
}
NOT_BEFORE |= {name: lambda case: 11 for name in ("cumsum", "equal", "greater_equal", "round")}
NOT_BEFORE |= {name: lambda case: 10 for name in ("fmod", "integer_remainder")}
ROWS = [(name, number) for name in WRITTEN for number in range(len(OPS[name].cases()))]


def test_an_operator_is_written_by_a_mapping_or_by_a_function():
    assert not [name for name in WRITERS if OPS[name].onnx is not None]


def case_graph(op, case, arrays, constants):
    """A graph of the operator alone; all inputs but the first are constants, or none is."""
    builder = Builder()
    values = [
        builder.constant(a, f"c{i}") if constants and i else builder.input(f"i{i}", Spec.of(a))
        for i, a in enumerate(arrays)
    ]
    return builder.graph(builder.add_multi(op.name, *values, **case.attrs))


@pytest.mark.parametrize("name, number", ROWS, ids=lambda v: str(v))
def test_a_written_operator_computes_the_same(name, number, imported, reference):
    op = OPS[name]
    case = op.cases()[number]
    arrays = case.arrays(np.random.default_rng(number))
    graph = case_graph(op, case, arrays, constants=number % 2)
    feeds = {v.name: arrays[int(v.name[1:])] for v in graph.inputs}
    want = op.reference(arrays, case.attrs)
    outputs = {f"y{i}": v.shape for i, v in enumerate(graph.outputs)}
    if name == "unslice" and any(s != 1 and n > 1 for s, n in zip(case.attrs["steps"], arrays[0].shape)):
        with pytest.raises(OnnxError, match="spreading elements apart has no form in ONNX"):
            model_bytes(graph, [v.shape for v in graph.inputs], outputs)
        return
    if case.attrs.get("images", 1) > 1:
        with pytest.raises(OnnxError, match="takes images of the batch together, which has no form in ONNX"):
            model_bytes(graph, [v.shape for v in graph.inputs], outputs)
        return
    if name == "grid_sample" and (case.attrs["mode"], case.attrs["padding_mode"]) == ("cubic", "border"):
        with pytest.raises(OnnxError, match="cubic sampling with a border has no form in ONNX"):
            model_bytes(graph, [v.shape for v in graph.inputs], outputs, 20)
        return
    before = None
    moves = name.startswith("max_pool") or name == "slice"
    steps = (*case.attrs.get("dilation", ()), *case.attrs.get("steps", ())) if moves else ()
    small = name == "topk" and (not case.attrs["largest"] or arrays[0].dtype == np.int64)
    order = 12 if case.attrs.get("last") else 11 if small else 0
    least = NOT_BEFORE[name](case) if name in NOT_BEFORE else 0
    earliest = max(least, 10 if any(step > 1 for step in steps) else 0, order)
    for opset in CHANGES:
        if opset < earliest:
            if steps:
                with pytest.raises(OnnxError, match="which ONNX has since opset 10"):
                    model_bytes(graph, [v.shape for v in graph.inputs], outputs, opset)
            if order:
                with pytest.raises(OnnxError, match=f"ha(s|ve) no form before opset {order}"):
                    model_bytes(graph, [v.shape for v in graph.inputs], outputs, opset)
            continue
        content = model_bytes(graph, [v.shape for v in graph.inputs], outputs, opset)
        form = [(n.op_type, len(n.input), len(n.attribute)) for n in onnx.load_model_from_string(content).graph.node]
        if form == before:
            continue
        before = form
        results = [imported(content, feeds)]
        if can_evaluate_quickly(graph, opset):
            results.append(reference(content, feeds))
        for found in results:
            for a, b in zip(found, want, strict=True):
                assert a.shape == b.shape
                if a.dtype.kind == "f":
                    assert np.nanmax(np.abs(a - b), initial=0) <= 1e-5 * max(1.0, np.nanmax(np.abs(b), initial=0))
                else:
                    assert np.array_equal(a, b)


def test_what_users_build_networks_of_can_be_written():
    """The operators of layers and functions: none of them but dropout, which is gone at inference, lacks a form."""
    inference = {name for name, op in OPS.items() if not name.endswith(("_grad", "_grad_sums"))}
    gone = {"dropout", "gaussian_dropout", "uniform_dropout", "detach"}
    training = {"batch_norm_train", "count_step", "count_weight", "at_label"}
    training |= {"random_uniform", "random_normal", "bernoulli"}
    written_out = {"merge_moments", "normalize", "dilated_avg_pool", "adaptive_max_pool"}
    only_read = {"max_pool2d_places", "max_unpool2d", "at_places"}
    assert all(OPS[name].decompose for name in written_out)
    written_out.add("resample2d")  # what resize is written out to
    assert inference - gone - training - written_out - only_read - set(WRITTEN) == set()


def small(**options):
    builder = Builder()
    x = builder.input("x", Spec((2, 3, 6, 6)))
    weight = np.ones((4, 3, 1, 1), np.float32)
    with builder.at("block.conv"):
        y = builder.add("conv2d", x, builder.constant(weight, "block.conv.weight"), stride=(1, 1),
                        padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)  # fmt: skip
    with builder.at("block"):
        y = builder.add("add", y, builder.constant(1.0))
    graph = builder.graph([y])
    return onnx.load_model_from_string(model_bytes(graph, [("N", 3, 6, 6)], {"y": ("N", 4, 6, 6)}, **options))


def test_names_shapes_and_metadata():
    proto = small(opset=17, version="1.2.3")
    assert (proto.producer_name, proto.producer_version) == ("normengine", "1.2.3")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    assert proto.ir_version == 8
    assert [(n.name, n.op_type) for n in proto.graph.node] == [("block.conv", "Conv"), ("block.add", "Add")]
    (x,), (y,) = proto.graph.input, proto.graph.output
    for port, name, shape in ((x, "x", ["N", 3, 6, 6]), (y, "y", ["N", 4, 6, 6])):
        dims = port.type.tensor_type.shape.dim
        assert port.name == name
        assert [d.dim_param or d.dim_value for d in dims] == shape
    weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert weights["block.conv.weight"].shape == (4, 3, 1, 1)


@pytest.mark.parametrize("opset", OPSETS)
def test_each_opset_is_what_the_file_says(opset):
    assert small(opset=opset).opset_import[0].version == opset


@pytest.mark.parametrize("opset", [8, 29, 17.0, "17", True])
def test_other_opsets_are_refused(opset):
    with pytest.raises(OnnxError, match=r"opset must be an integer from 9 to \d+, got"):
        small(opset=opset)


def test_names_never_clash():
    builder = Builder()
    x = builder.input("x", Spec((2, 3)))
    ones = np.ones((1, 3), np.float32)
    total = x
    for name in ("x", "y", "add.output", "y"):
        total = builder.add("add", total, builder.constant(ones, name))
    proto = onnx.load_model_from_string(model_bytes(builder.graph([total]), [("N", 3)], {"y": ("N", 3)}))
    names = [*(t.name for t in proto.graph.initializer), *(o for n in proto.graph.node for o in n.output), "x"]
    assert len(set(names)) == len(names) == 9
    assert len({n.name for n in proto.graph.node}) == 4


def test_an_output_that_is_an_input_or_a_constant(imported):
    builder = Builder()
    x, c = builder.input("x", Spec((2, 3))), builder.constant(np.arange(3, dtype=np.float32), "buffer")
    content = model_bytes(builder.graph([x, c]), [(2, 3)], {"y_0": (2, 3), "y_1": (3,)})
    given = np.ones((2, 3), np.float32)
    first, second = imported(content, {"x": given})
    assert np.array_equal(first, given)
    assert np.array_equal(second, [0, 1, 2])


def test_momentum_is_onnx_s_and_the_variance_is_what_inference_uses():
    def attributes(settings):
        builder = Builder()
        x = builder.input("x", Spec((2, 3)))
        arrays = [np.full(3, v, np.float32) for v in (1.0, 0.0, 0.5, 2.0)]
        with builder.at("bn"):
            y = builder.add("batch_norm", x, *(builder.constant(a, f"c{i}") for i, a in enumerate(arrays)), eps=1e-3)
        content = model_bytes(builder.graph([y]), [("N", 3)], {"y": ("N", 3)}, settings=settings)
        proto = onnx.load_model_from_string(content)
        assert numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == "c3")).tolist() == [2.0] * 3
        return {a.name: round(a.f, 6) for a in proto.graph.node[0].attribute}

    assert attributes({"bn": 0.1}) == {"epsilon": 0.001, "momentum": 0.9}
    assert attributes({"bn": None}) == {"epsilon": 0.001}
    assert attributes({}) == {"epsilon": 0.001}


def test_what_has_no_form_is_named():
    builder = Builder()
    x, seed = builder.input("x", Spec((2, 3))), builder.input("seed", Spec((), "uint32"))
    with builder.at("drop"):
        y = builder.add("dropout", x, seed, seed, p=0.5, layer=0, per_channel=False)
    with pytest.raises(OnnxError, match="'drop': dropout has no form in ONNX"):
        model_bytes(builder.graph([y]), [(2, 3), ()], {"y": (2, 3)})
    builder = Builder()
    y = builder.add("neg", builder.state_value("weight", Spec((2, 3))))
    with pytest.raises(OnnxError, match="'weight' has no values; bind state to arrays"):
        model_bytes(builder.graph([y]), [], {"y": (2, 3)})
    builder = Builder()
    loss = builder.add(
        "cross_entropy", builder.input("x", Spec((2, 3))), builder.input("t", Spec((2,), "int64")),
        label_smoothing=0.0, ignore_index=-100, reduction="mean")  # fmt: skip
    with pytest.raises(OnnxError, match="'cross_entropy': cross entropy needs opset 12 or later, not 11"):
        model_bytes(builder.graph([loss]), [(2, 3), (2,)], {"y": ()}, 11)


def test_batch_norm_with_the_statistics_of_the_batch_is_written_out(imported, reference):
    builder = Builder()
    x = builder.input("x", Spec((4, 3, 5, 5)))
    weight, bias = (builder.constant(np.array(a, np.float32)) for a in ([1, 2, 3], [0, -1, 1]))
    y, mean, var = builder.add_multi("batch_norm_train", x, weight, bias, eps=1e-5)
    content = model_bytes(builder.graph([y, mean, var]), [(4, 3, 5, 5)], {"y_0": y.shape, "y_1": (3,), "y_2": (3,)})
    given = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    want = OPS["batch_norm_train"].reference([given, [1, 2, 3], [0, -1, 1]], {"eps": 1e-5})
    for found in (imported(content, {"x": given}), reference(content, {"x": given})):
        for a, b in zip(found, want, strict=True):
            assert np.abs(a - b).max() < 1e-5
