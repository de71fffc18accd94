"""Exports of networks with several inputs, names, element types and open image sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import normengine as ne
from normengine import nn
from normengine.onnx import OnnxError

RNG = np.random.default_rng(2)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


class Conditioned(nn.Module):
    """Images scaled by what a vector says of each channel; the maps and their means."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(5, 4)

    def forward(self, images: ne.Tensor, vectors: ne.Tensor) -> tuple[ne.Tensor, ne.Tensor]:
        y = self.norm(self.conv(images)) * self.linear(vectors)[:, :, None, None]
        return y, y.mean((2, 3))


def ports(path: Path) -> list[tuple[str, list[Any]]]:
    session = ne.InferenceSession(path)
    return [(port.name, list(port.shape)) for port in (*session.get_inputs(), *session.get_outputs())]


GIVEN = [
    (((3, 8, 6), (5,)), {}, ["x_0", "x_1", "y_0", "y_1"]),
    ([(3, 8, 6), [5]], {"input_names": ["a", "b"], "output_names": ["c", "d"]}, ["a", "b", "c", "d"]),
    ({"images": (3, 8, 6), "vectors": (5,)}, {}, ["images", "vectors", "y_0", "y_1"]),
    ((draw(2, 3, 8, 6), draw(2, 5)), {}, ["x_0", "x_1", "y_0", "y_1"]),
    ({"images": draw(7, 3, 8, 6), "vectors": (5,)}, {"output_names": ["map", "mean"]},
     ["images", "vectors", "map", "mean"]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "options", "names"), GIVEN, ids=[str(names) for *_, names in GIVEN])
def test_several_inputs(given: Any, options: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    model, path = Conditioned(), tmp_path / "m.onnx"
    report = ne.onnx.export(model, path, given, **options)
    assert report.folded == 1
    shapes = [["N", 3, 8, 6], ["N", 5], ["N", 4, 8, 6], ["N", 4]]
    assert ports(path) == list(zip(names, shapes, strict=True))
    x, v = draw(5, 3, 8, 6), draw(5, 5)
    found = ne.InferenceSession(path).run(None, {names[0]: x, names[1]: v})
    for one, want in zip(found, model.eval()(x, v), strict=True):
        assert np.allclose(one, want, atol=1e-5)


def test_integers(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def forward(self, x: ne.Tensor, keep: ne.Tensor) -> ne.Tensor:
            return x * keep.float()

    path = tmp_path / "m.onnx"
    ne.onnx.export(Masked(), path, (draw(2, 4), np.ones((2, 4), np.int32)))
    types = [port.type for port in ne.InferenceSession(path).get_inputs()]
    assert types == ["tensor(float)", "tensor(int64)"]


@pytest.mark.parametrize("opset", [9, 10, 17, 21, 24])
def test_images_of_any_size(opset: int, tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 8),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.Conv2d(8, 6, 3, bias=False),
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    ne.onnx.export(model, path, (3, 16, 20), dynamic_size=True, opset=opset)
    assert ports(path) == [
        ("x", ["N", 3, "x_height", "x_width"]), ("y", ["N", 6, "y_extent_2", "y_extent_3"])
    ]  # fmt: skip
    session = ne.InferenceSession(path)
    for size in ((16, 20), (33, 18), (13, 51)):
        x = draw(2, 3, *size)
        assert np.allclose(session(x), model.eval()(x), atol=1e-5)
    proto = onnx.load(path)
    assert proto.opset_import[0].version == opset


def test_a_classifier_of_any_size(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    ne.onnx.export(model, tmp_path / "m.onnx", (1, 8, 8), dynamic_size=True, output_names="scores")
    assert ports(tmp_path / "m.onnx") == [("x", ["N", 1, "x_height", "x_width"]), ("scores", ["N", 3])]


FLAT = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(128, 3))
REFUSED: list[tuple[nn.Module, Any, dict[str, Any], str]] = [
    (Conditioned(), ((3, 8, 8), (5,)), {"input_names": ["a"]}, r"input_names must be 2 names, .*, got \['a'\]"),
    (Conditioned(), ((3, 8, 8), (5,)), {"output_names": ["a"]}, r"output_names must be 2 names, .*, got \['a'\]"),
    (Conditioned(), ((3, 8, 8), (5,)), {"input_names": ["a", "a"]}, "input_names must be names that differ"),
    (Conditioned(), ((3, 8, 8), (5,)), {"output_names": ["x_0", "y"]}, "names of inputs and outputs must be"),
    (Conditioned(), ((3, 8, 8), (5, 0)), {}, "input_shape must be the positive extents of one sample"),
    (Conditioned(), (draw(2, 3, 8, 8), np.array("text")), {}, r"input 'x_1' must be a batch \(N, ...\)"),
    (Conditioned(), (draw(2, 3, 8, 8), np.array(["text"])), {}, "input 'x_1' must be float32 or int64, got <U4"),
    (nn.Linear(4, 2), (4,), {"dynamic_size": True}, r"dynamic_size wants an input of images \(C, H, W\)"),
    (FLAT, (1, 8, 8), {"dynamic_size": True},
     r"dynamic_size: the model does not take samples of other sizes, such as \(1, 16, 24\): Linear '2'"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "given", "options", "message"), REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_what_does_not_fit(model: nn.Module, given: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the old file")
    with pytest.raises((ValueError, OnnxError), match=message):
        ne.onnx.export(model, path, given, **options)
    assert path.read_bytes() == b"the old file"
