"""The training step: same bits whatever the threads, nothing changed on an error, settings that count."""

import copy
import pickle
import signal
import threading

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.kernels.cpu import backend
from normengine.nn import functional as F


def network():
    ne.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.GaussianDropout(0.1),
        nn.UniformDropout(0.2), nn.Flatten(), nn.Linear(8 * 4, 4))  # fmt: skip


def batches(count, size=12):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((size, 1, 8, 8)).astype(np.float32), rng.integers(0, 4, size)) for _ in range(count)]


def snapshot(model, optimizer):
    state = {k: v.copy() for k, v in model.state_dict().items()}
    for number, entry in optimizer.state_dict()["state"].items():
        state |= {(number, k): np.copy(v) for k, v in entry.items()}
    return state


def same(one, two):
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def ten_steps(threads):
    ne.set_num_threads(threads)
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    losses = [step(x, y) for x, y in batches(10)]
    return losses, model.state_dict()


def test_the_same_bits_for_any_number_of_threads_and_any_run():
    before = ne.get_num_threads()
    try:
        runs = [ten_steps(threads) for threads in (1, 2, 2, 3)]
    finally:
        ne.set_num_threads(before)
    for losses, state in runs[1:]:
        assert losses == runs[0][0]
        assert same(state, runs[0][1])


def test_the_same_bits_where_images_go_depth_first():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((24, 3, 16, 16), dtype=np.float32), rng.integers(0, 4, 24)
    results = []
    before = ne.get_num_threads()
    try:
        for threads in (1, 2, 2, 5):
            ne.set_num_threads(threads)
            ne.manual_seed(1)
            model = nn.Sequential(
                nn.Conv2d(3, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU(), nn.Dropout(0.3),
                nn.Conv2d(20, 20, 3, padding=1, groups=20), nn.BatchNorm2d(20), nn.ReLU6(), nn.MaxPool2d(2),
                nn.Dropout2d(0.2), nn.Conv2d(20, 17, 3, padding=1, stride=2), nn.BatchNorm2d(17), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(17, 4))  # fmt: skip
            step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
            results.append(([step(x, y) for _ in range(5)], model.state_dict()))
    finally:
        ne.set_num_threads(before)
    assert backend() != "compiled" or sum(call.op == "depth_first" for call in step.program.plan.calls) >= 4
    for losses, state in results[1:]:
        assert losses == results[0][0]
        assert same(state, results[0][1])


def compiled_step(**settings):
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 64, 4))  # fmt: skip
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), **settings)
    rng = np.random.default_rng(0)
    step(rng.standard_normal((8, 3, 8, 8)).astype(np.float32), rng.integers(0, 4, 8))
    return step.program.plan


def test_nobody_asks_for_the_gradient_of_the_images():
    calls = [call.op for call in compiled_step().calls]
    assert calls.count("conv2d") == calls.count("conv2d_weight_grad") == 2
    assert calls.count("conv2d_input_grad") == 1


@pytest.mark.skipif(backend() != "compiled", reason="Numba has one kernel for each operator")
def test_the_user_may_choose_the_kernels_of_a_step(monkeypatch):
    chosen = {"conv2d": "direct", "conv2d_input_grad": "winograd2", "conv2d_weight_grad": "direct", "linear": "panels"}
    monkeypatch.setenv("NORMENGINE_KERNELS", ",".join(f"{op}={algorithm}" for op, algorithm in chosen.items()))
    plan = compiled_step()
    for call in plan.calls:
        if call.op in chosen:
            assert call.kernel.startswith(f"{call.op}_{chosen[call.op]}_f32_")
    assert "its algorithm is wanted" in plan.explain()


@pytest.mark.skipif(backend() != "compiled", reason="Numba has one kernel for each operator")
def test_a_step_may_ask_for_kernels(monkeypatch):
    monkeypatch.setenv("NORMENGINE_KERNELS", "conv2d=winograd2")
    plan = compiled_step(kernels={"conv2d": "direct", "conv2d_weight_grad": "direct"})
    kernels = [
        call.kernel for outer in plan.calls for call in outer.each() if call.op in ("conv2d", "conv2d_weight_grad")
    ]
    assert kernels and all("_direct_" in kernel for kernel in kernels)
    with pytest.raises(ValueError, match="kernels must be a dict .*: conv2d_weight_grad has depthwise, direct, first"):
        compiled_step(kernels={"conv2d_weight_grad": "exact"})


def test_another_seed_gives_other_masks():
    results = []
    for seed in (1, 2, 1):
        model = network()
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), seed=seed)
        results.append([step(x, y) for x, y in batches(2)])
    assert results[0] == results[2] != results[1]


def test_a_smaller_last_batch_goes_on_with_the_same_state():
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    x, y = batches(1)[0]
    step(x, y), step(x[:5], y[:5]), step(x, y)
    assert step.steps == 3
    assert model.state_dict()["1.num_batches_tracked"] == 3


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda x, y: (x[:, 0], y), ValueError, r"Conv2d '0': .*\(12, 8, 8\)"),
        (lambda x, y: (x.repeat(3, 1), y), ValueError, r"Conv2d '0': input has 3 channels, weight expects 1"),
        (lambda x, y: ((x * 255).astype(np.uint8), y), ValueError, r"uint8.*astype\(np.float32\) / 255"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "empty batch"),
        (lambda x, y: (x, y[:5]), ValueError, "x has 12 samples, y has 5"),
        (lambda x, y: (x, y + 4), ValueError, r"labels must be in 0..3 for 4 classes, got \d at index 0"),
        (lambda x, y: (x, np.where(np.arange(12) == 7, -1, y)), ValueError, "got -1 at index 7"),
        (lambda x, y: (x[:, :, :6, :6], y), ValueError, "Linear '12'"),
        (lambda x, y: (x * np.float32(np.nan), y), FloatingPointError, "loss is nan at step 2; input 'x'"),
    ],
)
def test_bad_input_is_one_clear_error_and_changes_nothing(change, error, words):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    x, y = batches(1)[0]
    step(x, y)
    before = snapshot(model, optimizer)
    with pytest.raises(error, match=words):
        step(*change(x, y))
    assert same(before, snapshot(model, optimizer))
    assert step.steps == 1
    twin = network()
    other = ne.TrainStep(
        twin, nn.CrossEntropyLoss(), optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), seed=step.seed
    )
    other(x, y)
    assert step(x, y) == other(x, y)


@pytest.mark.parametrize(
    "loss, target",
    [
        (lambda out, y: F.cross_entropy(out, y.view(-1)), lambda y: y[:, None]),
        (lambda out, y: F.cross_entropy(out, y[:, 1]), lambda y: np.stack([0 * y, y], 1)),
        (lambda out, y: F.nll_loss(F.log_softmax(out, 1), y), lambda y: y),
    ],
)
def test_labels_are_checked_wherever_the_loss_takes_them_from(loss, target):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = ne.TrainStep(model, loss, optimizer)
    x, y = batches(1)[0]
    before = snapshot(model, optimizer)
    with pytest.raises(ValueError, match=r"TrainStep: labels must be in 0..3 for 4 classes, got 4 at index 3"):
        step(x, target(np.where(np.arange(12) == 3, 4, y)))
    assert same(before, snapshot(model, optimizer))
    assert np.isfinite(step(x, target(y)))


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_update_counts_as_the_step_that_it_is():
    def run(interrupt):
        model = network()
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), seed=5)
        for i, (x, y) in enumerate(batches(3)):
            if i == 1 and interrupt:
                step.program._executor = executor = _Interrupted(step.program._executor)
                with pytest.raises(KeyboardInterrupt):
                    step(x, y)
                step.program._executor = executor.executor
            else:
                step(x, y)
        return step.steps, snapshot(model, step.optimizer)

    (steps, whole), (counted, interrupted) = run(False), run(True)
    assert steps == counted == 3
    assert same(whole, interrupted)


def test_a_step_that_comes_back_to_itself_is_refused():
    """As from a signal handler that trains while a step is at work."""
    model = network()
    loss, inner = nn.CrossEntropyLoss(), []
    x, y = next(iter(batches(1)))

    def come_back(output, target):
        if not inner:
            inner.append("once")
            with pytest.raises(RuntimeError, match="while this step is at work in the same thread"):
                step(x, y)
            with pytest.raises(RuntimeError, match="while this step is at work in the same thread"):
                step.profile(x, y)
        return loss(output, target)

    step = ne.TrainStep(model, come_back, optim.SGD(model.parameters(), 0.1))
    step(x, y)
    assert inner and step.steps == 1
    step(x, y)
    assert step.steps == 2


def test_steps_of_several_threads_take_turns():
    def run(threads):
        model = network()
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), seed=5)
        x, y = next(iter(batches(1)))
        started = [threading.Thread(target=lambda: [step(x, y) for _ in range(8 // threads)]) for _ in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        return step.steps, snapshot(model, step.optimizer)

    (counted, alone), (together, shared) = run(1), run(4)
    assert counted == together == 8 and same(alone, shared)


class _Interrupted:
    """Ctrl-C while the update runs: Python acts on it when the executor returns."""

    def __init__(self, executor):
        self.executor = executor
        self.runs = 0

    def run(self, *arguments):
        self.executor.run(*arguments)
        self.runs += 1
        if self.runs == 2:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_copies_go_on_by_themselves(copied):
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), seed=5)
    first, second, third = batches(3)
    step(*first)
    twin = copied(step)
    losses = [step(*second), step(*third)]
    before = snapshot(model, step.optimizer)
    assert [twin(*second), twin(*third)] == losses
    assert same(snapshot(twin.model, twin.optimizer), before)
    twin(*first)
    assert same(snapshot(model, step.optimizer), before)


def test_parts_in_another_order_and_classes_in_their_place():
    model = network()
    optimizer, loss = optim.SGD(model.parameters()), nn.CrossEntropyLoss()
    for parts, message in [
        ((loss, optimizer, model), "optimizer must be made by a class of normengine.optim, got Sequential"),
        ((model, optimizer, loss), "optimizer must be made by a class of normengine.optim, got CrossEntropyLoss"),
        ((model, nn.CrossEntropyLoss, optimizer), "loss must be a function or a loss module .* got the class CrossEnt"),
        ((model, loss, optim.SGD), "optimizer must be made by .* got the class SGD"),
        ((batches, loss, optimizer), "model must be an nn.Module, got function"),
    ]:
        with pytest.raises(TypeError, match=message):
            ne.TrainStep(*parts)


def test_a_loss_that_is_not_finite_names_the_layer_where_that_began():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model[5].weight.data[2] = 3e38
    before = snapshot(model, optimizer)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 1; the first .* come out of Conv2d '5'"):
        step(*batches(1)[0])
    assert same(before, snapshot(model, optimizer))


def test_one_value_per_channel_is_an_error_in_training():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"BatchNorm2d '1': .*more than 1 value per channel.*\(1, 2, 1, 1\)"):
        step(np.zeros((1, 1, 3, 3), np.float32), np.zeros(1, int))


def test_double_precision_and_strided_input_is_converted():
    x, y = batches(1)[0]
    results = []
    for given in (x, x.astype(np.float64), np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2]):
        model = network()
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), seed=3)
        results.append(step(given, y.astype(np.int32)))
    assert len(set(results)) == 1


def test_changed_settings_count():
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.0))
    x, y = batches(1)[0]
    masked = step(x, y), step(x, y)
    assert masked[0] != masked[1]
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.GaussianDropout)):
            module.p = 0.0
        if isinstance(module, nn.UniformDropout):
            module.beta = 0.0
    assert step(x, y) == step(x, y)
    before = model.state_dict()["1.running_mean"].copy()
    model.eval()
    step(x, y)
    assert np.array_equal(model.state_dict()["1.running_mean"], before)


def test_frozen_parameters_stay():
    model = network()
    frozen = model[0].weight
    frozen.requires_grad = False
    before = frozen.data.copy()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1))
    step(*batches(1)[0])
    assert np.array_equal(frozen.data, before)


def test_an_optimizer_of_another_model_and_a_loss_that_is_no_scalar():
    x, y = batches(1)[0]
    model = network()
    with pytest.raises(ValueError, match="none of the optimizer's parameters"):
        ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(network().parameters(), lr=0.1))(x, y)
    with pytest.raises(ValueError, match="the loss must be one scalar"):
        ne.TrainStep(model, nn.CrossEntropyLoss(reduction="none"), optim.SGD(model.parameters(), lr=0.1))(x, y)
    with pytest.raises(ValueError, match="the loss does not depend on any of the optimizer's parameters"):
        ne.TrainStep(model, lambda out, y: out.detach().mean(), optim.SGD(model.parameters(), lr=0.1))(x, y)


@pytest.mark.parametrize("loss, target", [
    (nn.MSELoss(), lambda rng: rng.standard_normal((12, 4))),
    (nn.BCEWithLogitsLoss(), lambda rng: rng.integers(0, 2, (12, 4)).astype(np.float64)),
    (nn.CrossEntropyLoss(label_smoothing=0.1), lambda rng: rng.integers(0, 4, 12)),
])  # fmt: skip
@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.AdamW(p, lr=0.01),
])  # fmt: skip
def test_every_loss_and_optimizer_learns(loss, target, make):
    ne.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
    step = ne.TrainStep(model, loss, make(model.parameters()))
    x, y = batches(1)[0][0], target(np.random.default_rng(2))
    losses = [step(x, y) for _ in range(25)]
    floor = 0.4 if getattr(loss, "label_smoothing", 0) else 0.0
    assert losses[-1] - floor < 0.5 * (losses[0] - floor)
