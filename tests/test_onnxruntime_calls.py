"""ONNX Runtime's calls: a script runs with ``import normengine as ort`` in place of ``import onnxruntime as ort``.

What is tried with ``ort`` is tried with ONNX Runtime as well, where it is installed.
"""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from onnx import helper, numpy_helper

import normengine as ne
from normengine import nn
from normengine.onnx.reference import evaluate_file

W = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((3, 2, 5, 5)).astype(np.float32)
node = helper.make_node


def proto(nodes=None, inputs=None, outputs=None, weights=None):
    def port(name, shape):
        return helper.make_tensor_value_info(name, 1, shape)

    nodes = nodes or [node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1])]
    inputs, outputs = inputs or {"x": ("N", 2, 5, 5)}, outputs or {"y": ("N", 4, 5, 5)}
    graph = helper.make_graph(
        nodes, "test", [port(*given) for given in inputs.items()], [port(*given) for given in outputs.items()],
        [numpy_helper.from_array(a, name) for name, a in ({"w": W} if weights is None else weights).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CONV = proto().SerializeToString()
WANT = np.ascontiguousarray(evaluate_file(CONV, {"x": X})[0])


@pytest.fixture(params=["normengine", "onnxruntime"])
def ort(request):
    """The module that a script imports under that name."""
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return importlib.import_module(request.param)


def test_a_script(ort, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(CONV)
    ort.set_default_logger_severity(3)
    assert "CPUExecutionProvider" in ort.get_available_providers()
    assert ort.get_device() == "CPU"
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}
    assert session.get_session_options().intra_op_num_threads == 1
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [("x", ["N", 2, 5, 5], "tensor(float)")]
    run = ort.RunOptions()
    run.log_severity_level = 3
    run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    for found in (
        session.run(None, {"x": X}),
        session.run(["y"], {"x": X}, run),
        session.run(["y"], {"x": X}, run_options=run),
        session.run(None, {"x": ort.OrtValue.ortvalue_from_numpy(X)}),
    ):
        np.testing.assert_allclose(found[0], WANT, atol=1e-5)


def test_ways_to_name_providers(ort):
    for providers, options in (
        (["CPUExecutionProvider"], None),
        ([("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})], None),
        (["CPUExecutionProvider"], [{}]),
        (None, None),
    ):
        session = ort.InferenceSession(CONV, None, providers, options)
        np.testing.assert_allclose(session.run(None, {"x": X})[0], WANT, atol=1e-5)
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        session = ort.InferenceSession(CONV, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        session.set_providers(["CUDAExecutionProvider", "CPUExecutionProvider"])
    session.set_providers(["CPUExecutionProvider"])


def test_what_a_file_says_of_itself(ort):
    model = proto()
    model.producer_name, model.domain, model.doc_string, model.graph.doc_string = "p", "d", "of the model", "of it"
    model.metadata_props.add(key="names", value="a,b")
    for version in (None, 3):
        if version is not None:
            model.model_version = version
        found = ort.InferenceSession(model.SerializeToString()).get_modelmeta()
        assert (found.producer_name, found.domain, found.graph_name) == ("p", "d", "test")
        assert (found.description, found.graph_description) == ("of the model", "of it")
        assert found.custom_metadata_map == {"names": "a,b"}
        assert found.version == (2**63 - 1 if version is None else version)


def test_bound_inputs_and_outputs(ort):
    session = ort.InferenceSession(CONV)
    binding, x = session.io_binding(), X.copy()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    for _ in range(2):
        session.run_with_iobinding(binding)
        (y,) = binding.copy_outputs_to_cpu()
        np.testing.assert_allclose(y, evaluate_file(CONV, {"x": x})[0], atol=1e-5)
        x *= -1  # the memory is shared
    np.testing.assert_array_equal(binding.get_outputs()[0].numpy(), y)

    given, wanted = (
        ort.OrtValue.ortvalue_from_numpy(X),
        ort.OrtValue.ortvalue_from_shape_and_type(WANT.shape, np.float32),
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", wanted)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding, ort.RunOptions())
    binding.synchronize_outputs()
    np.testing.assert_allclose(wanted.numpy(), WANT, atol=1e-5)

    y = np.zeros_like(WANT)
    binding.clear_binding_inputs()
    binding.clear_binding_outputs()
    binding.bind_input("x", "cpu", 0, np.float32, X.shape, X.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    session.run_with_iobinding(binding)
    np.testing.assert_allclose(y, WANT, atol=1e-5)
    (found,) = session.run_with_ort_values(["y"], {"x": given})
    np.testing.assert_allclose(found.numpy(), WANT, atol=1e-5)
    with pytest.raises(ValueError, match="session that created it|another session's"):
        ort.InferenceSession(CONV).run_with_iobinding(binding)
    binding.clear_binding_outputs()
    with pytest.raises((ValueError, RuntimeError), match="output"):
        session.run_with_iobinding(binding)


def test_an_ortvalue(ort):
    x = X.copy()
    value = ort.OrtValue.ortvalue_from_numpy(x)
    assert (value.shape(), value.data_type(), value.element_type()) == ([3, 2, 5, 5], "tensor(float)", 1)
    assert (value.device_name(), value.is_tensor(), value.has_value()) == ("cpu", True, True)
    assert (value.is_sparse_tensor(), value.is_tensor_sequence()) == (False, False)
    assert (value.data_ptr(), value.tensor_size_in_bytes()) == (x.ctypes.data, x.nbytes)
    value.update_inplace(np.ones_like(x))
    assert (x == 1).all()
    assert np.asarray(value).dtype == np.float32
    for kind, number, words in ((np.int64, 7, "int64"), (np.uint8, 2, "uint8"), (np.float64, 11, "double")):
        other = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], kind)
        assert (other.shape(), other.element_type(), other.data_type()) == ([2, 3], number, f"tensor({words})")


def test_extents_that_are_given_by_name(ort):
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("N", 3)
    session = ort.InferenceSession(CONV, options)
    assert session.get_inputs()[0].shape == [3, 2, 5, 5]
    assert session.get_outputs()[0].shape == [3, 4, 5, 5]
    np.testing.assert_allclose(session.run(None, {"x": X})[0], WANT, atol=1e-5)
    with pytest.raises(Exception, match="[Gg]ot"):
        session.run(None, {"x": X[:2]})


def test_shapes_of_outputs_that_are_not_declared(ort):
    nodes = [
        node("Conv", ["x", "w"], ["a"]), node("GlobalAveragePool", ["a"], ["b"]), node("Shape", ["x"], ["s"]),
        node("Flatten", ["b"], ["c"]),
    ]  # fmt: skip
    model = proto(nodes, outputs={"a": None, "b": ("N", 4, 1, 1), "c": None})
    session = ort.InferenceSession(model.SerializeToString())
    assert [out.shape for out in session.get_outputs()] == [["N", 4, 3, 3], ["N", 4, 1, 1], ["N", 4]]


def test_extents_without_a_name_of_their_own(ort):
    """Names that tools give to all open extents, and what says that they are open by a number."""
    for word in ("?", "None", "unk", -1):
        model = proto([node("MatMul", ["a", "b"], ["y"])], {"a": (word, word), "b": (word, word)}, {"y": None}, {})
        session = ort.InferenceSession(model.SerializeToString())
        assert session.get_inputs()[0].shape == ([None] * 2 if word == -1 else [word] * 2)
        (y,) = session.run(None, {"a": np.ones((2, 3), np.float32), "b": np.ones((3, 4), np.float32)})
        assert np.array_equal(y, np.full((2, 4), 3))


def test_a_run_that_is_not_to_begin(ort):
    session, options = ort.InferenceSession(CONV), ort.RunOptions()
    options.terminate = True
    with pytest.raises(Exception, match="terminate"):
        session.run(None, {"x": X}, options)
    options.terminate = False
    session.run(None, {"x": X}, options)


def test_options_that_do_not_exist(ort):
    for options in (ort.SessionOptions(), ort.RunOptions()):
        with pytest.raises(AttributeError, match="threads"):
            options.threads_of_all_kinds = 3
    with pytest.raises(RuntimeError, match="session.other"):
        ort.SessionOptions().get_session_config_entry("session.other")


def test_shapes_that_nobody_knows_before_a_run():
    model = proto([node("Relu", ["x"], ["y"])], {"x": ("N", "H")}, {"y": None}, {})
    assert ne.InferenceSession(model.SerializeToString()).get_outputs()[0].shape is None


def test_weights_are_not_overridden():
    model = proto([node("Add", ["x", "w"], ["y"])], {"x": ("N", 3), "w": (3,)}, {"y": ("N", 3)}, {"w": W[0, 0, 0]})
    session = ne.InferenceSession(model.SerializeToString())
    assert session.get_overridable_initializers() == []
    with pytest.raises(ValueError, match="unexpected 'w'"):
        session.run(None, {"x": np.zeros((1, 3), np.float32), "w": np.zeros(3, np.float32)})


def test_threads_are_those_of_the_session():
    ne.set_num_threads(2)
    options = ne.SessionOptions()
    options.intra_op_num_threads = 1
    session = ne.InferenceSession(CONV, options)
    options.intra_op_num_threads = 2
    assert session.profile({"x": X}, runs=1).threads == 1
    assert session.get_session_options().intra_op_num_threads == 1
    assert ne.InferenceSession(CONV).profile({"x": X}, runs=1).threads == 2
    assert ne.InferenceSession(CONV).get_session_options() == ne.SessionOptions()
    np.testing.assert_array_equal(session(X), ne.InferenceSession(CONV)(X))


@pytest.mark.parametrize("way", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, copy.copy])
def test_sessions_travel(way, tmp_path):
    """With the content of the file, which may be gone where they arrive."""
    ne.manual_seed(0)
    path = tmp_path / "model.onnx"
    ne.onnx.export(nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), path, (2, 5, 5))
    options = ne.SessionOptions()
    options.intra_op_num_threads = 1
    session = ne.InferenceSession(path, options, programs=3)
    want = session(X)
    path.unlink()
    other = way(session)
    np.testing.assert_array_equal(other(X), want)
    np.testing.assert_array_equal(other.run(None, {"x": X[:1]})[0], session(X[:1]))
    assert other.foldings == session.foldings
    assert other.get_inputs() == session.get_inputs()
    assert other.get_session_options() == options
    assert other.get_modelmeta() == session.get_modelmeta()
    assert other._lock is not session._lock
    assert session.programs


def test_a_subclass_travels_with_what_it_adds():
    session = Named(CONV)
    session.title = "a network"
    other = pickle.loads(pickle.dumps(session))
    assert (type(other), other.title) == (Named, "a network")
    np.testing.assert_array_equal(other(X), session(X))


class Named(ne.InferenceSession):
    title = ""


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: ne.InferenceSession(CONV, {"a": 1}), "sess_options must be a normengine.SessionOptions, got dict"),
        (
            lambda: ne.InferenceSession(CONV, providers="CPU"),
            "providers must be a list of names, got 'CPU'; put it into",
        ),
        (lambda: ne.InferenceSession(CONV, providers=[3]), r"must hold names, or pairs \(name, options\), got 3"),
        (
            lambda: ne.InferenceSession(CONV, None, ["CPUExecutionProvider"], []),
            "provider_options must be one for each of 1 providers, got ",
        ),
        (lambda: ne.InferenceSession(CONV, ne.SessionOptions(enable_profiling=True)), "use session.profile"),
        (
            lambda: ne.InferenceSession(CONV, ne.SessionOptions(optimized_model_filepath="a.onnx")),
            "no optimized file is written",
        ),
        (
            lambda: ne.InferenceSession(CONV, ne.SessionOptions(intra_op_num_threads="2")),
            "intra_op_num_threads must be an integer up to 1024, got '2'",
        ),
        (lambda: ne.SessionOptions().add_free_dimension_override_by_name("N", 0), "the extent 'N' must be a positive"),
        (lambda: ne.set_default_logger_severity(5), r"severity must be from 0 \(verbose\) to 4"),
        (lambda: ne.OrtValue([1.0]), "OrtValue must hold an array of numbers, got list"),
        (lambda: ne.OrtValue(np.array(["a"])), "got an array of <U1"),
        (lambda: ne.OrtValue.ortvalue_from_numpy(X, "cuda", 0), "there is no device 'cuda'; everything is computed on"),
        (lambda: ne.OrtValue.ortvalue_from_shape_and_type([1], 8), "element type 8 is not supported"),
        (
            lambda: ne.OrtValue(X).update_inplace(X[:1]),
            r"float32 of shape \(1, 2, 5, 5\) does not fit float32 of \(3, 2",
        ),
        (lambda: bound().bind_cpu_input("z", X), "input 'z' does not exist; the inputs are 'x'"),
        (lambda: bound().bind_output("z"), "output 'z' does not exist; the outputs are 'y'"),
        (lambda: bound().bind_output("y", "cuda"), "there is no device 'cuda'"),
        (lambda: bound().bind_output("y", buffer_ptr=64), "needs element_type and shape as well"),
    ],
)
def test_what_makes_no_sense(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def bound():
    return ne.InferenceSession(CONV).io_binding()


def test_an_output_that_does_not_fit_its_array_changes_nothing():
    model = proto(
        [node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])], {"x": ("N",)}, {"y": ("N",), "z": ("N",)}, {}
    )
    session = ne.InferenceSession(model.SerializeToString())
    binding, y = session.io_binding(), ne.OrtValue(np.zeros(2, np.float32))
    binding.bind_cpu_input("x", np.ones(2, np.float32))
    binding.bind_ortvalue_output("y", y)
    binding.bind_ortvalue_output("z", ne.OrtValue(np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match=r"output 'z': float32 of shape \(2,\) does not fit float32 of \(3,\)"):
        session.run_with_iobinding(binding)
    assert y.numpy().tolist() == [0, 0]


def test_sessions_load_nothing_of_it_before_it_is_used():
    script = (
        "import sys, numpy as np, normengine as ne\n"
        f"session = ne.InferenceSession({CONV!r})\n"
        "session.run(None, {'x': np.zeros((1, 2, 5, 5), np.float32)})\n"
        "session.get_outputs()\n"
        "print([m for m in ('options', 'binding', 'onnx.outputs') if f'normengine.{m}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
