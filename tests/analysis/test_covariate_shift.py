"""Distributions of layers' inputs over a training, which goes on as without the recorder."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import analysis, nn, optim


def data(samples=64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, 5)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int64)


def network():
    ne.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Dropout(0.3), nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()),
        nn.Linear(4, 2),
    )  # fmt: skip


def first_input(model, x):
    """What the batch norm and the first sigmoid are given in training, in float64."""
    weight, bias = (np.asarray(model[0]._parameters[key], np.float64) for key in ("weight", "bias"))
    y = x.astype(np.float64) @ weight.T + bias
    scale, shift = (np.asarray(model[1]._parameters[key], np.float64) for key in ("weight", "bias"))
    return y, (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5) * scale + shift


def test_the_numbers_are_those_of_the_layers_inputs():
    x, y = data()
    model = network()
    recorder = analysis.CovariateShift(model, ["1", ("2", 3), "4"], x[:40], every=2)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5))
    expected = []
    for i in range(5):
        recorder.record(i)
        if i % 2 == 0:
            expected.append(first_input(model, x[:40]))
        step(x, y)
    assert len(recorder) == 3 and [d.step for d in recorder["1"]] == [0, 2, 4]
    for i, (before, normalized) in enumerate(expected):
        for name, values in (("1", before), ("2[3]", normalized[:, 3])):
            found = recorder[name][i]
            assert np.allclose(found[1:4], np.percentile(values, [15, 50, 85]), rtol=1e-5, atol=1e-6)
            assert np.allclose(found[4:], [values.mean(), values.var()], rtol=1e-5, atol=1e-6)
    assert recorder["1"][0] != recorder["1"][2]
    assert list(recorder.records) == ["1", "2[3]", "4"]


def test_in_eval_mode():
    x, _ = data()
    model = network()
    model[1].running_mean[...] = 2
    recorder = analysis.CovariateShift(model, "2", x, training=False)
    recorder.record(0)
    before, _ = first_input(model, x)
    assert recorder["2"][0].mean == pytest.approx((before.mean() - 2) / np.sqrt(1 + 1e-5), rel=1e-5)


def test_training_goes_on_as_without_it():
    x, y = data()

    def losses(watch):
        model = network()
        recorder = analysis.covariate_shift(model, ["1", "5"], x) if watch else lambda epoch: None
        trainer = ne.Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), seed=0)
        history = trainer.fit(x, y, epochs=3, callback=recorder, progress=False)
        return history.loss, model, recorder, trainer

    plain, *_ = losses(False)
    watched, model, recorder, trainer = losses(True)
    assert watched == plain
    assert [d.step for d in recorder["5"]] == [0, 1, 2, 3]
    assert all(module.training for module in model.modules())
    assert trainer.step.traced_again == "" and len(trainer.step.programs) == 1


def test_masks_are_the_same_each_time():
    x, _ = data()
    model = network()
    recorder = analysis.covariate_shift(model, "4", x)
    recorder.record(1)
    other = analysis.covariate_shift(model, "4", x, seed=1)
    assert recorder["4"][0][1:] == recorder["4"][1][1:] != other["4"][0][1:]


def test_the_batch_is_a_copy_and_the_model_may_change():
    x, _ = data()
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU())
    recorder = analysis.covariate_shift(model, "0", x)
    x[:] = 0
    recorder.record(1)
    assert recorder["0"][0][1:] == recorder["0"][1][1:]
    model[0] = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3))
    recorder.record(2)
    assert recorder["0"][2][1:] == recorder["0"][0][1:]


def test_layers_that_hold_others_and_the_whole_model():
    x, _ = data()
    recorder = analysis.covariate_shift(network(), ["", "4", "4.0"], x)
    assert recorder[""][0].mean == pytest.approx(x.astype(np.float64).mean(), rel=1e-9)
    assert recorder["4"][0] == recorder["4.0"][0]


def test_table_and_picture(tmp_path):
    x, _ = data()
    recorder = analysis.CovariateShift(network(), ["1", "2", "4", "5"], x)
    assert str(recorder).splitlines()[0].split() == [
        "layer",
        "step",
        "15",
        "%",
        "50",
        "%",
        "85",
        "%",
        "mean",
        "variance",
    ]
    for step in range(30):
        recorder.record(step)
    rows = str(recorder).splitlines()[2:]
    assert len(rows) == 4 * 8
    assert [row.split()[1] for row in rows[:8]] == ["0", "4", "8", "12", "17", "21", "25", "29"]
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    figure = recorder.plot(tmp_path / "distributions.png")
    assert (tmp_path / "distributions.png").stat().st_size > 5000
    assert [axes.get_title() for axes in figure.axes] == [f"input of {name}" for name in "1245"]
    assert [line.get_ydata()[0] for line in figure.axes[1].lines] == list(recorder["2"][0][1:4])
    assert len(analysis.CovariateShift(network(), "1", x).plot().axes) == 1


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (
            ["1", "6"],
            {},
            "CovariateShift: there is no layer '6'; the model has '0', '1', '2', '3', '4', '4.0', '4.1', '5'",
        ),
        (["3"], {"training": False}, "layer '3' computes nothing in this mode; name the layer behind it"),
        ([("1", 6)], {}, r"layer '1' has an input of shape \(64, 6\), without a channel 6"),
        ([("1", -1)], {}, "CovariateShift: channel must be an integer of 0 or more, got -1"),
        (["1"], {"every": 0}, "CovariateShift: every must be a positive integer, got 0"),
    ],
)
def test_what_cannot_be_watched(layers, options, message):
    with pytest.raises(ValueError, match=message):
        analysis.CovariateShift(network(), layers, data()[0], **options)


def test_what_is_no_model_no_name_and_no_batch():
    x, _ = data()
    with pytest.raises(TypeError, match="CovariateShift: model must be an nn.Module, got int"):
        analysis.CovariateShift(3, "1", x)
    for layers in ([], None, 3, [3]):
        with pytest.raises(TypeError, match="CovariateShift: .* must be"):
            analysis.CovariateShift(network(), layers, x)
    with pytest.raises(ValueError, match="Linear '0': input has 4 features"):
        analysis.CovariateShift(network(), "1", x[:, :4])
    recorder = analysis.CovariateShift(network(), "1", x)
    with pytest.raises(KeyError, match="'2' is not watched, but '1'"):
        recorder["2"]
    with pytest.raises(ValueError, match="CovariateShift: step must be an integer of 0 or more, got 0.5"):
        recorder.record(0.5)
