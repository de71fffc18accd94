"""From a model to a file whose outputs on real data are known: the stages' numbers, and all or nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

import normengine as ne
from normengine import nn

RNG = np.random.default_rng(4)
X = (RNG.standard_normal((50, 1, 6, 6)) + 0.5).astype(np.float32)
Y = RNG.integers(0, 3, 50)


def network():
    ne.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(64, 3))  # fmt: skip


def state_of(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def same(model, before):
    return all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def test_each_stages_numbers(tmp_path):
    path, model, other = tmp_path / "m.onnx", network(), network()
    first = other.eval()(X)
    recalibration = ne.recalibrate(other, X, batch_size=20)
    second = other(X)
    report = ne.deploy(model, (X, Y), path, batch_size=20)
    third = ne.InferenceSession(path)(X)
    assert same(model, state_of(other)) and model.training and model[3].training
    assert report.recalibration == recalibration
    assert [stage.name for stage in report.stages] == ["model", "recalibrated", "file"]
    was, recalibrated, file = report.stages
    assert (was.difference, was.changed) == (None, None)
    assert np.isclose(recalibrated.difference, np.abs(first - second).max())
    assert recalibrated.changed == np.count_nonzero(first.argmax(1) != second.argmax(1)) > 0
    assert file.difference == report.difference < 1e-5 and file.changed == report.changed == 0
    for stage, outputs in zip(report.stages, (first, second, third), strict=True):
        assert stage.accuracy == np.mean(outputs.argmax(1) == Y)
    assert (report.samples, report.path, report.export.folded) == (50, path, 1)
    assert np.isclose(report.limit, 1e-3 * max(1, np.abs(second).max()))


def test_the_printed_report_and_its_plain_values(tmp_path):
    report = ne.deploy(network(), (X, Y), tmp_path / "m.onnx")
    text = str(report)
    assert str(report.recalibration) in text and str(report.export) in text
    table = text.splitlines()[-7:]
    assert table[0].split("  ")[0] == "stage"
    assert table[2].split() == ["model", f"{report.stages[0].accuracy:.2%}"]
    assert table[4].split() == ["file", f"{report.stages[2].accuracy:.2%}", "0", f"{report.difference:.1e}"]
    values = json.loads(json.dumps(report.as_dict()))
    assert values["batch_norms"] == [{"batch_norm": "1", "into": ["0"], "reason": ""}]
    assert values["stages"][2]["difference"] == report.difference
    assert values["recalibration"]["layers"][0]["layer"] == "1"
    assert values["path"] == str(tmp_path / "m.onnx")


def test_without_recalibration_and_without_targets(tmp_path):
    model = network()
    before = state_of(model)
    report = ne.deploy(model, X, tmp_path / "m.onnx", recalibrate=False)
    assert same(model, before) and report.recalibration is None
    assert [(stage.name, stage.accuracy) for stage in report.stages] == [("model", None), ("file", None)]
    assert report.as_dict()["recalibration"] is None
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    assert ne.deploy(plain, X, tmp_path / "m.onnx").recalibration is None


def test_loaders_and_held_out_samples(tmp_path):
    model, other, held_out = network(), network(), (X[::2] * 2, Y[::2])
    ne.recalibrate(other, X, batch_size=16)
    batches = ((X[i : i + 16], Y[i : i + 16]) for i in range(0, 50, 16))
    report = ne.deploy(model, batches, tmp_path / "m.onnx", validation=held_out)
    assert same(model, state_of(other)) and report.samples == 25
    assert report.stages[1].accuracy == np.mean(other.eval()(held_out[0]).argmax(1) == held_out[1])


def test_layers_that_mix_statistics_are_recalibrated_and_stay(tmp_path):
    model, other = network(), network()
    ne.mix_statistics(model, 0.2)
    ne.recalibrate(other, X)
    report = ne.deploy(model, X, tmp_path / "m.onnx")
    assert same(model, state_of(other))
    assert report.export.batch_norms[0].reason.endswith("alpha 0.2")
    assert np.allclose(ne.InferenceSession(tmp_path / "m.onnx")(X), model.eval()(X), atol=1e-5)


def test_outputs_that_are_no_scores(tmp_path):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1)

        def forward(self, x):
            x = self.norm(x)
            return {"a": self.head(x), "b": [x.mean((1, 2, 3))]}

    report = ne.deploy(Heads(), (X, Y), tmp_path / "m.onnx")
    assert report.difference < 1e-5
    assert all(stage.accuracy is None and stage.changed is None for stage in report.stages)
    assert str(report).splitlines()[-3].split() == ["file", f"{report.difference:.1e}"]


def refused(tmp_path, text, model, data=(X, Y), error=ValueError, **options):
    path, before = tmp_path / "m.onnx", state_of(model)
    path.write_bytes(b"the old file")
    modes = [module.training for module in model.modules()]
    with pytest.raises(error, match=text):
        ne.deploy(model, data, path, **options)
    assert path.read_bytes() == b"the old file"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert same(model, before)
    assert modes == [module.training for module in model.modules()]


def test_beyond_the_tolerance_nothing_is_written_and_the_statistics_are_put_back(tmp_path, monkeypatch):
    run, calls = ne.InferenceSession.run, []

    def slightly_wrong(self, *args):
        calls.append(args)
        outputs = run(self, *args)
        return [y + np.float32(0.01) for y in outputs] if len(calls) > 2 else outputs

    monkeypatch.setattr(ne.InferenceSession, "run", slightly_wrong)
    text = r"deploy: outputs of the file differ from the model's by 0.01 on the data, more than 0.00\d*; nothing was"
    refused(tmp_path, text, network())
    calls.clear()
    assert ne.deploy(network(), X, tmp_path / "m.onnx", tolerance=0.02).difference > 0.009


def test_whatever_fails_nothing_is_half_done(tmp_path, monkeypatch):
    spoilt = X.copy()
    spoilt[49] = np.nan
    refused(tmp_path, "recalibrate, batch 2: .* not finite", network(), spoilt, FloatingPointError, batch_size=40)
    refused(tmp_path, "deploy: .* by nan on the data", network(), X, validation=spoilt)
    refused(tmp_path, "deploy, batch 1: Conv2d '0': input has 2 channels", network(), np.ones((4, 2, 6, 6)))
    refused(tmp_path, r"deploy, batch 2: .*; nothing was written", network(), [X, X[:, :, :5]])
    refused(tmp_path, r"deploy: data, batch 2: expected x or \(x, y\), got 3 parts", network(), [X, (X, Y, Y)])
    refused(tmp_path, "deploy: data, batch 2: x has 50 samples, y has 3", network(), [X, (X, Y[:3])])
    refused(tmp_path, "deploy: data: the data gave no batches", network(), [])
    refused(tmp_path, "deploy: validation: a tuple must be \\(x, y\\)", network(), validation=(X,))
    refused(tmp_path, "deploy: tolerance must be a finite number of 0 or more, got -1", network(), tolerance=-1)
    refused(tmp_path, "deploy: batch_size must be a positive integer", network(), batch_size=0)
    refused(tmp_path, "opset must be an integer from 9 to", network(), opset=3)

    def interrupt(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr("normengine.deployment.write_atomically", interrupt)
    refused(tmp_path, None, network(), error=KeyboardInterrupt)


def test_what_is_no_model_and_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TypeError, match="deploy: model must be an nn.Module, got int"):
        ne.deploy(3, X, tmp_path / "m.onnx")
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        ne.deploy(network(), X, tmp_path / "gone" / "m.onnx")
