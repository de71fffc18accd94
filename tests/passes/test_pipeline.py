"""Each pass on and off gives the same numbers, in training and in inference, and names that no pass has are errors."""

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.compiling import SWITCHES, CompileOptions
from normengine.graph import Spec
from normengine.ops import Builder
from normengine.passes import PASSES, prepare
from normengine.runtime import ProgramCache, compile_graph
from normengine.settings import compile_options

NAMES = (*PASSES, *SWITCHES)
X = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
Y = np.arange(16) % 5


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))  # fmt: skip

    def forward(self, x):
        return nn.functional.relu(self.body(x) + x)


def network():
    ne.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Residual(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 5))  # fmt: skip


def trained(without=()):
    """The losses of some steps, the network's state after them, and the last program."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer, seed=4, without_passes=without)
    losses = [step(X, Y) for _ in range(4)]
    return losses, {name: array.copy() for name, array in model.state_dict().items()}, step.program


@pytest.fixture(scope="module")
def whole():
    return trained()


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    ne.onnx.export(network().eval(), path, X.shape[1:])
    return path


def kernels(program):
    return sorted(inner.kernel for call in program.plan.calls for inner in (call, *call.inner))


def what_runs(program):
    """The kernels, and where they find their memory."""
    return kernels(program), sorted(program.plan.offsets.values())


@pytest.mark.parametrize("name", NAMES)
def test_training_without_a_pass_gives_the_same_numbers(whole, name):
    losses, state, program = whole
    other_losses, other_state, other_program = trained([name])
    np.testing.assert_allclose(other_losses, losses, rtol=1e-4)
    for key, array in state.items():
        np.testing.assert_allclose(other_state[key], array, rtol=1e-3, atol=1e-4, err_msg=key)
    if name not in ("fuse_epilogue", "lift_reshapes"):  # which are for inference, and for signals
        assert what_runs(other_program) != what_runs(program)


@pytest.mark.parametrize("name", NAMES)
def test_inference_without_a_pass_gives_the_same_numbers(onnx_file, name):
    expected = ne.InferenceSession(onnx_file)(X)
    np.testing.assert_allclose(ne.InferenceSession(onnx_file, without_passes=[name])(X), expected, rtol=1e-4, atol=1e-5)


def test_without_any_pass(whole):
    losses, _, _ = trained(NAMES)
    np.testing.assert_allclose(losses, whole[0], rtol=1e-4)


def sums():
    b = Builder()
    x = b.input("x", Spec((4, 5)))
    return b.graph([b.add("relu", b.add("add", x, x))])


def test_the_environment_switches_off(monkeypatch):
    assert len(compile_graph(sums()).plan.calls) == 1
    cache = ProgramCache()
    fused = cache.get(sums())
    monkeypatch.setenv("NORMENGINE_PASSES_OFF", " fuse, rematerialize,")
    options = compile_options(["blocks"])
    assert options == CompileOptions(frozenset({"fuse", "rematerialize"}), blocks=False)
    program = compile_graph(sums(), compile_options())
    assert len(program.plan.calls) == 2
    assert cache.get(sums(), compile_options()) is not fused
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    assert np.array_equal(program.run({"x": x})[0], np.maximum(x + x, 0))


def test_a_variable_counts_from_when_a_step_or_session_is_made(monkeypatch, onnx_file):
    model = network()
    made = [
        lambda: ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters())).options,
        lambda: ne.InferenceSession(onnx_file)._compiled_with,
    ]
    monkeypatch.setenv("NORMENGINE_PASSES_OFF", "fuse,in_place")
    monkeypatch.setenv("NORMENGINE_KERNELS", "conv2d=direct")
    found = [make() for make in made]
    monkeypatch.delenv("NORMENGINE_PASSES_OFF")
    monkeypatch.delenv("NORMENGINE_KERNELS")
    assert found == [CompileOptions(frozenset({"fuse"}), (("conv2d", "direct"),), in_place=False)] * 2
    assert [make() for make in made] == [CompileOptions()] * 2


def test_updates_stay_last_without_fusion():
    b = Builder()
    x, s = b.input("x", Spec((4,))), b.state_value("s", Spec((4,)))
    b.update(s, b.add("add", s, x))
    graph = prepare(b.graph([b.add("mul", x, x)]), ["fuse"])
    assert [node.attrs["nodes"][0].op for node in graph.nodes] == ["mul", "add"]


def test_unknown_names(monkeypatch, onnx_file):
    message = (
        "passes to leave out: there is no pass .fusion., choose from "
        "lift_reshapes, fuse_epilogue, fuse_loss_grad, expand_norm_grad_sums, fuse"
    )
    model = network()
    with pytest.raises(ValueError, match=message):
        ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()), without_passes=["fusion"])
    with pytest.raises(ValueError, match=message):
        ne.InferenceSession(onnx_file, without_passes=("fusion",))
    with pytest.raises(ValueError, match=r"collection of names, got 'fuse'; put it into a tuple"):
        compile_options("fuse")
    monkeypatch.setenv("NORMENGINE_PASSES_OFF", "blocks,layout")
    with pytest.raises(ValueError, match="NORMENGINE_PASSES_OFF: there is no pass 'layout', choose from"):
        compile_options()
