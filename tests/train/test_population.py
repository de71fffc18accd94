"""Population statistics: what algorithm 2 of the batch norm paper says, of what each layer meets, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn
from normengine.nn.trace import trace
from normengine.train.population import Recalibrated

RNG = np.random.default_rng(5)


def images(*shape):
    return (RNG.standard_normal(shape) * 2 + 0.5).astype(np.float32)


def state_of(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def changed(model, before):
    return {name for name, array in model.state_dict().items() if not np.array_equal(before[name], array)}


def close(found, want):
    return np.allclose(found, want, rtol=2e-5, atol=1e-6)


def population(batches):
    """Algorithm 2 in float64: of arrays (N, C, ...), mean and unbiased variance."""
    counts = [batch.size // batch.shape[1] for batch in batches]
    axes = (0, *range(2, batches[0].ndim))
    means = sum(n * b.mean(axes, dtype=np.float64) for n, b in zip(counts, batches, strict=True)) / sum(counts)
    squares = sum(n * b.astype(np.float64).var(axes) for n, b in zip(counts, batches, strict=True))
    return means, squares / (sum(counts) - len(counts))


def normalized(x, weight, bias, eps=1e-5):
    """A batch normalized with its own statistics, in float64."""
    axes, column = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    x = x.astype(np.float64)
    scaled = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return scaled * weight.reshape(column) + bias.reshape(column)


def two_norms():
    """Batch norm, ReLU, 1x1 convolution, batch norm; the statistics of some training before."""
    ne.manual_seed(1)
    model = nn.Sequential(
        nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.Flatten(), nn.Dropout()
    )
    model[0].weight.data[:], model[0].bias.data[:] = [1, -0.5, 2], [0.2, 0.5, -1]
    for norm in (model[0], model[3]):
        norm.running_mean[:], norm.running_var[:] = 0.25, 2
        norm.num_batches_tracked[...] = 100
    return model


def second_inputs(model, batches):
    """What the second batch norm of :func:`two_norms` meets."""
    weight, bias = np.asarray(model[2].weight.data, np.float64)[:, :, 0, 0], np.asarray(model[2].bias.data)
    firsts = [np.maximum(normalized(b, model[0].weight.data, model[0].bias.data), 0) for b in batches]
    return [np.einsum("oi,nihw->nohw", weight, b) + bias.reshape(1, -1, 1, 1) for b in firsts]


@pytest.mark.parametrize("training", [True, False])
def test_each_layer_gets_the_statistics_of_what_it_meets(training, backend):
    model, x = two_norms().train(training), images(22, 3, 5, 4)
    batches = [x[:8], x[8:16], x[16:]]
    before = state_of(model)
    report = ne.recalibrate(model, x, batch_size=8)
    for norm, met in ((model[0], batches), (model[3], second_inputs(model, batches))):
        mean, var = population(met)
        assert close(norm.running_mean, mean)
        assert close(norm.running_var, var)
        assert norm.num_batches_tracked == 3
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed(model, before) == {f"{layer}.{name}" for layer in (0, 3) for name in statistics}
    assert all(module.training is training for module in model.modules())
    assert (report.batches, report.samples) == (3, 22)


def test_of_batches_of_one_size_it_is_the_mean_of_their_statistics():
    """As the paper writes it: E[mean], m / (m - 1) E[var]."""
    x, norm = images(12, 2, 3, 3), nn.BatchNorm2d(2)
    ne.recalibrate(norm, x, batch_size=4)
    parts = x.astype(np.float64).reshape(3, 4, 2, 3, 3)
    assert close(norm.running_mean, parts.mean((1, 3, 4)).mean(0))
    assert close(norm.running_var, 36 / 35 * parts.var((1, 3, 4)).mean(0))


def test_the_report():
    model, x = two_norms(), images(10, 3, 4, 4)
    before = state_of(model)
    report = ne.recalibrate(model, x)
    first = report.layers[0]
    mean, var = model[0].running_mean.astype(np.float64), model[0].running_var + np.float64(1e-5)
    ratios = var / (before["0.running_var"] + np.float64(1e-5))
    assert (first.layer, first.batches, first.values, first.reason) == ("0", 1, 160, "")
    assert np.isclose(first.mean_shift, np.max(np.abs(mean - 0.25) / np.sqrt(var)))
    assert np.isclose([first.least_ratio, first.largest_ratio], [ratios.min(), ratios.max()]).all()
    lines = str(report).splitlines()
    assert lines[0].split("  ")[0] == "batch norm" and len(lines) == 6
    assert lines[-1] == "2 of 2 batch norms, samples: 10, batches: 1"
    assert json.loads(json.dumps(report.as_dict())) == dataclasses.asdict(report) | {
        "layers": [dataclasses.asdict(layer) for layer in report.layers]
    }
    assert ne.recalibrate(model, x).layers[0].mean_shift == 0
    assert ne.recalibrate(nn.BatchNorm1d(2), images(8, 2)).layers[0].layer == "BatchNorm1d"


def loaders(x, y):
    yield x
    yield (x, y)
    yield ne.data.DataLoader((x, y), 8)
    yield ne.data.DataLoader(x, 8)
    yield [x[:8], x[8:16], x[16:]]
    yield [(x[:8],), [x[8:16], {}, 3], x[16:].astype(np.float64)]
    yield (x[i : i + 8] for i in (0, 8, 16))


def test_whatever_gives_the_same_batches_gives_the_same_bits():
    x, y = images(20, 3, 4, 4), np.arange(20)
    found = []
    for data in loaders(x, y):
        model = two_norms()
        ne.recalibrate(model, data, batch_size=8)
        found.append(state_of(model))
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in other)


def test_a_single_sample_left_over_joins_the_batch_before_it():
    model = nn.Sequential(nn.BatchNorm1d(3))
    x = images(9, 3)
    report = ne.recalibrate(model, x, batch_size=4)
    mean, var = population([x[:4], x[4:]])
    assert report.batches == 2
    assert close(model[0].running_mean, mean) and close(model[0].running_var, var)


@pytest.mark.parametrize("shape", [(16, 3), (6, 3, 7)])
@pytest.mark.parametrize("options", [{"affine": False}, {"momentum": None}, {"eps": 0.5}], ids=str)
def test_other_ranks_and_settings(shape, options):
    x, model = images(*shape), nn.Sequential(nn.BatchNorm1d(3, **options), nn.BatchNorm1d(3, **options))
    ne.recalibrate(model, [x, x[:5]])
    batches = [x, x[:5]]
    eps = options.get("eps", 1e-5)
    second = [normalized(b, np.ones(3), np.zeros(3), eps) for b in batches]
    for norm, met in zip(model, (batches, second), strict=True):
        mean, var = population(met)
        assert close(norm.running_mean, mean) and close(norm.running_var, var)


def test_far_from_zero():
    x = (1e4 + RNG.standard_normal((64, 2, 9, 9))).astype(np.float32)
    norm = nn.BatchNorm2d(2)
    ne.recalibrate(norm, x, batch_size=16)
    mean, var = population([x[i : i + 16] for i in range(0, 64, 16)])
    assert np.allclose(norm.running_mean, mean, rtol=1e-7)
    assert np.allclose(norm.running_var, var, rtol=1e-4)


def test_noise_layers_are_off_unless_asked_for():
    x = images(4000, 2)
    model = nn.Sequential(nn.Dropout(0.75), nn.GaussianDropout(0.2), nn.BatchNorm1d(2))
    ne.recalibrate(model, x, batch_size=1000)
    mean, var = population([x[i : i + 1000] for i in range(0, 4000, 1000)])
    assert close(model[2].running_mean, mean) and close(model[2].running_var, var)
    ne.manual_seed(3)
    ne.recalibrate(model, x, batch_size=1000, dropout=True)
    noisy = (var + mean**2) * 4 * 1.25 - mean**2  # E[noise²] is 1 / (1 - p) and 1 + p / (1 - p)
    assert np.allclose(model[2].running_var, noisy, rtol=0.1)
    first = model[2].running_var.copy()
    ne.recalibrate(model, x, batch_size=1000, dropout=True)
    assert not np.array_equal(model[2].running_var, first)
    ne.manual_seed(3)
    ne.recalibrate(model, x, batch_size=1000, dropout=True)
    assert np.array_equal(model[2].running_var, first)
    assert all(module.training for module in model.modules())


def test_noise_is_drawn_anew_for_each_batch_and_goes_on_afterwards():
    x = np.ones((64, 2), np.float32)
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    ne.manual_seed(0)
    masks = [nn.Dropout(0.5)(x) for _ in range(4)]
    ne.manual_seed(0)
    ne.recalibrate(model, [x, x, x], dropout=True)
    assert close(model[1].running_mean, population(masks[:3])[0])
    assert np.array_equal(nn.Dropout(0.5)(x), masks[3])


def test_a_layer_that_forward_uses_twice():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(self.norm(x) * 3 + 1)

    model, x = Shared(), images(32, 2)
    report = ne.recalibrate(model, x, batch_size=16)
    met = [b for part in (x[:16], x[16:]) for b in (part, normalized(part, np.ones(2), np.zeros(2)) * 3 + 1)]
    mean, var = population(met)
    assert close(model.norm.running_mean, mean) and close(model.norm.running_var, var)
    assert model.norm.num_batches_tracked == 4
    assert report.layers == (dataclasses.replace(report.layers[0], layer="norm", batches=4, values=64),)


class Several(nn.Module):
    """A batch norm of each kind, and an output behind the last one."""

    def __init__(self):
        super().__init__()
        self.plain, self.frozen = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.untracked, self.idle = nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2)
        self.last = nn.BatchNorm1d(2)

    def forward(self, x):
        return self.last(self.untracked(self.frozen(self.plain(x)) * 2)) + 1


def test_layers_that_stay_as_they_are():
    model, x = Several().train(), images(30, 2)
    model.frozen.eval()
    model.frozen.running_mean[:], model.frozen.running_var[:] = 0.5, 4
    before = state_of(model)
    report = ne.recalibrate(model, x)
    assert {layer.layer: layer.reason for layer in report.layers} == {
        "plain": "",
        "frozen": "it is frozen, in eval mode in a model in training mode",
        "untracked": "it keeps no running statistics",
        "idle": "forward does not normalize with it",
        "last": "",
    }
    assert {name.split(".")[0] for name in changed(model, before)} == {"plain", "last"}
    assert str(report).splitlines()[-3:-1] == [
        "'frozen' stayed as it was: it is frozen, in eval mode in a model in training mode",
        "'untracked' stayed as it was: it keeps no running statistics",
    ]
    frozen = (normalized(x, np.ones(2), np.zeros(2)) - 0.5) / np.sqrt(4 + 1e-5)
    mean, var = population([normalized(frozen * 2, np.ones(2), np.zeros(2))])
    assert close(model.last.running_mean, mean) and close(model.last.running_var, var)
    assert not model.frozen.training and model.plain.training
    report = ne.recalibrate(model.eval(), x)
    assert [layer.layer for layer in report.layers if layer.reason] == ["untracked", "idle"]
    assert report.layers[2] == Recalibrated("untracked", reason="it keeps no running statistics")


def test_the_bits_do_not_depend_on_the_number_of_threads():
    x, found = images(96, 3, 17, 13), []
    for threads in (1, 2, 3):
        ne.set_num_threads(threads)
        ne.manual_seed(7)
        model = nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(9, 4, 3))
        model = nn.Sequential(*model, nn.BatchNorm2d(4))
        ne.recalibrate(model, x, batch_size=40, dropout=True)
        found.append(state_of(model))
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in other)


def test_forward_is_traced_once_for_each_shape(monkeypatch):
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.register_buffer("seen", np.zeros((), np.float32))

        def forward(self, x):
            self.seen = self.seen + 1
            self.last = x.mean()
            return self.norm(x)

    def counted(model, inputs, modules):
        shapes.append(inputs[0][1].shape)
        return trace(model, inputs, modules)

    shapes, model = [], Keeps()
    monkeypatch.setattr("normengine.train.population.trace", counted)
    before = state_of(model)
    ne.recalibrate(model, images(50, 2), batch_size=12)
    assert shapes == [(12, 2), (2, 2)]
    assert changed(model, before) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert not hasattr(model, "last")


def test_what_forward_draws_itself_is_drawn_for_each_batch():
    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            factors.append(random.uniform(1, 2))
            return self.norm(x * factors[-1])

    x, model, factors = images(24, 2), Draws(), []
    ne.recalibrate(model, x, batch_size=8)
    assert len(set(factors)) == 3
    mean, var = population([x[8 * i : 8 * i + 8] * np.float32(f) for i, f in enumerate(factors)])
    assert close(model.norm.running_mean, mean) and close(model.norm.running_var, var)


def test_what_changes_between_batches_counts():
    class Scaled(nn.Sequential):
        factor = 1.0

        def forward(self, x):
            return super().forward(x * self.factor)

    x, model = images(24, 2), Scaled(nn.BatchNorm1d(2))

    def loader():
        for i in range(3):
            model.factor = 2.0**i
            yield x[8 * i : 8 * i + 8]

    ne.recalibrate(model, loader())
    mean, var = population([x[8 * i : 8 * i + 8] * np.float32(2**i) for i in range(3)])
    assert close(model[0].running_mean, mean) and close(model[0].running_var, var)


def test_statistics_of_training_and_inference_agree_afterwards():
    """Of one batch, inference then gives what training does, but for m / (m - 1)."""
    model, x = two_norms(), images(32, 3, 6, 6)
    ne.recalibrate(model, x)
    inference = model.eval()(x)
    assert np.allclose(inference, nn.Sequential(*list(model)[:5]).train()(x), rtol=2e-3, atol=2e-3)


def refused(model, data, text, error=ValueError, **options):
    before, modes = state_of(model), [module.training for module in model.modules()]
    with pytest.raises(error, match=text):
        ne.recalibrate(model, data, **options)
    assert not changed(model, before)
    assert modes == [module.training for module in model.modules()]


def test_an_error_in_the_third_batch_changes_nothing():
    model = two_norms()
    model[3].eval()
    x = images(8, 3, 4, 4)
    spoilt = x.copy()
    spoilt[1, 2, 0, 0] = np.nan
    refused(
        model, [x, x, x[:, :2]], "recalibrate, batch 3: BatchNorm2d '0': input has 2 channels .*nothing was changed"
    )
    refused(model, [x, x, x.astype(np.int64)], "recalibrate, batch 3: x must be floating point")
    refused(model, [x, x, ()], "recalibrate, batch 3: x ")
    refused(model, [x, x, {"x": x}], "recalibrate, batch 3: x must be float32, got a dict")
    refused(model, [x, x, x[:0]], "recalibrate, batch 3: x is an empty batch")
    refused(model, [x, x, x[:1, :, :1, :1]], "recalibrate, batch 3: .* expected more than 1 value per channel")
    refused(model, [x, x, spoilt], "recalibrate, batch 3: the statistics of '0' are not finite", FloatingPointError)

    def interrupted():
        yield x
        yield x
        raise KeyboardInterrupt

    refused(model, interrupted(), None, KeyboardInterrupt)


def test_what_cannot_be_recalibrated():
    x = images(8, 2)
    none = "recalibrate: the model has no batch norm whose statistics can be computed"
    refused(nn.Sequential(nn.Linear(2, 2)), x, none)
    refused(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), x, rf"{none} \('0': it keeps no running")
    frozen = nn.Sequential(nn.BatchNorm1d(2))
    frozen[0].eval()
    refused(frozen, x, rf"{none} \('0': it is frozen")
    unused = Several()
    unused.forward = lambda x: x
    refused(unused, x, "forward normalizes with none of the batch norms")
    model = nn.Sequential(nn.BatchNorm1d(2))
    refused(model, [], "recalibrate: the data gave no batches")
    refused(model, x[:0], "recalibrate: x is an empty batch")
    refused(model, x[:1], "expected more than 1 value per channel")
    refused(model, (x, x, x), r"recalibrate: a tuple must be \(x, y\), got 3 parts")
    refused(model, {"x": x}, "recalibrate: data must be an array, arrays .* got a dict")
    refused(model, x, "recalibrate: batch_size must be a positive integer, got 0", batch_size=0)
    model[0].running_var.flags.writeable = False
    refused(model, x, "running_var of '0' cannot be written")
    with pytest.raises(TypeError, match="recalibrate: model must be an nn.Module, got function"):
        ne.recalibrate(F.relu, x)


def test_the_progress_bar(capsys):
    ne.recalibrate(two_norms(), [images(8, 3, 4, 4)] * 2, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_ghost_batches_count_as_batches() -> None:
    """Each part is normalized with its own statistics, and counts as a batch of its own."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GhostBatchNorm2d(3, 2))
    x = images(5, 2, 6, 7)
    report = ne.recalibrate(model, x, batch_size=5)
    y = model[0](x).astype(np.float64)
    parts = [y[:2], y[2:4], y[4:]]
    mean, var = population(parts)
    assert close(model[1].running_mean, mean) and close(model[1].running_var, var)
    assert report.layers[0].batches == 3 and report.layers[0].values == y.size // 3


@pytest.mark.parametrize("layer", [nn.SwitchNorm2d, nn.BatchRenorm2d], ids=lambda layer: layer.__name__)
def test_relatives_that_keep_the_batchs_statistics(layer: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), layer(3))
    x = images(6, 2, 6, 7)
    ne.recalibrate(model, x)
    mean, var = population([model[0](x)])
    assert close(model[1].running_mean, mean) and close(model[1].running_var, var)


def test_instance_norm_is_none_of_them() -> None:
    with pytest.raises(ValueError, match="has no batch norm whose statistics can be computed"):
        ne.recalibrate(nn.InstanceNorm2d(2, track_running_stats=True), images(4, 2, 5, 5))
