"""Which layers mix statistics, how much of them, and what is put back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import normengine as ne
from normengine import nn
from normengine.export import Folding

RNG = np.random.default_rng(2)


def network():
    ne.manual_seed(0)
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(6, track_running_stats=False), nn.BatchNorm2d(4), nn.BatchNorm1d(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), norms[0], nn.ReLU(), nn.Conv2d(4, 6, 3), norms[1],
        nn.Conv2d(6, 4, 1), norms[2], nn.Flatten(), nn.Linear(64, 5), norms[3])  # fmt: skip


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def alphas(model):
    return [module.alpha for module in model if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]


def test_setting_and_taking_away():
    model, x = network(), images(3, 1, 8, 8)
    before = model.eval()(x)
    assert ne.mix_statistics(model, 0.25) == ("1", "6", "9")
    assert alphas(model) == [0.25, 0, 0.25, 0.25]
    assert not np.allclose(model(x), before)
    ne.mix_statistics(model, 0)
    assert np.array_equal(model(x), before)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_what_is_refused_changes_nothing(alpha):
    model = network()
    ne.mix_statistics(model, 0.5)
    with pytest.raises(ValueError, match=r"mix_statistics: alpha must be in \[0, 1\]"):
        ne.mix_statistics(model, alpha)
    with pytest.raises(TypeError, match="mix_statistics: alpha must be a number"):
        ne.mix_statistics(model, "half")
    assert alphas(model) == [0.5, 0, 0.5, 0.5]
    with pytest.raises(ValueError, match="the model has no batch norm with running statistics"):
        ne.mix_statistics(nn.Linear(2, 2), 0.5)
    with pytest.raises(TypeError, match="model must be an nn.Module, got int"):
        ne.mix_statistics(3, 0.5)


def test_the_report_of_an_export_says_why_such_layers_stay(tmp_path):
    model = network()
    ne.mix_statistics(model, 0.3)
    report = ne.onnx.export(model, tmp_path / "m.onnx", (1, 8, 8))
    mixes = "it mixes the image's own statistics with the running ones, alpha 0.3"
    assert report.batch_norms == (
        Folding("1", reason=mixes),
        Folding("4", reason="it normalizes with the statistics of each batch"),
        Folding("6", reason=mixes),
        Folding("9", into=("8",)),
    )
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    kept = ne.onnx.export(model, tmp_path / "m.onnx", (1, 8, 8), fold_batchnorm=False).batch_norms
    assert [norm.batch_norm for norm in kept] == ["1", "4", "6", "9"] and kept[2].reason == mixes
    x = images(5, 1, 8, 8)
    session = ne.InferenceSession(tmp_path / "m.onnx")
    assert np.allclose(session(x), model.eval()(x), atol=1e-5)


def darker(n):
    """Images of two classes that differ in texture, each brighter or darker than those the statistics are of."""
    y = np.arange(n) % 2
    x = images(n, 1, 8, 8)
    x += np.where(y == 1, 1, -1)[:, None, None, None] * np.where(np.arange(8) % 2, 1, -1)
    return x * np.float32(0.5) + RNG.uniform(-4, 4, (n, 1, 1, 1)).astype(np.float32), y


def test_the_best_alpha_of_held_out_samples():
    """Statistics that miss each image's brightness: its own are better."""
    model, (x, y) = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)), darker(200)
    weight = np.repeat(np.where(np.arange(8) % 2, 1, -1)[None], 8, 0).reshape(1, -1) * np.array([[-0.1], [0.1]])
    model[3].weight.data[:], model[3].bias.data[:] = weight, 0
    found = ne.fit_mixing(model.train(), x, y, (0, 0.5, 1.0), batch_size=64)
    assert found.alpha == model[0].alpha == min(found.tried, key=lambda tried: tried.loss).alpha > 0
    assert model.training and model[0].training
    for tried in found.tried:
        model[0].alpha = tried.alpha
        scores = np.asarray(model.eval()(x), np.float64)
        at_label = np.take_along_axis(scores, y[:, None], 1)[:, 0]
        assert np.isclose(tried.loss, np.mean(np.log(np.exp(scores).sum(1)) - at_label), rtol=1e-5)
        assert tried.accuracy == np.mean(scores.argmax(1) == y)
    lines = str(found).splitlines()
    assert lines[0].split() == ["alpha", "loss", "accuracy"] and len(lines) == 7
    assert lines[-1] == f"alpha {found.alpha:g} has the smallest loss"


def test_other_losses_and_ties():
    model = nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten())
    x = images(6, 1, 2, 2)
    found = ne.fit_mixing(model, x, np.zeros((6, 4)), (0.3, 0.6), loss=lambda out, y: (out * 0 + y).mean())
    assert found.alpha == 0.3 and found.tried[0].accuracy is None
    assert str(found).splitlines()[2].split() == ["0.3", "0.0000"]


def test_whatever_is_raised_layers_mix_as_before():
    model, x, y = network(), images(4, 1, 8, 8), np.arange(4)
    model[1].alpha = 0.125

    def refused(text, *args, error=ValueError, **options):
        with pytest.raises(error, match=text):
            ne.fit_mixing(model, *args, **options)
        assert alphas(model) == [0.125, 0, 0, 0]

    refused(r"fit_mixing: alpha must be in \[0, 1\], got 2", x, y, (0, 2))
    refused("fit_mixing: alphas is empty", x, y, ())
    refused("fit_mixing: x has 4 samples, y has 3", x, y[:3])
    refused("label", x, y + 7)
    refused("Conv2d '0': input has 2 channels", images(4, 2, 8, 8), y)
    refused("the loss is not finite for any alpha", x * np.float32(np.nan), y, error=FloatingPointError)

    def loss(outputs, targets):
        raise KeyboardInterrupt

    refused(None, x, y, loss=loss, error=KeyboardInterrupt)
    with pytest.raises(TypeError, match="fit_mixing: model must be an nn.Module"):
        ne.fit_mixing(None, x, y)
