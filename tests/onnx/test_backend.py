"""ONNX's backend interface, and ONNX's own backend tests: those that the list has as passing pass."""

from __future__ import annotations

import zlib

import backend_tests
import numpy as np
import onnx
import pytest
from onnx.backend import base
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError, backend

SHARE = 12
"""One in so many of ONNX's own tests is run here; the rest by the slow test, or by ``tools/backend_tests.py``."""


@pytest.fixture(scope="module")
def listed():
    return backend_tests.read_list()


@pytest.fixture(scope="module")
def cases():
    return {f"{kind}/{case.name}": case for kind in backend_tests.KINDS for case in backend_tests.cases(kind)}


def not_passing(names, cases):
    outcomes = {name: backend_tests.outcome(cases[name]) for name in names if name in cases}
    assert len(outcomes) > 40
    return {name: found for name, found in outcomes.items() if found[0] != "pass"}


def passing(listed):
    return [name for name, (status, _) in listed.items() if status == "pass"]


def test_a_share_of_those_that_pass(listed, cases):
    assert not_passing([n for n in passing(listed) if zlib.crc32(n.encode()) % SHARE == 0], cases) == {}


@pytest.mark.slow
def test_all_the_others_that_pass(listed, cases):
    assert not_passing([n for n in passing(listed) if zlib.crc32(n.encode()) % SHARE], cases) == {}


def test_the_list_has_every_test_and_a_reason_for_each_that_does_not_pass(listed, cases):
    if onnx.defs.onnx_opset_version() == 28:  # the list is of this version's tests
        assert listed.keys() == cases.keys()
    assert {status for status, _ in listed.values()} <= {"pass", "declined"}
    assert all(bool(reason) == (status != "pass") for status, reason in listed.values())


def test_outcomes_can_be_bad(cases):
    case = cases["node/test_relu"]
    (inputs, (wanted,)), *_ = case.data_sets
    case.data_sets, kept = [(inputs, [wanted + 1])], case.data_sets
    status, reason = backend_tests.outcome(case)
    case.data_sets = kept
    assert status == "fail"
    assert reason.startswith("Not equal to tolerance")
    assert backend_tests.outcome(cases["node/test_loop11"])[0] == "declined"


MODEL = [node("Relu", ["x"], ["a"]), node("Add", ["a", "z"], ["y"])]


def test_a_model_is_prepared_and_run(model):
    proto = onnx.load_model_from_string(model(MODEL, {"x": (2, 3), "z": (3,)}, ["y", "a"]))
    x, z = draw(2, 3), draw(3)
    prepared = backend.prepare(proto)
    assert isinstance(prepared, base.BackendRep)
    assert issubclass(backend.Backend, base.Backend)
    for found in (
        prepared.run([x, z]),
        prepared.run({"z": z, "x": x}),
        backend.run_model(proto, [x, z], device="CPU:0"),
    ):
        assert isinstance(found, tuple)
        assert np.allclose(found[0], np.maximum(x, 0) + z)
        assert np.array_equal(found[1], np.maximum(x, 0))
    with pytest.raises(ValueError, match=r"run\(\) needs 2 arrays \(x, z\), got 1"):
        prepared.run([x])


def test_the_module_is_found_by_its_name():
    assert ne.onnx.backend is backend


def test_what_cannot_be_run_is_told_beforehand(model):
    proto = onnx.load_model_from_string(model([node("Strange", ["x"], ["y"], "odd")], {"x": (2,)}, ["y"]))
    assert not backend.is_compatible(proto)
    with pytest.raises(OnnxError, match=r"not supported: Strange \('odd'\)"):
        backend.prepare(proto)
    assert backend.is_compatible(onnx.load_model_from_string(model(MODEL, {"x": (2, 3), "z": (3,)}, ["y"])))


def test_the_processor_is_the_one_device(model):
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    proto = onnx.load_model_from_string(model(MODEL, {"x": (2, 3), "z": (3,)}, ["y"]))
    with pytest.raises(ValueError, match="the device must be CPU, got 'CUDA:1'"):
        backend.prepare(proto, "CUDA:1")


def test_one_node_is_run():
    x = draw(2, 3)
    (y,) = backend.run_node(node("Neg", ["x"], ["y"]), [x])
    assert np.array_equal(y, -x)
    (y,) = backend.run_node(node("Softmax", ["x"], ["y"], axis=0), {"x": x}, opset_version=11)
    assert np.isclose(y.sum(), 1)  # before opset 13 over all axes behind the axis
    (y,) = backend.run_node(node("Reshape", ["x", "s"], ["y"]), [x, ints(3, 2)], outputs_info=[(np.float32, (3, 2))])
    assert np.array_equal(y, x.reshape(3, 2))
    (y,) = backend.run_node(node("Clip", ["x", "", "h"], ["y"]), [x, np.float32(0.1)])
    assert np.array_equal(y, np.minimum(x, np.float32(0.1)))


def test_bad_nodes_and_arrays_are_refused():
    with pytest.raises(ValueError, match=r"Add needs 2 arrays \(a, b\), got 1"):
        backend.run_node(node("Add", ["a", "b"], ["y"]), [draw(2)])
    with pytest.raises(OnnxError, match="Neg"):
        backend.run_node(node("Neg", ["x"], ["y"], slope=1.0), [draw(2)])
    with pytest.raises(ValueError, match="opset_version must be an integer, got 'new'"):
        backend.run_node(node("Neg", ["x"], ["y"]), [draw(2)], opset_version="new")
