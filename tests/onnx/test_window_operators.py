"""Convolution, transposed convolution and pooling over one, two and three axes, in the forms of the opsets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_nodes import draw, node

import normengine as ne
from normengine import nn
from normengine.ops import OPS

SIGNAL, IMAGE, VOLUME = (2, 4, 9), (2, 4, 7, 6), (2, 4, 5, 4, 6)


def one(op_type, shape, *weights, opset=17, **attributes):
    names = ["w", "b"][: len(weights)]
    nodes = [node(op_type, ["x", *names], ["y"], "it", **attributes)]
    return nodes, {"x": shape}, dict(zip(names, weights)), opset


ROWS = {
    "conv 1d": one("Conv", SIGNAL, draw(5, 4, 3), draw(5)),
    "conv 1d settings": one("Conv", SIGNAL, draw(6, 4, 2), pads=[2, 1], strides=[2], dilations=[3], kernel_shape=[2]),
    "conv 1d same upper": one("Conv", SIGNAL, draw(5, 4, 4), auto_pad="SAME_UPPER", strides=[2]),
    "conv 1d same lower": one("Conv", SIGNAL, draw(5, 4, 4), auto_pad="SAME_LOWER"),
    "conv 3d": one("Conv", VOLUME, draw(5, 4, 2, 3, 1), draw(5)),
    "conv 3d settings": one(
        "Conv", VOLUME, draw(6, 4, 2, 2, 2), pads=[1, 0, 2, 0, 1, 1], strides=[2, 1, 2], dilations=[1, 2, 3]
    ),
    "conv 3d valid": one("Conv", VOLUME, draw(5, 4, 1, 3, 2), auto_pad="VALID"),
    "max 1d": one("MaxPool", SIGNAL, kernel_shape=[3], strides=[2], pads=[1, 0]),
    "max 3d": one("MaxPool", VOLUME, kernel_shape=[2, 3, 2], strides=[2, 1, 1], pads=[1, 1, 0, 0, 0, 1]),
    "max 3d dilated": one("MaxPool", VOLUME, kernel_shape=[2, 2, 3], dilations=[3, 1, 2]),
    "max of opset 7": one("MaxPool", IMAGE, kernel_shape=[2, 3], opset=7),
    "max storage order": one("MaxPool", IMAGE, kernel_shape=[2, 3], storage_order=1),
    "average 1d": one("AveragePool", SIGNAL, kernel_shape=[3], strides=[2], pads=[1, 1]),
    "average 1d counted": one("AveragePool", SIGNAL, kernel_shape=[3], pads=[1, 2], count_include_pad=1),
    "average 3d": one("AveragePool", VOLUME, kernel_shape=[2, 2, 3], pads=[1, 0, 1, 0, 1, 1], strides=[1, 2, 1]),
    "average dilated": one("AveragePool", IMAGE, kernel_shape=[3, 2], dilations=[2, 3], opset=19),
    "average dilated and padded": one(
        "AveragePool", IMAGE, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 2, 3, 1], opset=19
    ),
    "average dilated and counted": one(
        "AveragePool", IMAGE, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 2, 3, 1], count_include_pad=1, opset=22
    ),
    "average dilated 1d": one("AveragePool", SIGNAL, kernel_shape=[3], dilations=[2], strides=[2], opset=19),
    "average of opset 7": one("AveragePool", IMAGE, kernel_shape=[2, 3], count_include_pad=1, pads=[1] * 4, opset=7),
    "global average 1d": one("GlobalAveragePool", SIGNAL),
    "global average 3d": one("GlobalAveragePool", VOLUME),
}


@pytest.mark.parametrize("name", ROWS)
def test_an_operator_gives_what_the_reference_gives(name, model, imported, reference):
    nodes, shapes, weights, opset = ROWS[name]
    feeds = {key: draw(*shape) for key, shape in shapes.items()}
    content = model(nodes, shapes, ["y"], weights, opset)
    (got,), (want,) = imported(content, feeds), reference(content, feeds)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [SIGNAL, IMAGE, VOLUME], ids=str)
def test_the_largest_of_all(shape, model, imported):
    """ONNX's evaluator takes the maximum over other axes."""
    x = draw(*shape)
    (got,) = imported(model([node("GlobalMaxPool", ["x"], ["y"])], {"x": shape}, ["y"]), {"x": x})
    assert np.array_equal(got, x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def test_as_many_windows_as_strides_fit(model, imported):
    """ONNX's evaluator leaves out the last one."""
    attributes = {"kernel_shape": [4], "strides": [2], "auto_pad": "SAME_LOWER"}
    x = draw(*SIGNAL)
    (got,) = imported(model([node("MaxPool", ["x"], ["y"], **attributes)], {"x": SIGNAL}, ["y"]), {"x": x})
    assert np.array_equal(got, np.stack([x[..., max(0, i - 2) : i + 2].max(-1) for i in range(0, 9, 2)], -1))


def windows(x, kernel, stride, padding):
    """Sums of powers of padded windows of a plane, as ``(OH, OW, kh * kw)``."""
    x = np.pad(x, [(padding[0], padding[2]), (padding[1], padding[3])])
    found = np.lib.stride_tricks.sliding_window_view(x, kernel)[:: stride[0], :: stride[1]]
    return np.abs(found.reshape(*found.shape[:2], -1))


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
def test_norms_of_windows(p, model, imported):
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "p": p}
    x = draw(*IMAGE)
    (got,) = imported(model([node("LpPool", ["x"], ["y"], **attributes)], {"x": IMAGE}, ["y"]), {"x": x})
    want = (windows(x[1, 2].astype(np.float64), (3, 2), (2, 1), (1, 0, 1, 1)) ** p).sum(-1) ** (1 / p)
    np.testing.assert_allclose(got[1, 2], want, rtol=1e-5)
    content = model([node("GlobalLpPool", ["x"], ["y"], p=p)], {"x": VOLUME}, ["y"])
    x = draw(*VOLUME)
    want = (np.abs(x.astype(np.float64)) ** p).sum((2, 3, 4), keepdims=True) ** (1 / p)
    np.testing.assert_allclose(imported(content, {"x": x})[0], want, rtol=1e-5)


def test_norms_of_windows_that_end_outside_or_have_holes(model, imported):
    x = np.array([[[3.0, -4.0, 12.0, 0.0, 5.0]]], np.float32)
    for attributes, want in (
        ({"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, [5.0, 12.0, 5.0]),
        ({"kernel_shape": [2], "dilations": [3]}, [3.0, np.sqrt(41.0)]),
        ({"kernel_shape": [2], "auto_pad": "SAME_UPPER"}, [5.0, np.sqrt(160.0), 12.0, 5.0, 5.0]),
    ):
        content = model([node("LpPool", ["x"], ["y"], **attributes)], {"x": x.shape}, ["y"], opset=18)
        np.testing.assert_allclose(imported(content, {"x": x})[0], [[want]], rtol=1e-6)


TRANSPOSED = [
    # attributes, then what they mean
    ({"strides": [2, 3]}, (0, 0, 0, 0), (0, 0)),
    ({"strides": [2, 3], "pads": [1, 0, 2, 1], "output_padding": [1, 2]}, (1, 0, 2, 1), (1, 2)),
    ({"strides": [2, 3], "auto_pad": "VALID", "pads": [0] * 4}, (0, 0, 0, 0), (0, 0)),
    ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (0, 0, 1, 1), (0, 0)),
    ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (1, 1, 0, 0), (0, 0)),
    ({"strides": [2, 2], "output_shape": [13, 12]}, (1, 1, 1, 0), (0, 0)),
    ({"strides": [2, 2], "output_shape": [2, 6, 13, 12], "auto_pad": "SAME_UPPER"}, (1, 0, 1, 1), (0, 0)),
    ({"strides": [3, 2], "output_shape": [22, 14]}, (0, 0, 0, 0), (1, 1)),
    ({"dilations": [2, 3], "kernel_shape": [3, 3]}, (0, 0, 0, 0), (0, 0)),
]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("attributes", "padding", "more"), TRANSPOSED)
def test_what_is_cut_off_a_transposed_convolution(attributes, padding, more, groups, model, imported):
    x, w, b = draw(*IMAGE), draw(4, 6 // groups, 3, 3), draw(6)
    content = model(
        [node("ConvTranspose", ["x", "w", "b"], ["y"], group=groups, **attributes)],
        {"x": IMAGE},
        ["y"],
        {"w": w, "b": b},
    )
    attrs = {
        "stride": tuple(attributes.get("strides", (1, 1))),
        "dilation": tuple(attributes.get("dilations", (1, 1))),
        "padding": padding,
        "output_padding": more,
        "groups": groups,
    }
    (want,) = OPS["conv_transpose2d"].reference([x, w, b], attrs)
    (got,) = imported(content, {"x": x})
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    if "output_shape" in attributes:
        assert list(got.shape[2:]) == attributes["output_shape"][-2:]


@pytest.mark.parametrize("rank", [1, 3])
def test_transposed_convolution_of_signals_and_volumes(rank, model):
    shape = SIGNAL if rank == 1 else VOLUME
    x, w = draw(*shape), draw(4, 3, *(2, 3, 2)[:rank])
    attributes = {"strides": [2] * rank, "pads": [1] * (2 * rank), "group": 2}
    content = model([node("ConvTranspose", ["x", "w"], ["y"], **attributes)], {"x": shape}, ["y"], {"w": w})
    attrs = {
        "stride": (2,) * rank,
        "padding": (1,) * (2 * rank),
        "dilation": (1,) * rank,
        "output_padding": (0,) * rank,
        "groups": 2,
    }
    (want,) = OPS[f"conv_transpose{rank}d"].reference([x, w], attrs)
    np.testing.assert_allclose(ne.InferenceSession(content)(x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [SIGNAL, IMAGE], ids=str)
@pytest.mark.parametrize("order", [0, 1])
def test_places_of_maxima(shape, order, model):
    rank = len(shape) - 2
    nodes = [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[3] * rank, strides=[2] * rank, storage_order=order)]
    nodes.append(node("Cast", ["i"], ["f"], to=1))
    session = ne.InferenceSession(model(nodes, {"x": ("N", *shape[1:])}, ["y", "f"], opset=12))
    x = draw(*shape)
    for batch in (1, 2):
        y, places = session.run(None, {"x": x[:batch]})
        places = places.astype(int)
        counted = x[:batch].swapaxes(2, 3) if order and rank == 2 else x[:batch]
        np.testing.assert_array_equal(counted.reshape(-1)[places], y)


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("shape", [SIGNAL, IMAGE], ids=str)
def test_maxima_go_back_to_their_places(shape, larger, model):
    rank = len(shape) - 2
    window = {"kernel_shape": [2] * rank, "strides": [2] * rank}
    size = tuple(n // 2 * 2 for n in shape[2:])
    names, weights = ["y", "i"], {}
    if larger:
        names, weights = [*names, "s"], {"s": np.array((*shape[:2], *(n + 3 for n in size)))}
    nodes = [node("MaxPool", ["x"], ["y", "i"], **window), node("MaxUnpool", names, ["z"], **window)]
    x = draw(*shape)
    x = x if all(n % 2 == 0 for n in shape[2:]) else x[tuple(slice(0, n) for n in (*shape[:2], *size))]
    (z,) = ne.InferenceSession(model(nodes, {"x": x.shape}, ["z"], weights)).run(None, {"x": x})
    assert z.shape == (*shape[:2], *(n + 3 * larger for n in size))
    assert np.count_nonzero(z) == x.size // 2**rank
    z = z[tuple(slice(0, n) for n in x.shape)]
    assert np.count_nonzero(z) == x.size // 2**rank
    np.testing.assert_array_equal(np.where(z != 0, z, x), x)


NETWORKS = {
    "signals": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 3, padding=1, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
            nn.ConvTranspose1d(8, 6, 2, 2), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(3), nn.Flatten(),
        ),
        (4, 12),
    ),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, bias=False), nn.ReLU6(),
            nn.LPPool2d(2, 2), nn.AdaptiveMaxPool2d((2, 3)), nn.AdaptiveMaxPool2d(1),
        ),
        (4, 7, 6),
    ),
    "volumes": (
        lambda: nn.Sequential(
            nn.Conv3d(4, 8, 3, padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2, ceil_mode=True),
            nn.ConvTranspose3d(8, 4, 2, 2), nn.AvgPool3d(2, 1), nn.AdaptiveAvgPool3d((2, 1, 2)),
        ),
        (4, 5, 4, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_written_folded_and_run_at_any_batch_size(name, tmp_path):
    build, shape = NETWORKS[name]
    ne.manual_seed(0)
    model, path = build().eval(), tmp_path / "m.onnx"
    for key, buffer in model.named_buffers():
        if key.endswith("running_var"):
            buffer[...] = np.linspace(0.5, 2.0, buffer.size)
    ne.onnx.export(model, path, shape)
    assert "BatchNormalization" not in [n.op_type for n in onnx.load(path).graph.node]
    session = ne.InferenceSession(path)
    for batch in (1, 3):
        x = draw(batch, *shape)
        np.testing.assert_allclose(session(x), model(x), rtol=1e-4, atol=1e-5)
