"""Export from a model to a file that was checked: contents, folding, the report, and what happens when it fails."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from networks import MODELS
from onnx import numpy_helper

import normengine as ne
import normengine.nn.functional as F
from normengine import nn
from normengine.export import Folding
from normengine.onnx import OnnxError

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def settled(model):
    """The model with statistics and affine parameters that training might have left."""
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.weight.data[:] = rng.standard_normal(module.weight.shape)
            module.bias.data[:] = rng.standard_normal(module.bias.shape)
            module.running_mean[:] = rng.standard_normal(module.running_mean.shape)
            module.running_var[:] = rng.uniform(0.1, 2.0, module.running_var.shape)
    return model


def small():
    ne.manual_seed(0)
    return settled(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(100, 6), nn.BatchNorm1d(6)))  # fmt: skip


class Twice(nn.Module):
    """A convolution whose result is normalized and read as it is."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.second = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return self.second(F.relu(x + self.bn(x)))


def weights(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", MODELS)
def test_awkward_networks(name, tmp_path):
    build, shape = MODELS[name]
    ne.manual_seed(0)
    model = settled(build(nn))
    report = ne.onnx.export(model, tmp_path / "m.onnx", shape)
    assert report.difference < 1e-4
    session = ne.InferenceSession(tmp_path / "m.onnx")
    model.eval()
    for batch in (1, 2, 7):
        x = draw(batch, *shape)
        want = model(x)
        assert np.abs(session(x) - want).max() <= 1e-4 * max(1.0, np.abs(want).max())


def test_the_file(tmp_path):
    model, path = small(), tmp_path / "m.onnx"
    ne.onnx.export(model, path, input_shape=(1, 5, 5))
    proto = onnx.load(path)
    assert (proto.producer_name, proto.producer_version) == ("normengine", ne.__version__)
    assert proto.opset_import[0].version == 17
    assert operators(path) == ["Conv", "Relu", "Reshape", "Gemm"]
    assert set(weights(path)) == {"0.weight", "0.bias", "5.weight", "5.bias", "shape"}
    session = ne.InferenceSession(path)
    assert [(a.name, a.shape, a.type) for a in session.get_inputs()] == [("x", ["N", 1, 5, 5], "tensor(float)")]
    assert [(a.name, a.shape, a.type) for a in session.get_outputs()] == [("y", ["N", 6], "tensor(float)")]


def test_batch_norms_can_be_kept(tmp_path):
    model, path = small(), tmp_path / "m.onnx"
    report = ne.onnx.export(model, path, (1, 5, 5), fold_batchnorm=False)
    assert operators(path) == ["Conv", "BatchNormalization", "Relu", "Reshape", "Gemm", "BatchNormalization"]
    assert report.batch_norms == (
        Folding("1", reason="fold_batchnorm is False"),
        Folding("6", reason="fold_batchnorm is False"),
    )
    stored, state = weights(path), model.state_dict()
    assert set(stored) - {"shape"} == {k for k in state if not k.endswith("num_batches_tracked")}
    assert all(np.array_equal(stored[k], state[k]) for k in stored if k != "shape")


@pytest.mark.parametrize("opset", [11, 13, 15, 18, 20, 22])
@pytest.mark.parametrize("folding", [True, False])
def test_opsets(opset, folding, tmp_path):
    report = ne.onnx.export(small(), tmp_path / "m.onnx", (1, 5, 5), opset=opset, fold_batchnorm=folding)
    assert report.opset == opset
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == opset
    assert report.difference < 1e-5


@pytest.mark.parametrize("pad", [(1, 2), (2, 0, 0, 3), (-1, 2, 1, -1), (0, 0, 0, 0, 1, 2)], ids=str)
def test_zeros_around_images(pad, tmp_path):
    class Padded(nn.Module):
        def forward(self, x):
            return F.relu(F.pad(x, pad))

    ne.onnx.export(nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), Padded()), tmp_path / "m.onnx", (2, 5, 6))
    x = draw(3, 2, 5, 6)
    around = [(0, 0)] * (4 - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    want = np.pad(np.maximum(x, 0), [(0, 0), (0, 0), (2, 1), (1, 0)])
    want = want[tuple(slice(max(0, -b), n + min(0, a)) for n, (b, a) in zip(want.shape, around, strict=True))]
    want = np.pad(want, [(max(0, b), max(0, a)) for b, a in around])
    assert np.array_equal(ne.InferenceSession(tmp_path / "m.onnx")(x), want)


def test_the_report(tmp_path):
    path = tmp_path / "m.onnx"
    report = ne.onnx.export(settled(nn.Sequential(Twice(), nn.BatchNorm2d(2))), path, (1, 6, 6))
    assert report.folded == 1
    assert str(report).splitlines()[:-1] == [
        f"{path} (opset 17)",
        "",
        "batch normalization  what became of it",
        "-------------------  -----------------------------------------",
        "0.bn                 stayed: its input is also read by '0.add'",
        "1                    folded into 0.second",
        "",
        "1 of 2 batch normalizations folded",
    ]
    assert str(report).splitlines()[-1] == f"largest difference between model and file: {report.difference:.1e}"


def test_a_network_without_batch_norm(tmp_path):
    report = ne.onnx.export(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), tmp_path / "m.onnx", (1, 2, 2))
    assert report.batch_norms == ()
    assert "0 of 0" in str(report)


def test_the_model_stays_as_it_is(tmp_path):
    model = small()
    model.train()
    model[1].eval()
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    arrays = [id(p.data) for p in model.parameters()]
    modes = [m.training for m in model.modules()]

    def unchanged():
        state = model.state_dict()
        return (
            all(np.array_equal(state[k], v) for k, v in before.items())
            and modes == [m.training for m in model.modules()]
            and arrays == [id(p.data) for p in model.parameters()]
        )

    ne.onnx.export(model, tmp_path / "m.onnx", (1, 5, 5))
    assert unchanged()
    with pytest.raises(ValueError, match="Linear '5': "):
        ne.onnx.export(model, tmp_path / "m.onnx", (1, 7, 5))
    assert unchanged()


def test_several_outputs_in_the_structures_that_forward_returns(tmp_path):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 4)

        def forward(self, x):
            return {"a": self.a(x), "rest": (self.b(x), x.mean())}

    path, model = tmp_path / "m.onnx", Heads()
    ne.onnx.export(model, path, (3,))
    session = ne.InferenceSession(path)
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("y_0", ["N", 2]), ("y_1", ["N", 4]), ("y_2", [])]
    x = draw(5, 3)
    want, found = model(x), session.run(None, {"x": x})
    for a, b in zip((want["a"], *want["rest"]), found, strict=True):
        assert np.allclose(a, b, atol=1e-6)


def test_a_forward_in_plain_python(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, stride=2)
            self.register_buffer("scale", np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1, 1))

        def forward(self, x):
            n, c, h, w = x.shape
            x = self.conv(x / 255) * self.scale
            left, right = x.chunk(2, dim=1)
            x = ne.cat([left * right.sigmoid(), right[:, 1:2, ::2, ::2].mean((2, 3), keepdim=True) + left], dim=1)
            with ne.no_grad():
                x = x + x.permute(0, 1, 3, 2)
            return F.log_softmax(x.reshape(n, -1, 3, 3).view(x.size(0), -1), dim=1)

    path, model = tmp_path / "m.onnx", Plain().eval()
    report = ne.onnx.export(model, path, (3, 7, 7))
    assert report.difference < 1e-5
    folded = weights(path)
    assert "scale" not in folded  # a constant of each channel goes into the layer beside it, as a batch norm does
    assert np.allclose(folded["conv.weight"], model.conv.weight * model.scale.reshape(6, 1, 1, 1), rtol=1e-6)
    ne.onnx.export(model, path, (3, 7, 7), fold_batchnorm=False)
    assert "scale" in weights(path)
    session = ne.InferenceSession(path)
    for n in (1, 4):
        x = draw(n, 3, 7, 7)
        assert np.allclose(session(x), model(x), atol=1e-5)


def test_a_batch_norm_with_the_statistics_of_the_batch(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    report = ne.onnx.export(model, tmp_path / "m.onnx", (1, 6, 6))
    assert "BatchNormalization" not in operators(tmp_path / "m.onnx")
    assert report.difference < 1e-4
    assert report.batch_norms == (Folding("1", reason="it normalizes with the statistics of each batch"),)


def test_buffers_that_forward_updates_are_put_back(tmp_path):
    class Adapts(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(1)

        def forward(self, x):
            return F.batch_norm(x, self.bn.running_mean, self.bn.running_var, training=True)

    model = Adapts()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    ne.onnx.export(model, tmp_path / "m.onnx", (1, 6, 6))
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def refused(tmp_path, text, model, shape=(1, 5, 5), error=ValueError, **options):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the old file")
    with pytest.raises(error, match=text):
        ne.onnx.export(model, path, shape, **options)
    assert path.read_bytes() == b"the old file"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_what_cannot_be_exported_leaves_the_old_file(tmp_path):
    class Draws(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, training=True)

    class Branches(nn.Module):
        def forward(self, x):
            return x + 1 if x.size(0) == 2 else x * x + 1

    class Silent(nn.Module):
        def forward(self, x):
            return None

    refused(tmp_path, "the model's forward returned no tensor", Silent())
    refused(tmp_path, "model must be an nn.Module, got function", lambda x: x, error=TypeError)
    refused(tmp_path, "tolerance must be a positive number, got 0", small(), tolerance=0)
    refused(tmp_path, "draws random numbers in eval mode", Draws())
    refused(tmp_path, "different things at batch 2 and 3", Branches())
    refused(tmp_path, "Conv2d '0': input has 3 channels, weight expects 1", small(), (3, 5, 5))
    refused(tmp_path, "opset must be an integer from 9 to", small(), opset=8)
    refused(tmp_path, "input_shape must be the positive extents of one sample", small(), (1, 0, 5))
    refused(tmp_path, "input_shape must be the positive extents", small(), 28)
    refused(tmp_path, "input_shape must be the positive extents", small(), (1, 5.0, 5))


def test_outputs_that_are_not_finite(tmp_path):
    model = small()
    model[5].bias.data[0] = np.nan
    refused(tmp_path, "the model's output 'y' for random inputs is not finite; nothing was written", model)


def test_a_file_that_computes_something_else(tmp_path, monkeypatch):
    def wrong(self, names, feeds):
        return [ne.nn.functional.relu(next(iter(feeds.values()))).reshape(len(feeds["x"]), -1)[:, :6]]

    monkeypatch.setattr(ne.InferenceSession, "run", wrong)
    refused(tmp_path, r"output 'y' of the file differs from the model's by .* in InferenceSession, more than", small())


def test_a_file_that_the_checker_refuses(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise onnx.checker.ValidationError("no good")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    refused(tmp_path, "the ONNX checker refuses what was written: no good", small(), error=OnnxError)


def test_a_folder_that_does_not_exist_or_is_the_target(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        ne.onnx.export(small(), tmp_path / "gone" / "m.onnx", (1, 5, 5))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        ne.onnx.export(small(), tmp_path, (1, 5, 5))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def deny(source, target):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(os, "replace", deny)
    refused(tmp_path, r"Permission denied.*m\.onnx", small(), error=PermissionError)


def test_onnx_runtime_gives_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model = small().eval()
    for opset in (11, 17, 20):
        for folding in (True, False):
            path = tmp_path / f"{opset}{folding}.onnx"
            ne.onnx.export(model, path, (1, 5, 5), opset=opset, fold_batchnorm=folding)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            x = draw(3, 1, 5, 5)
            assert np.abs(session.run(None, {"x": x})[0] - model(x)).max() < 1e-4
