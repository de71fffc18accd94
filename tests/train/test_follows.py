"""A step is that of what the model and the loss read now, not of what they read when it was compiled."""

import random
import types

import numpy as np
import pytest
from fuzz_steps import tried

import normengine as ne
from normengine import nn, optim
from normengine.nn import functional as F

X = np.random.default_rng(0).standard_normal((8, 2, 4, 4)).astype(np.float32)
Y = np.arange(8) % 3
LAM = 1.0


class Net(nn.Module):
    """``inside`` is called on the activations of the first layer."""

    def __init__(self, inside=None):
        super().__init__()
        self.first, self.head = nn.Conv2d(2, 4, 3), nn.Linear(16, 3)
        self.inside = inside

    def forward(self, x):
        x = F.relu(self.first(x))
        if self.inside is not None:
            x = self.inside(self, x) if isinstance(self.inside, types.FunctionType) else self.inside(x)
        return self.head(x.flatten(1))


def made(inside=None, loss=None, **attributes):
    """A model and a step that updates nothing, so that every loss is that of the same weights."""
    ne.manual_seed(0)
    model = Net(inside)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model, ne.TrainStep(model, loss or nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.0), seed=3)


def expected(model, loss=None):
    """The loss by itself, from the model's output as it is called."""
    return float((loss or nn.CrossEntropyLoss())(model(X), Y))


NUMBERS = {
    "float": float,
    "float32 array": lambda k: np.array(k, np.float32),
    "float64 array": lambda k: np.array(k),
    "NumPy's float32": np.float32,
    "NumPy's float64": np.float64,
}


@pytest.mark.parametrize("kind", NUMBERS.values(), ids=NUMBERS)
def test_a_number_that_changes_at_each_step_compiles_nothing(kind):
    model, step = made(lambda m, x: x * m.a, a=kind(1.0))
    for k in np.linspace(0.5, 2, 20):
        model.a = kind(k)
        assert step(X, Y) == pytest.approx(expected(model), rel=1e-6)
    assert len(step.programs) == 1


def test_integers_count_too():
    model, step = made(lambda m, x: x * m.a, a=1)
    for k in (2, np.int64(3), np.array(4), 2, 5):
        model.a = k
        assert step(X, Y) == pytest.approx(expected(model), rel=1e-6)


def test_rates_of_dropout_and_settings_of_the_loss():
    model, step = made(nn.Dropout(0.5))
    losses = {}
    for p in [*np.linspace(0, 0.9, 7), *np.linspace(0, 0.9, 7)]:
        model.inside.p = p
        fresh = ne.TrainStep(model, nn.CrossEntropyLoss(), step.optimizer, seed=3)
        fresh._steps[()] = step.steps
        losses[p] = step(X, Y)
        assert losses[p] == fresh(X, Y)
    assert len(set(losses.values())) == 7


def test_objects_in_the_place_of_others():
    model, step = made(nn.ReLU())
    for _ in range(3):
        for make in (nn.Tanh, nn.Sigmoid, nn.ReLU, lambda: nn.LeakyReLU(0.5)):
            model.inside = make()
            assert step(X, Y) == pytest.approx(expected(model), rel=1e-6)
    model, step = made(lambda m, x: x)
    for factor in (1.0, 2.0, 3.0):
        model.inside = lambda m, x: x * factor  # noqa: B023 (the step is what is tested)
        assert step(X, Y) == pytest.approx(expected(model), rel=1e-6)
    assert len(step.programs) == 1


def test_the_published_mixup():
    rng = np.random.default_rng(0)
    model, step = made()
    lam, other = 1.0, Y

    def criterion(output, target):
        return lam * F.cross_entropy(output, target) + (1 - lam) * F.cross_entropy(output, other)

    step.loss = criterion
    for _ in range(10):
        lam, other = float(rng.beta(1, 1)), rng.integers(0, 3, 8)
        assert step(X, Y) == pytest.approx(expected(model, criterion), rel=1e-6)
    assert len(step.programs) == 1


def test_globals_and_attributes_of_a_loss():
    global LAM

    class Weighted:
        scale = 1.0

        def __init__(self):
            self.alpha = 1.0

        def __call__(self, output, target):
            return F.cross_entropy(output, target) * self.alpha * self.scale * LAM

    loss = Weighted()
    model, step = made(loss=loss)
    for k in (1.0, 0.5, 2.0):
        loss.alpha = k
        assert step(X, Y) == pytest.approx(expected(model, loss), rel=1e-6)
        Weighted.scale = k
        assert step(X, Y) == pytest.approx(expected(model, loss), rel=1e-6)
        LAM = k
        assert step(X, Y) == pytest.approx(expected(model, loss), rel=1e-6)
    assert len(step.programs) == 1


def test_another_model_loss_or_optimizer():
    model, step = made()
    first = step(X, Y)
    ne.manual_seed(1)
    other = Net()
    step.model = other
    with pytest.raises(ValueError, match="none of the optimizer's parameters takes part in the loss"):
        step(X, Y)
    step.optimizer = optim.SGD(other.parameters(), lr=0.1)
    assert step(X, Y) == pytest.approx(expected(Net_seeded(1)), rel=1e-6)
    step.loss = nn.MSELoss()
    with pytest.raises(ValueError, match="target has shape"):
        step(X, Y)
    step.loss = 3
    with pytest.raises(TypeError, match="loss must be a function"):
        step(X, Y)
    step.model, step.loss, step.optimizer = model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)
    assert step(X, Y) == first


def Net_seeded(seed):
    ne.manual_seed(seed)
    return Net()


def test_arrays_are_followed_in_place():
    mask = np.ones((1, 4, 1, 1), np.float32)
    model, step = made(lambda m, x: x * m.mask * m.double, mask=mask, double=np.ones((4, 1, 1)))
    for k in range(4):
        mask[0, k] = 0
        model.double[k] = 2
        assert step(X, Y) == pytest.approx(expected(model), rel=1e-6)
    assert len(step.programs) == 1


# random draws

DRAWS = {
    "randn": lambda m, x: x + ne.randn(*x.shape),
    "rand": lambda m, x: x + ne.rand(x.shape[0], 4, 1, 1),
    "randn_like": lambda m, x: x + ne.randn_like(x),
    "rand_like": lambda m, x: x * ne.rand_like(x),
    "bernoulli": lambda m, x: x * ne.bernoulli(0.5 * ne.ones(*x.shape)),
    "bernoulli_": lambda m, x: x * x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(0.5).div_(0.5),
    "floor of rand": lambda m, x: x * (0.5 + ne.rand(x.shape[0], 1, 1, 1)).floor_(),
    "uniform_": lambda m, x: x * x.new_empty(x.shape).uniform_(1, 2),
    "normal_": lambda m, x: x + x.new_zeros(*x.shape).normal_(0, 0.5),
}


@pytest.mark.parametrize("inside", DRAWS.values(), ids=DRAWS)
def test_draws_are_new_in_each_step_and_the_same_for_any_number_of_threads(inside):
    runs = []
    for threads in (1, 2):
        before = ne.get_num_threads()
        ne.set_num_threads(threads)
        try:
            model, step = made(inside)
            runs.append([step(X, Y) for _ in range(4)])
            assert len(step.programs) == 1 and not step.traced_again
        finally:
            ne.set_num_threads(before)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 4


def test_what_is_drawn_has_its_distribution():
    class Draws(nn.Module):
        def forward(self, x):
            return ne.rand(4, 5000), ne.randn(4, 5000), ne.bernoulli(x), x.new_empty(x.shape).uniform_(2, 4)

    ne.manual_seed(0)
    uniform, normal, ones, between = Draws()(np.full((4, 5000), 0.3, np.float32))
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.02
    assert set(np.unique(ones)) == {0, 1} and abs(ones.mean() - 0.3) < 0.015
    assert between.min() >= 2 and between.max() < 4 and abs(between.mean() - 3) < 0.02
    assert abs(np.corrcoef(uniform.ravel(), between.ravel())[0, 1]) < 0.03


def test_noise_is_the_same_in_the_backward_pass():
    """The gradient of sum(w * noise) is the noise, which the loss has just shown."""
    model = nn.Module()
    model.w = nn.Parameter(np.ones(50, np.float32))
    model.forward = lambda x: (model.w * ne.randn(50)).sum() + 0 * x.sum()
    step = ne.TrainStep(model, lambda out, y: out, optim.SGD(model.parameters(), lr=1.0))
    before = model.w.numpy().copy()
    loss = step(np.zeros((1, 1)), np.zeros(1))
    np.testing.assert_allclose((before - model.w.numpy()).sum(), loss, rtol=1e-5)


OWN = np.random.default_rng(0)
BRANCHES = {
    "random": lambda m, x: x * 2 if random.random() < 0.5 else x,
    "NumPy": lambda m, x: x + np.random.standard_normal(x.shape).astype(np.float32),  # noqa: NPY002 (as scripts do)
    "NumPy's Generator": lambda m, x: x * float(OWN.uniform()),
    "item of rand": lambda m, x: x * 2 if ne.rand(1).item() < 0.5 else x,
    "comparison of rand": lambda m, x: x * 2 if ne.rand(1) < 0.5 else x,
}


@pytest.mark.parametrize("inside", BRANCHES.values(), ids=BRANCHES)
def test_what_generators_decide_is_decided_in_each_step(inside):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    model, step = made(inside)
    losses = [step(X, Y) for _ in range(12)]
    assert len(set(losses)) >= 2
    assert len(step.programs) <= 2


# state that forward assigns


class BatchNormFromScratch(nn.Module):
    """As textbooks write it."""

    def __init__(self):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(ne.ones(1, 4, 1, 1)), nn.Parameter(ne.zeros(1, 4, 1, 1))
        self.moving_mean, self.moving_var = ne.zeros(1, 4, 1, 1), ne.ones(1, 4, 1, 1)

    def forward(self, x):
        if not self.training:
            return self.gamma * (x - self.moving_mean) / ne.sqrt(self.moving_var + 1e-5) + self.beta
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        self.moving_mean = (0.9 * self.moving_mean + 0.1 * mean).data
        self.moving_var = (0.9 * self.moving_var + 0.1 * var).data
        return self.gamma * (x - mean) / ne.sqrt(var + 1e-5) + self.beta


def test_batch_norm_from_scratch_trains_and_evaluates():
    model, step = made(BatchNormFromScratch())
    twin, other = made(nn.BatchNorm2d(4))
    given = model.inside.moving_mean
    for _ in range(4):
        assert step(X, Y) == pytest.approx(other(X, Y), rel=1e-5)
        np.testing.assert_allclose(model.inside.moving_mean.ravel(), twin.inside.running_mean, rtol=1e-4, atol=1e-6)
    assert not given.any(), "who holds the array that was there keeps it as it is"
    keys = set(model.state_dict())
    assert keys == {"first.weight", "first.bias", "head.weight", "head.bias", "inside.gamma", "inside.beta"}
    x = X[:3]
    m = (128 - 1) / 128  # running_var is unbiased
    twin.inside.running_var = (twin.inside.running_var - 0.9**4) * m + 0.9**4
    np.testing.assert_allclose(model.eval()(x), twin.eval()(x), rtol=1e-3, atol=1e-4)


def test_attributes_hold_their_values_after_each_step():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.calls = None, 0
            self.register_buffer("count", np.array(0))

        def forward(self, x):
            self.last = x
            self.calls += 1
            self.count += 1
            return x * 1.0

    model, step = made(Keeps())
    for number, size in enumerate((8, 8, 5, 8, 8), 1):
        step(X[:size], Y[:size])
        kept = model.inside.last
        assert isinstance(kept, np.ndarray) and kept.shape == (size, 4, 2, 2)
        np.testing.assert_allclose(kept, F.relu(model.first(X[:size])), rtol=1e-5, atol=1e-6)
        assert model.inside.calls == number and int(model.inside.count) == number
    model(X[:2])
    assert model.inside.last.shape == (2, 4, 2, 2)


def test_what_python_looks_at_is_looked_at_in_each_step():
    def inside(model, x):
        return x * 2 if model.alpha.item() > 0.5 and float(model.level.sum()) < 1 else x

    model, step = made(inside)
    model.alpha = nn.Parameter(np.ones(1, np.float32))
    model.register_buffer("level", np.zeros(2, np.float32))
    high = step(X, Y)
    model.alpha.data[0] = 0
    low = step(X, Y)
    assert high != low
    model.alpha.data[0] = 1
    assert step(X, Y) == high
    model.level[0] = 3
    assert step(X, Y) == low


def test_values_that_depend_on_the_input_are_refused():
    for inside in (lambda m, x: x if x.mean() > 0 else -x, lambda m, x: x * x.sum().item()):
        _, step = made(inside)
        with pytest.raises(TypeError, match="depends on the input has no values"):
            step(X, Y)


@pytest.mark.slow
def test_random_models_follow_their_settings():
    for seed in range(6):
        steps, _, wrong = tried(seed, 30)
        assert steps == 30 and not wrong


def test_many_structures_are_said_once(monkeypatch):
    monkeypatch.setattr("normengine.train.step._MANY", 4)
    model, step = made(lambda m, x: sum([x] * m.times), times=1)
    for times in (1, 2, 3):
        model.times = times
        step(X, Y)
    model.times = 4
    with pytest.warns(RuntimeWarning, match="4 programs were compiled in 4 steps, since shapes, or what forward"):
        step(X, Y)
    for times in (5, 6):
        model.times = times
        step(X, Y)


def test_why_forward_is_called_in_every_step_is_said():
    cases = {
        "": lambda m, x: x * ne.rand(1),
        "its Python looks at values that each step changes": lambda m, x: x * m.first.bias.data.numpy()[0],
        "forward draws from a generator of Python's or NumPy's": BRANCHES["random"],
        "forward reads what cannot be watched: an object of type list_iterator": lambda m, x: (m.it, x)[1],
        "forward changes what it reads": lambda m, x: (m.calls.append(1), x)[1],
    }
    for why, inside in cases.items():
        model, step = made(inside, it=iter([1]), calls=[])
        step(X, Y)
        assert step.traced_again == why


def test_a_change_that_is_refused_is_not_forgotten():
    model, step = made(lambda m, x: x * m.a if m.a else x.reshape(7, 7), a=1.0)
    first = step(X, Y)
    model.a = 0
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be viewed as"):
            step(X, Y)
    model.a = 2.0
    assert step(X, Y) != first

    def loss(output, target):
        if model.a == 3.0:
            raise KeyboardInterrupt
        return F.cross_entropy(output, target) * model.a

    step.loss = loss
    second = step(X, Y)
    model.a = 3.0
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            step(X, Y)
    model.a = 2.0
    assert step(X, Y) == second


def test_a_device_in_a_loss_is_no_reason_to_call_it_in_every_step():
    device = ne.device("cpu")
    _, step = made(loss=lambda output, target: F.cross_entropy(output.to(device), target))
    step(X, Y)
    assert step.traced_again == ""


def test_a_loss_of_ones_own_may_count_with_integer_targets():
    def loss(output, target):
        return ((output.sum(1) - target) ** 2).mean() + (output[:, 0] * target).sum() / 2

    model, step = made(loss=loss)
    out = np.asarray(model(X))
    want = ((out.sum(1) - Y) ** 2).mean() + (out[:, 0] * Y).sum() / 2
    assert step(X, Y) == pytest.approx(want, rel=1e-5)
