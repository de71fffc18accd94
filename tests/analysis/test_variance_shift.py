"""The variance shift: measured on synthetic inputs it is what the closed forms of Li et al. say, in float64."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

import normengine as ne
from normengine import analysis, nn
from normengine.nn import functional as F
from normengine.nn import random


def normal(*shape, mean=0.0, seed=0):
    return (mean + np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def one(model, x, **options):
    (shift,) = analysis.variance_shift(model, x, **options)
    return shift


def odds(p):
    return p / (1 - p)


@pytest.mark.parametrize(
    ("layer", "delta"),
    [
        (lambda: nn.Dropout(0.1), 0.9),
        (lambda: nn.Dropout(0.5), 0.5),
        (lambda: nn.Dropout(0.7), 0.3),
        (lambda: nn.Dropout2d(0.3), 0.7),
        (lambda: nn.GaussianDropout(0.3), 0.7),
        (lambda: nn.UniformDropout(0.1), 300 / 301),
        (lambda: nn.UniformDropout(0.5), 12 / 13),
    ],
)
def test_dropout_before_batch_norm_with_inputs_of_mean_zero(layer, delta):
    """Case (a): 1 - p, and 3 / (3 + beta²) for Uout."""
    x = normal(1024, 4, 7, 6)
    shift = one(nn.Sequential(layer(), nn.BatchNorm2d(4)), x)
    assert shift.delta == pytest.approx(delta, rel=0.02)
    assert shift.predicted == pytest.approx(delta, rel=2e-4)
    assert shift.shift == pytest.approx(1 / delta, rel=0.02)
    assert shift.inference == pytest.approx(np.var(x.astype(np.float64), axis=(0, 2, 3)).mean(), rel=1e-9)
    assert (shift.name, shift.sources) == ("1", ("0",))


def test_a_mean_adds_to_the_shift():
    """Case (a) as the paper has it: v / ((c² + v) / keep - c²)."""
    x = normal(4000, 3, mean=np.array([0.0, 1.0, -2.0]))
    shift = one(nn.Sequential(nn.Dropout(0.4), nn.BatchNorm1d(3)), x)
    c, v = x.astype(np.float64).mean(0), x.astype(np.float64).var(0)
    assert shift.predicted == pytest.approx(v.mean() / ((c**2 + v) / 0.6 - c**2).mean(), rel=1e-5)
    assert shift.delta == pytest.approx(shift.predicted, rel=0.03)
    assert np.allclose(shift.channels["inference"], v, rtol=1e-9)
    assert np.allclose(shift.channels["training"], (c**2 + v) / 0.6 - c**2, rtol=0.08)


def test_a_linear_layer_between_in_the_papers_terms():
    """Case (b): inputs of mean c and variance v with the correlation rho each, d weights w of one unit;
    (v + v rho (d cos² - 1)) / ((c² + v) / keep - c² + v rho (d cos² - 1)), cos² = (Σ w)² / (d Σ w²)."""
    d, c, v, rho, keep = 12, 0.7, 1.3, 0.2, 0.6
    rng = np.random.default_rng(1)
    common, own = rng.standard_normal((40000, 1)), rng.standard_normal((40000, d))
    x = (c + np.sqrt(v) * (np.sqrt(rho) * common + np.sqrt(1 - rho) * own)).astype(np.float32)
    w = rng.uniform(-0.5, 1, (1, d))
    model = nn.Sequential(nn.Dropout(1 - keep), nn.Linear(d, 1), nn.BatchNorm1d(1))
    model[1].weight.data = w
    width = v * rho * (w.sum() ** 2 / (w**2).sum() - 1)
    expected = (v + width) / ((c**2 + v) / keep - c**2 + width)
    shift = one(model, x, batch_size=5000)
    assert shift.predicted == pytest.approx(expected, rel=0.02)
    assert shift.delta == pytest.approx(expected, rel=0.02)


def test_a_convolution_between():
    """Case (b) with padding, stride, groups and a bias, the noise that is added written out in NumPy."""
    x = normal(600, 4, 6, 5, mean=0.5)
    model = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6))
    w = model[1].weight.numpy().astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    grouped = windows.reshape(len(x), 2, 2, *windows.shape[2:])
    kernels = w.reshape(2, 3, 2, 3, 3)
    y = np.einsum("ngchwij,gocij->ngohw", grouped, kernels)
    added = odds(0.3) * np.einsum("ngchwij,gocij->ngohw", grouped**2, kernels**2)
    v = y.var(axis=(0, 3, 4)).mean()
    shift = one(model, x)
    assert shift.inference == pytest.approx(v, rel=1e-5)
    assert shift.predicted == pytest.approx(v / (v + added.mean()), rel=1e-5)
    assert shift.delta == pytest.approx(shift.predicted, rel=0.02)


class Between(nn.Module):
    """What ``body`` makes of an image and of its dropout, before a batch norm."""

    def __init__(self, body, dropout, channels=4):
        super().__init__()
        self.body, self.drop, self.conv = body, dropout, nn.Conv2d(4, 4, 1)
        self.other, self.norm = nn.UniformDropout(0.8), nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.body(self, x, self.drop(x)))


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        (lambda m, x, y: y.relu(), 4),
        (lambda m, x, y: F.leaky_relu(y, 0.1) * 3.0, 4),
        (lambda m, x, y: x + m.conv(y), 4),
        (lambda m, x, y: m.conv(x - y), 4),
        (lambda m, x, y: m.conv(y) - m.other(x), 4),
        (lambda m, x, y: ne.cat([y, x, m.other(x)], dim=1), 12),
        (lambda m, x, y: m.other(y), 4),
        (lambda m, x, y: m.conv(y.permute(0, 1, 3, 2)[:, :, 1:] * x.permute(0, 1, 3, 2)[:, :, 1:]), 4),
        (lambda m, x, y: m.conv(y) * m.conv(x), 4),
        (lambda m, x, y: m.conv(y.detach()), 4),
        (lambda m, x, y: -(m.conv(y) / (2.0 + x * x)), 4),
        (lambda m, x, y: F.dropout(y, 0.0), 4),
        (lambda m, x, y: F.dropout(m.conv(y), 0.3, m.training), 4),
        (lambda m, x, y: F.gaussian_noise(x, 0.7, m.training), 4),
        (lambda m, x, y: F.dropout(F.gaussian_noise(x, 0.7, m.training), 0.2, m.training), 4),
        (lambda m, x, y: x * (ne.rand_like(x) if m.training else 0.5) + m.conv(y), 4),
        (lambda m, x, y: y + (ne.randn_like(x[:, :, :1, :1]) if m.training else 0.0), 4),
        (lambda m, x, y: m.conv(F.avg_pool2d(y, (2, 3))), 4),
        (lambda m, x, y: F.adaptive_avg_pool2d(y, (3, 2)), 4),
        (lambda m, x, y: y.mean((2, 3), keepdim=True), 4),
    ],
)
def test_branches_are_predicted(body, channels):
    x = normal(800, 4, 6, 6, mean=0.4)
    shift = one(Between(body, nn.Dropout(0.4), channels), x)
    assert shift.predicted is not None and shift.predicted < 0.95
    assert shift.delta == pytest.approx(shift.predicted, rel=0.02)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_is_predicted(mode):
    """The branch of a residual sum is dropped for each sample, or for the batch, as a whole."""
    x = normal(4000, 4, 6, 6, mean=0.4)
    model = Between(lambda m, x, y: x + y, nn.Sequential(nn.Conv2d(4, 4, 1), nn.StochasticDepth(0.4, mode)))
    shift = one(model, x, batch_size=20)
    branch = np.einsum("nchw,oc->nohw", x, model.drop[0].weight.numpy()[:, :, 0, 0], dtype=np.float64)
    branch += model.drop[0].bias.numpy()[:, None, None]
    v = (x + branch).var(axis=(0, 2, 3)).mean()
    assert shift.predicted == pytest.approx(v / (v + odds(0.4) * (branch**2).mean()), rel=1e-5)
    assert shift.delta == pytest.approx(shift.predicted, rel=0.05)


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x, y: F.max_pool2d(y, 3, stride=2, padding=1),
        lambda m, x, y: F.avg_pool2d(y, 3, stride=2),
        lambda m, x, y: m.conv(y.view(-1, 4, 36).mean(2)[:, :, None, None]),
        lambda m, x, y: m.conv(F.adaptive_avg_pool2d(y.relu(), 1)),
        lambda m, x, y: m.conv(y[:, :, 1:, ::2].permute(0, 1, 3, 2)),
    ],
)
def test_noise_that_the_pixels_of_a_channel_share_is_predicted(body):
    shift = one(Between(body, nn.Dropout2d(0.4)), normal(4000, 4, 6, 6, mean=0.4))
    assert shift.predicted is not None and shift.predicted < 0.95
    assert shift.delta == pytest.approx(shift.predicted, rel=0.03)


@pytest.mark.parametrize(
    ("body", "dropout"),
    [
        (lambda m, x, y: F.max_pool2d(y, 2), nn.Dropout(0.4)),  # not linear
        (lambda m, x, y: y.sigmoid(), nn.Dropout(0.4)),
        (lambda m, x, y: y.relu(), nn.GaussianDropout(0.4)),  # factors of either sign
        (lambda m, x, y: m.conv(m.conv(y)), nn.Dropout(0.4)),  # elements share their noise
        (lambda m, x, y: y + m.conv(y), nn.Dropout(0.4)),
        (lambda m, x, y: F.conv2d(y, m.conv.weight[:, :1, :, :] * 0 + np.ones((4, 4, 3, 3), np.float32)),
         nn.Dropout2d(0.4)),  # pixels of a channel share theirs
        (lambda m, x, y: F.alpha_dropout(x, 0.3, m.training), nn.Dropout(0.0)),
        (lambda m, x, y: F.drop_block2d(x, 0.3, 2, training=m.training), nn.Dropout(0.0)),
        (lambda m, x, y: x * y, nn.Dropout(1.0)),
        (lambda m, x, y: F.avg_pool2d(y, 3, stride=1), nn.Dropout(0.4)),  # windows overlap
        (lambda m, x, y: F.adaptive_avg_pool2d(y, 4), nn.Dropout(0.4)),
        (lambda m, x, y: 1 / (1 + y * y), nn.Dropout(0.4)),
        (lambda m, x, y: y.permute(0, 2, 1, 3)[:, :4].mean((2, 3), keepdim=True), nn.Dropout2d(0.4)),
    ],
)  # fmt: skip
def test_what_has_no_closed_form_is_measured_alone(body, dropout):
    shift = one(Between(body, dropout), normal(64, 4, 6, 6))
    assert shift.predicted is None and shift.sources
    assert np.isfinite(shift.inference) and shift.delta != 1


def test_noise_before_the_batch_norm_before_is_not_predicted():
    """A batch norm's output is where the closed form begins anew; the measurement sees what came through it."""
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    x = normal(512, 3)
    model.train()
    for _ in range(100):
        model(x)
    first, second = analysis.variance_shift(model, x, batch_size=512)
    assert first.predicted == pytest.approx(0.5, rel=0.01)
    assert second.predicted == 1 and second.sources == ()
    assert second.delta == pytest.approx(0.5, rel=0.15)
    assert first.running == pytest.approx(model[1].running_var.mean(), rel=1e-6)
    assert first.running_shift == pytest.approx(2, rel=0.1)


def test_a_network_without_noise_does_not_shift():
    shift = one(nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)), normal(33, 4, 5, 5), batch_size=32)
    assert shift.delta == shift.shift == shift.predicted == 1 and shift.sources == ()


def test_the_way_the_data_is_given_changes_nothing_in_inference():
    x = normal(97, 4, 3, 3, mean=1e4)
    model = partial(nn.Sequential, nn.Dropout(0.2), nn.BatchNorm2d(4))
    exact = x.astype(np.float64).var(axis=(0, 2, 3)).mean()
    loader = ne.data.DataLoader((x, np.zeros(97)), 16)
    for data in (x, (x, np.zeros(97)), loader, [x[:50], x[50:]], iter([(x, None)]), [[x]]):
        assert one(model(), data, batch_size=48).inference == pytest.approx(exact, rel=1e-9)


def test_shared_untracked_and_functional_batch_norms():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.free = nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False)

        def forward(self, x):
            y = self.norm(F.dropout(x, 0.5, self.training))
            y = self.norm(F.dropout(y, 0.2, self.training))
            return F.batch_norm(self.free(y), None, None, training=True)

    found = analysis.variance_shift(Shared(), normal(2000, 3))
    assert [shift.name for shift in found] == ["norm", "norm (2)", "free", "batch_norm"]
    assert found["norm"].delta == pytest.approx(0.5, rel=0.05)
    assert found["norm (2)"].predicted == pytest.approx(0.8, rel=1e-3)
    assert found["norm"].running == found["norm (2)"].running == 1
    assert found["free"].running is None and found["free"].running_shift is None
    assert " - " in str(found)


def test_the_same_twice_and_nothing_changes():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Dropout(0.1), nn.BatchNorm1d(3))
    model[2].eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    ne.manual_seed(3)
    states = [str(random.generator().bit_generator.state), random._calls]
    x = normal(50, 3)
    first, second, other = (analysis.variance_shift(model, x, batch_size=20, seed=seed) for seed in (0, 0, 1))
    assert [s.training for s in first] == [s.training for s in second] != [s.training for s in other]
    assert [str(random.generator().bit_generator.state), random._calls] == states
    assert [module.training for module in model] == [True, True, False, True]
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


def test_a_model_whose_python_looks_at_its_weights():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.scale = nn.BatchNorm1d(3), nn.Parameter(np.full(1, 2.0))

        def forward(self, x):
            return self.norm(x * self.scale.item())

    x = normal(64, 3)
    assert one(Looks(), x, batch_size=32).training == pytest.approx(4 * x.astype(np.float64).var(0).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3)), normal(4, 3), "variance_shift: the model has no batch norm at work"),
        (nn.BatchNorm1d(3), [], "variance_shift: the data gave no batches; give one at least"),
        (nn.BatchNorm1d(3), np.zeros((0, 3)), "variance_shift: x is an empty batch"),
        (nn.BatchNorm1d(3), np.zeros((4, 3), np.int64), "must be floating point, got int64"),
        (nn.BatchNorm1d(3), [normal(4, 3), "text"], "variance_shift, batch 2: x must be float32"),
        (nn.BatchNorm1d(3), normal(4, 5), "BatchNorm1d: input has 5 channels"),
        (nn.BatchNorm1d(3), normal(1, 3), "expected more than 1 value per channel"),
    ],
)
def test_what_cannot_be_measured(model, data, message):
    with pytest.raises(ValueError, match=message):
        analysis.variance_shift(model, data)


def test_what_is_no_model_or_no_data():
    with pytest.raises(TypeError, match="variance_shift: model must be an nn.Module, got the class BatchNorm1d"):
        analysis.variance_shift(nn.BatchNorm1d, normal(4, 3))
    for data in (3, "text", {"x": normal(4, 3)}):
        with pytest.raises(ValueError, match="data must be an array"):
            analysis.variance_shift(nn.BatchNorm1d(3), data)
    with pytest.raises(ValueError, match="variance_shift: batch_size must be a positive integer, got 0"):
        analysis.variance_shift(nn.BatchNorm1d(3), normal(4, 3), batch_size=0)


def test_table_and_records():
    found = analysis.variance_shift(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)), normal(2000, 3))
    head, rule, row = str(found).splitlines()
    assert head.split("  ")[0] == "batch norm" and set(rule) == {"-", " "}
    assert row.split()[0] == "1" and row.split()[5] == "0.500"
    assert len(found) == 1 and found[0] is found["1"] and "Shift(name='1'" in repr(found)
    with pytest.raises(KeyError, match="there is no record of '7'; there are '1'"):
        found["7"]


def test_inputs_that_do_not_vary():
    """All of the variance in training is noise, and none is left."""
    shift = one(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)), np.ones((400, 3), np.float32))
    assert (shift.inference, shift.delta, shift.predicted, shift.shift) == (0, 0, 0, np.inf)
    still = one(nn.BatchNorm1d(3), np.ones((4, 3), np.float32))
    assert still.delta == still.shift == still.predicted == 1
    found = analysis.variance_shift(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)), np.ones((4, 3), np.float32))
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    assert len(found.plot().axes) == 2


def test_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    found = analysis.variance_shift(Between(lambda m, x, y: y.sigmoid(), nn.Dropout(0.4)), normal(64, 4, 6, 6))
    left, right = found.plot(tmp_path / "shift.png").axes
    assert (tmp_path / "shift.png").stat().st_size > 5000
    assert [line.get_label() for line in left.lines] == ["training", "running", "inference"]
    assert right.lines[0].get_ydata()[0] == found[0].shift
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="VarianceShift.plot needs matplotlib; install it with pip"):
        found.plot()
