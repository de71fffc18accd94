"""InferenceSession: ONNX Runtime's calls, batches of any size, feeds that do not fit, threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from onnx import helper, numpy_helper

import normengine as ne
from normengine import session as session_module
from normengine.kernels.cpu import backend
from normengine.onnx import OnnxError
from normengine.passes.fold_batchnorm import Folding
from normengine.runtime import memory as memory_module
from normengine.runtime import microbatches

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
node = helper.make_node


def programs_of(session):
    """What the session keeps, the one used last behind the others."""
    return list(session.programs.values())


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model(nodes, inputs, outputs, weights=None):
    """Shapes of inputs and outputs, float32 but for names that say otherwise."""
    words = {"int": 7, "short": 6, "byte": 2, "double": 11}
    kinds = {n: next((k for w, k in words.items() if n.startswith(w)), 1) for n in (*inputs, *outputs)}
    graph = helper.make_graph(
        nodes, "test",
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(a, name) for name, a in (weights or {}).items()])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


CONV = model(
    [node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]), node("Relu", ["c"], ["y"], "relu")],
    {"x": ("N", 2, 5, 5)}, {"y": ("N", 4, 5, 5)}, {"w": W})  # fmt: skip


def convolved(x):
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.maximum(np.einsum("nchwij,ocij->nohw", windows, W), 0)


@pytest.fixture(scope="module")
def session():
    return ne.InferenceSession(CONV)


def test_run_has_onnx_runtime_s_signature(session):
    x = draw(3, 2, 5, 5)
    for found in (session.run(None, {"x": x}), session.run(["y"], {"x": x}), [session(x)]):
        assert len(found) == 1
        assert found[0].dtype == np.float32
        assert np.abs(found[0] - convolved(x)).max() < 1e-5
    a, b = session.run(["y", "y"], {"x": x})
    assert np.array_equal(a, b)
    assert len(session.run([], {"x": x})) == 1


def test_inputs_and_outputs_are_described(session):
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.shape, x.type) == ("x", ["N", 2, 5, 5], "tensor(float)")
    assert (y.name, y.shape, y.type) == ("y", ["N", 4, 5, 5], "tensor(float)")


def test_from_a_path(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(CONV)
    x = draw(1, 2, 5, 5)
    assert np.array_equal(ne.InferenceSession(path)(x), ne.InferenceSession(str(path))(x))


def test_every_batch_size_and_results_of_its_own(session):
    first = session(np.ones((1, 2, 5, 5), np.float32))
    kept = first.copy()
    for n in (1, 2, 3, 8, 2, 1):
        x = draw(n, 2, 5, 5)
        assert np.abs(session(x) - convolved(x)).max() < 1e-5
    assert np.array_equal(first, kept)


def test_rows_do_not_depend_on_the_batch(session):
    x = draw(5, 2, 5, 5)
    whole = session(x)
    for i in range(5):
        assert np.abs(session(x[i : i + 1]) - whole[i]).max() < 1e-6


def test_the_last_programs_are_kept_and_share_the_weights():
    session = ne.InferenceSession(CONV, programs=2)
    for n in (1, 2, 3, 2):
        session(draw(n, 2, 5, 5))
    assert list(session.programs) == [((3, 2, 5, 5),), ((2, 2, 5, 5),)]
    weights = [
        {value.name: array for value, array in program.plan.graph.constants.items()} for program in programs_of(session)
    ]
    assert weights[0]["w"] is weights[1]["w"]
    with pytest.raises(ValueError, match="programs must be a positive integer, got 0"):
        ne.InferenceSession(CONV, programs=0)


def test_what_one_size_alone_needed_goes_with_its_program():
    content = model(
        [node("Shape", ["x"], ["s"], start=1), node("Cast", ["s"], ["f"], to=1), node("Mul", ["x", "f"], ["y"])],
        {"x": ("N", "W")}, {"y": ("N", "W")})  # fmt: skip
    session = ne.InferenceSession(content, programs=1)
    assert session(np.ones((1, 5), np.float32)).tolist() == [[5.0] * 5]
    (program,) = programs_of(session)
    (constant,) = map(weakref.ref, program.plan.graph.constants.values())
    del program
    assert session(np.ones((1, 2), np.float32)).tolist() == [[2.0] * 2]
    gc.collect()
    assert constant() is None


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float16),
        lambda x: np.asfortranarray(x),
        lambda x: x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2),
        lambda x: x.tolist(),
        lambda x: x.astype(">f4"),
    ],
)
def test_what_means_the_same_is_converted(convert, session):
    x = np.round(draw(2, 2, 5, 5), 1).astype(np.float16).astype(np.float32)
    assert np.array_equal(session(convert(x)), session(x))


@pytest.mark.parametrize(
    "feeds, text",
    [
        ({}, "^feeds: missing 'x'; the inputs are 'x'$"),
        ({"image": 0}, "^feeds: missing 'x' and unexpected 'image'; the inputs are 'x'$"),
        ([1], "^feeds must be a dict from input names to arrays, got list$"),
        ({"x": np.zeros((2, 5, 5), "f4")}, r"^input 'x' must be \(N, 2, 5, 5\), got shape \(2, 5, 5\)$"),
        ({"x": np.zeros((2, 3, 5, 5), "f4")}, r"^input 'x' must be \(N, 2, 5, 5\), got shape \(2, 3, 5, 5\)$"),
        ({"x": np.zeros((0, 2, 5, 5), "f4")}, r"^input 'x': the batch is empty, got shape \(0, 2, 5, 5\)$"),
        (
            {"x": np.zeros((1, 2, 5, 5), "u1")},
            "^input 'x' must be float32, got uint8; convert images with x.astype\\(np.float32\\) / 255, as the network",
        ),
        ({"x": np.zeros((1, 2, 5, 5), "i8")}, "^input 'x' must be float32, got int64; convert images with"),
        ({"x": np.zeros((1, 2, 5, 5), "c8")}, "^input 'x' must be float32, got complex64; convert with astype$"),
        ({"x": "an image"}, "^input 'x' must be float32, got <U8; convert with astype$"),
        ({"x": None}, "^input 'x' is None; give an array for each input$"),
        ({"x": [[1.0, 2.0], [3.0]]}, "^input 'x' must be an array: .*inhomogeneous"),
    ],
)
def test_feeds_that_do_not_fit(feeds, text, session):
    with pytest.raises(ValueError, match=text):
        session.run(None, feeds)


def test_a_run_after_another_like_it_gives_what_the_first_did(session):
    one, other, more = draw(3, 2, 5, 5), draw(3, 2, 5, 5), draw(2, 2, 5, 5)
    for x in (one, one, other, more, other, one.astype(np.float64), one[::-1], one[:, ::-1], more.tolist(), more):
        (got,) = session.run(None, {"x": x}) if not isinstance(x, list) else session.run(None, {"x": np.array(x)})
        np.testing.assert_allclose(got, convolved(np.asarray(x)), rtol=1e-5, atol=1e-5)
    first = session.run(["y"], {"x": one})[0]
    kept = first.copy()
    session.run(None, {"x": other})
    assert np.array_equal(first, kept)
    with pytest.raises(ValueError, match="unexpected 'z'"):
        session.run(None, {"x": one, "z": one})
    with pytest.raises(ValueError, match="missing 'x'"):
        session.run(None, {})
    with pytest.raises(ValueError, match="must be float32, got int64"):
        session.run(None, {"x": np.zeros(one.shape, np.int64)})


def test_outputs_that_do_not_exist(session):
    with pytest.raises(ValueError, match="output 'z' does not exist; the outputs are 'y'"):
        session.run(["y", "z"], {"x": draw(1, 2, 5, 5)})
    with pytest.raises(ValueError, match="output_names must be a list of names or None, got 'y'; put it into a list"):
        session.run("y", {"x": draw(1, 2, 5, 5)})


def test_several_inputs_and_outputs():
    session = ne.InferenceSession(
        model([node("Add", ["a", "b"], ["sum"]), node("Mul", ["a", "c"], ["product"])],
              {"a": ("N", 3), "b": ("N", 3), "c": (1, 3)}, {"sum": ("N", 3), "product": ("N", 3)}))  # fmt: skip
    a, b, c = draw(4, 3), draw(4, 3), draw(1, 3)
    total, product = session.run(None, {"b": b, "a": a, "c": c})
    assert np.array_equal(total, a + b)
    assert np.array_equal(product, a * c)
    (only,) = session.run(["product"], {"a": a, "b": b, "c": c})
    assert np.array_equal(only, product)
    with pytest.raises(ValueError, match=r"input 'b' has N = 2 \(shape \(2, 3\)\), input 'a' has 4"):
        session.run(None, {"a": a, "b": b[:2], "c": c})
    with pytest.raises(ValueError, match="session\\(x\\) needs one input and one output.*'a', 'b', 'c'.*use run"):
        session(a)


def test_a_fixed_batch_stays_fixed():
    session = ne.InferenceSession(model([node("Neg", ["x"], ["y"])], {"x": (2, 3)}, {"y": (2, 3)}))
    assert session.get_inputs()[0].shape == [2, 3]
    assert session(draw(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"input 'x' must be \(2, 3\), got shape \(3, 3\)"):
        session(draw(3, 3))


def chosen(session, x):
    """The kernels of convolutions that run a batch."""
    session(x)
    calls = [c for p in programs_of(session) for part in p.programs for call in part.plan.calls for c in call.each()]
    return {call.kernel for call in calls if call.op == "conv2d"}


@pytest.mark.skipif(backend() != "compiled", reason="Numba has one kernel for each operator")
def test_a_session_may_ask_for_kernels(monkeypatch):
    w = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype(np.float32)
    content = model([node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
                    {"x": ("N", 32, 24, 24)}, {"y": ("N", 32, 24, 24)}, {"w": w})  # fmt: skip
    monkeypatch.setattr(microbatches, "PART_BYTES", 1 << 20)
    monkeypatch.setenv("NORMENGINE_KERNELS", "conv2d=winograd2")
    assert all("winograd2" in kernel for kernel in chosen(ne.InferenceSession(content), draw(1, 32, 24, 24)))
    direct = ne.InferenceSession(content, kernels={"conv2d": "direct"})
    for batch in (1, 3, 40):
        assert all("direct" in kernel for kernel in chosen(direct, draw(batch, 32, 24, 24)))
    x = draw(2, 32, 24, 24)
    x[0, 5, 11, 7] = np.inf
    assert (~np.isfinite(direct(x))).sum() == 32 * 9
    with pytest.raises(ValueError, match="kernels must be a dict .*: conv2d has depthwise, direct, first, winograd2"):
        ne.InferenceSession(content, kernels={"conv2d": "exact"})


def test_images_of_any_size():
    content = model(
        [node("Conv", ["x", "w"], ["c"]), node("GlobalAveragePool", ["c"], ["y"])],
        {"x": ("N", 2, "H", "W")}, {"y": ("N", 4, 1, 1)}, {"w": W})  # fmt: skip
    session = ne.InferenceSession(content)
    for shape in ((1, 2, 5, 5), (2, 2, 6, 9)):
        assert session(draw(*shape)).shape == (shape[0], 4, 1, 1)
    with pytest.raises(OnnxError, match="Conv 'c': "):
        session(draw(1, 2, 2, 2))


def test_integers_where_the_network_reads_integers():
    session = ne.InferenceSession(
        model([node("Cast", ["bytes"], ["f"], to=1), node("Div", ["f", "c"], ["y"])],
              {"bytes": ("N", 3)}, {"y": ("N", 3)}, {"c": np.float32(255)}))  # fmt: skip
    x = np.array([[0, 51, 255]], np.uint8)
    assert np.allclose(session(x), [[0, 0.2, 1]])
    assert np.array_equal(session(x.astype(np.int64)), session(x))
    with pytest.raises(ValueError, match="input 'bytes' must hold numbers that uint8 has, got 510"):
        session(x.astype(np.int64) * 2)


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_labels_of_a_loss_are_classes(computed, reduction):
    loss = {"ignore_index": -100, "reduction": reduction}
    nodes = [node("Reshape", ["int_y", "int_s"], ["flat"])] if computed else []
    nodes += [node("SoftmaxCrossEntropyLoss", ["x", "flat" if computed else "int_y"], ["l"], **loss)]
    session = ne.InferenceSession(
        model(nodes, {"x": ("N", 3), "int_y": ("N", 1) if computed else ("N",)}, {"l": ("N",)[reduction == "mean" :]},
              {"int_s": np.array([-1])} if computed else {}))  # fmt: skip
    x, y = draw(4, 3), np.array([0, 2, -100, 1]).reshape((4, 1) if computed else 4)
    place = "model bytes" if computed else "input 'int_y'"
    for _ in range(2):
        assert np.isfinite(session.run(None, {"x": x, "int_y": y})[0]).all()
        for wrong in (3, -1, 2**40):
            message = f"{place}: labels must be in 0..2 for 3 classes, got {wrong} at index 1"
            with pytest.raises(ValueError, match=message):
                session.run(None, {"x": x, "int_y": np.where(y == 2, wrong, y)})
    with pytest.raises(ValueError, match="labels must be in 0..2"):
        session.profile({"x": x, "int_y": y + 1}, runs=1)


def test_labels_that_are_computed_from_rounded_numbers_are_refused():
    """What NumPy makes of them may be another class than what the program does."""
    nodes = [node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0), node("Cast", ["m"], ["label"], to=7),
             node("SoftmaxCrossEntropyLoss", ["x", "label"], ["l"])]  # fmt: skip
    with pytest.raises(OnnxError, match="model bytes: the labels of a loss are computed from numbers that are rounded"):
        ne.InferenceSession(model(nodes, {"x": ("N", 3)}, {"l": ()}))


def test_inputs_that_are_not_aligned_are_copied():
    memory = np.zeros(4 * 150 + 1, np.uint8)
    x = memory[1:].view(np.float32).reshape(3, 2, 5, 5)
    x[...] = draw(3, 2, 5, 5)
    assert not x.flags.aligned
    np.testing.assert_allclose(ne.InferenceSession(CONV)(x), convolved(x), atol=1e-5)


def test_inputs_and_outputs_that_do_not_fit_into_memory_are_refused(monkeypatch):
    session = ne.InferenceSession(CONV)
    with pytest.raises(ValueError, match=r"input 'x' of shape .* does not fit into memory as float32"):
        session(np.broadcast_to(np.float32(1), (2**40, 2, 5, 5)))

    def refuse(shape, dtype):
        raise MemoryError

    x = draw(1, 2, 5, 5)
    session(x)
    monkeypatch.setattr(memory_module.np, "empty", refuse)
    with pytest.raises(ValueError, match=r"the system gives no memory for an output of shape \(1, 4, 5, 5\)"):
        session(x)


def test_32_bit_integers_come_out_as_declared():
    session = ne.InferenceSession(model([node("Cast", ["x"], ["short"], to=6)], {"x": ("N", 3)}, {"short": ("N", 3)}))
    y = session(np.array([[1.5, -2.5, 7]], np.float32))
    assert session.get_outputs()[0].type == "tensor(int32)"
    assert y.dtype == np.int32
    assert y.tolist() == [[1, -2, 7]]


def test_double_precision_is_computed_in_single():
    content = model([node("Neg", ["double_x"], ["double_y"], "n")], {"double_x": ("N", 3)}, {"double_y": ("N", 3)})
    session = ne.InferenceSession(content)
    x = np.array([[1 / 3, -2.5, 7]])
    assert session.run(None, {"double_x": x})[0].dtype == np.float64
    assert np.array_equal(session(x), -x.astype(np.float32))
    assert [port.type for port in (*session.get_inputs(), *session.get_outputs())] == ["tensor(double)"] * 2
    assert session.notes == (
        "float64 is computed in float32: weights and inputs are converted, outputs come back as float64",
    )
    with pytest.raises(ValueError, match="input 'double_x' must hold numbers that float32 has, got 1e\\+99"):
        session(np.full((1, 3), 1e99))


def test_batch_norms_are_folded_at_load():
    stats = [draw(4), draw(4), draw(4), RNG.uniform(0.5, 2, 4).astype(np.float32)]
    content = model(
        [node("Conv", ["x", "w"], ["c"], "conv"), node("BatchNormalization", ["c", *"sbmv"], ["y"], "bn")],
        {"x": ("N", 2, 5, 5)}, {"y": ("N", 4, 3, 3)}, {"w": W, **dict(zip("sbmv", stats))})  # fmt: skip
    session = ne.InferenceSession(content)
    assert session.foldings == (Folding("bn", ("conv",)),)
    x = draw(2, 2, 5, 5)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (2, 3))
    s, b, m, v = (a[:, None, None] for a in stats)
    want = (np.einsum("nchwij,ocij->nohw", windows, W) - m) / np.sqrt(v + 1e-5) * s + b
    assert np.abs(session(x) - want).max() < 1e-4


def test_weights_that_are_not_finite_are_computed_with_as_they_are():
    odd = np.array([np.nan, np.inf, 1, 1], np.float32)
    odd.view(np.uint32)[0] = 0x7F800001  # a signaling NaN, of which conversions warn
    big = np.full(4, 3e38, np.float32)
    content = model(
        [node("Conv", ["x", "w"], ["c"]), node("BatchNormalization", ["c", "odd", "m", "m", "m"], ["n"]),
         node("Exp", ["big"], ["e"]), node("Reshape", ["e", "s"], ["f"]), node("Mul", ["n", "f"], ["y"])],
        {"x": ("N", 2, 5, 5)}, {"y": ("N", 4, 3, 3)},
        {"w": W, "odd": odd, "m": np.ones(4, np.float32), "big": big, "s": np.array([4, 1, 1])})  # fmt: skip
    session = ne.InferenceSession(content)
    assert session.foldings[0].reason == "its scale or shift is no finite float32 number"
    assert not np.isfinite(session(draw(1, 2, 5, 5))).any()


def test_what_is_wrong_comes_out_at_load():
    with pytest.raises(OnnxError, match="operators that are not supported: Det"):
        ne.InferenceSession(model([node("Det", ["x"], ["y"], "up")], {"x": ("N", 3)}, {"y": ("N", 3)}))
    with pytest.raises(OnnxError, match="Conv 'c': input has 3 channels, weight expects 2"):
        ne.InferenceSession(
            model([node("Conv", ["x", "w"], ["y"], "c")], {"x": ("N", 3, 5, 5)}, {"y": ("N", 4, 3, 3)}, {"w": W})
        )
    with pytest.raises(OnnxError, match="damaged or not an ONNX file"):
        ne.InferenceSession(CONV[:-20])
    with pytest.raises(OnnxError, match=r"input 'x' of shape \(1, 1152921504606846976\) takes"):
        ne.InferenceSession(model([node("Neg", ["x"], ["y"])], {"x": ("N", 2**60)}, {"y": ("N", 2**60)}))


def test_many_threads_at_once(session):
    arrays = [draw(n, 2, 5, 5) for n in (1, 2, 3, 4)] * 3
    results: list[np.ndarray | None] = [None] * len(arrays)

    def work(i):
        for _ in range(5):
            results[i] = session(arrays[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(arrays))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(arrays, results, strict=True):
        assert y is not None
        assert np.abs(y - convolved(x)).max() < 1e-5


def test_both_backends(backend):
    x = draw(3, 2, 5, 5)
    assert np.abs(ne.InferenceSession(CONV)(x) - convolved(x)).max() < 1e-5


def test_onnx_is_imported_only_to_read_a_file():
    script = "import sys, normengine.session; print('onnx' in sys.modules, 'normengine.train' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_large_constants_are_left_to_the_runs(monkeypatch):
    """A network of few bytes whose constants take long to compute is open at once, and right when it runs."""
    nodes = [
        node("ConstantOfShape", ["s"], ["c"]), node("Sigmoid", ["c"], ["half"]),
        node("ReduceSum", ["half"], ["sum"], keepdims=0), node("Add", ["x", "sum"], ["y"]),
    ]  # fmt: skip
    content = model(nodes, {"x": [2]}, {"y": [2]}, {"s": np.array([1000, 20])})
    for most in (10, 10**6):
        monkeypatch.setattr(session_module, "_FOLDED", most)
        assert np.allclose(ne.InferenceSession(content).run(None, {"x": np.zeros(2, np.float32)})[0], 10_000)
