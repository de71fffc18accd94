"""Updates are joined where none reads or writes what another writes, and a step's update is one call."""

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.graph import Spec
from normengine.kernels.cpu import backend
from normengine.ops import Builder
from normengine.passes import prepare
from normengine.plan import KernelCall, Memory, Pointer, Work, make_plan
from normengine.plan.merged_updates import merge_updates
from normengine.runtime import compile_graph, set_num_threads

compiled = pytest.mark.skipif(backend() == "numba", reason="Numba's executor has no calls together")


def update(writes, *reads, kind="update", stages=1):
    arguments = (*(Pointer(m) for m in reads), Pointer(writes))
    work = Work(lambda: "", kind)
    return KernelCall("chain", "k", "", ((lambda: 0, 1),) * stages, arguments, work, writes=frozenset([writes]))


def sizes(*calls):
    """How many calls there are in each of the joined ones; their order must not change."""
    joined = merge_updates(calls)
    flat = [each for call in joined for each in (call.inner or (call,))]
    assert flat == list(calls)
    return [len(call.inner) or 1 for call in joined]


def test_what_depends_on_another_call_begins_anew():
    a, b, c, d = (Memory("feed", 4, name) for name in "abcd")
    assert sizes() == []
    assert sizes(update(a)) == [1]
    assert sizes(update(a), update(b), update(c, d)) == [3]
    assert sizes(update(a, d), update(b, d), update(c, d)) == [3]
    assert sizes(update(a), update(b, a), update(c, a)) == [1, 2]  # reads what was written
    assert sizes(update(a, b), update(c, d), update(b)) == [2, 1]  # writes what was read
    assert sizes(update(a, b), update(a, c), update(d)) == [1, 2]  # writes what was written
    assert sizes(update(a), update(b), update(c, b), update(d)) == [2, 2]


def test_only_updates_of_one_stage_whose_results_are_known_are_joined():
    a, b, c = (Memory("arena", 4) for _ in range(3))
    assert sizes(update(a), update(b, kind="elementwise"), update(c)) == [1, 1, 1]
    assert sizes(update(a), update(b, stages=2), update(c)) == [1, 1, 1]
    assert sizes(*(update(m, kind="trial") for m in (a, b)), update(c)) == [2, 1]
    unknown = KernelCall("chain", "k", "", ((lambda: 0, 1),), (Pointer(b),), Work(lambda: "", "update"))
    assert sizes(update(a), unknown, update(c)) == [1, 1, 1]


@compiled
def test_nothing_is_joined_across_the_first_output():
    b = Builder()
    states = [b.state_value(name, Spec((4,))) for name in "stu"]
    new = [b.add("add", s, s) for s in states]
    for old, value in zip(states, new):
        b.update(old, value)
    plan = make_plan(prepare(b.graph([b.add("reduce_sum", states[0], axes=(0,), keepdims=False)])))
    (joined,) = [call for call in plan.calls if call.inner]
    assert plan.calls.index(joined) >= plan.guard > 0
    program = compile_graph(b.graph([b.add("reduce_sum", states[0], axes=(0,), keepdims=False)]))
    arrays = {name: np.ones(4, np.float32) for name in "stu"}

    def refuse(value):
        raise FloatingPointError(str(value))

    with pytest.raises(FloatingPointError, match="4.0"):
        program.run(arrays, refuse)
    assert all(np.array_equal(a, np.ones(4)) for a in arrays.values())
    program.run(arrays, lambda value: None)
    assert all(np.array_equal(a, np.full(4, 2)) for a in arrays.values())


def network():
    ne.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 20, 3, padding=1, bias=False),
        nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(320, 90), nn.ReLU(),
        nn.Linear(90, 4))  # fmt: skip


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p),
    "amsgrad": lambda p: optim.Adam(p, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p),
}


def trained(make, without=()):
    """The losses of some steps, what they changed, and their program."""
    model = network()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 3, 8, 8), np.float32), rng.integers(0, 4, 6)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), make(model.parameters()), seed=1, without_passes=without)
    losses = [step(x, y) for _ in range(3)]
    return losses, {name: array.copy() for name, array in model.state_dict().items()}, step.program


@compiled
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_of_a_step_is_one_call_and_gives_the_same_bits(name):
    losses, state, program = trained(OPTIMIZERS[name])
    calls = program.plan.calls
    assert [call.kernel for call in calls if call.work.kind in ("trial", "update")] == ["merged updates"] * 2
    assert [call.work.kind for call in calls[-2:]] == ["trial", "update"]
    apart_losses, apart_state, apart = trained(OPTIMIZERS[name], ["merged_updates"])
    assert not any(call.inner for call in apart.plan.calls)
    assert len(apart.plan.calls) == sum(len(call.inner) or 1 for call in calls)
    set_num_threads(1)
    single_losses, single_state, _ = trained(OPTIMIZERS[name])
    assert losses == apart_losses == single_losses
    for key, array in state.items():
        assert np.array_equal(array, apart_state[key]), key
        assert np.array_equal(array, single_state[key]), key


def test_numbas_executor_is_given_them_apart(monkeypatch):
    monkeypatch.setenv("NORMENGINE_BACKEND", "numba")
    monkeypatch.delenv("NORMENGINE_ISA", raising=False)
    b = Builder()
    for name in "st":
        state = b.state_value(name, Spec((4,)))
        b.update(state, b.add("add", state, state))
    assert not any(call.inner for call in make_plan(prepare(b.graph([]))).calls)
