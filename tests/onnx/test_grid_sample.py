"""GridSample and AffineGrid, against ONNX's reference evaluator."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.graph import Spec
from normengine.onnx import OnnxError
from normengine.onnx.serialize import model_bytes
from normengine.ops import Builder

SHAPES = {"x": (2, 2, 4, 5), "g": (2, 3, 4, 2)}
OLD = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
CHOICES = list(itertools.product(OLD, ("zeros", "border", "reflection"), (0, 1)))


def feeds(shapes):
    return {name: draw(*shape) for name, shape in shapes.items()}


def one(model, shapes, opset, **attributes):
    return model([node("GridSample", ["x", "g"], ["y"], "sample", **attributes)], shapes, ["y"], opset=opset)


@pytest.mark.parametrize(("mode", "padding", "corners"), CHOICES)
def test_images(mode, padding, corners, model, imported, reference):
    given = feeds(SHAPES)
    attributes = {"padding_mode": padding, "align_corners": corners}
    content = one(model, SHAPES, 20, mode=mode, **attributes)
    (got,), (want,) = imported(content, given), reference(content, given)
    np.testing.assert_allclose(got, want, atol=1e-5)
    for opset, name in ((16, OLD[mode]), (22, mode)):
        (same,) = imported(one(model, SHAPES, opset, mode=name, **attributes), given)
        np.testing.assert_array_equal(same, got)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_volumes(mode, model, imported, reference):
    shapes = {"x": (1, 2, 3, 4, 2), "g": (1, 2, 2, 3, 3)}
    content, given = one(model, shapes, 20, mode=mode), feeds(shapes)
    np.testing.assert_allclose(imported(content, given)[0], reference(content, given)[0], atol=1e-5)


def test_a_session_samples_where_the_network_says(model, reference):
    content, given = one(model, SHAPES, 20), feeds(SHAPES)
    (got,) = ne.InferenceSession(content).run(None, given)
    np.testing.assert_allclose(got, reference(content, given)[0], atol=1e-5)


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 2, 3, 4), (2, 1, 1, 3)])
@pytest.mark.parametrize("corners", [0, 1])
def test_affine_grids(size, corners, model, imported, reference):
    dims = len(size) - 2
    shape = (size[0], dims, dims + 1)
    content = model(
        [node("AffineGrid", ["t", "s"], ["y"], align_corners=corners)], {"t": shape}, ["y"], {"s": ints(*size)}, 20
    )
    given = {"t": draw(*shape)}
    (got,), (want,) = imported(content, given), reference(content, given)
    if 1 not in size[2:]:  # one pixel lies in the middle here and in PyTorch, at the left end there
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert got.shape == want.shape


def test_cubic_sampling_with_a_border_is_not_written():
    builder = Builder()
    x, grid = builder.input("x", Spec(SHAPES["x"])), builder.input("g", Spec(SHAPES["g"]))
    y = builder.add("grid_sample", x, grid, mode="cubic", padding_mode="border", align_corners=False)
    with pytest.raises(OnnxError, match="cubic sampling with a border has no form in ONNX"):
        model_bytes(builder.graph([y]), [x.shape, grid.shape], {"y": y.shape}, 20)


def test_what_is_refused(model, imported):
    for attributes, text in (
        ({"mode": "area"}, "GridSample 'sample': mode must be one of linear, nearest, cubic, got 'area'"),
        ({"padding_mode": "wrap"}, "GridSample 'sample': padding mode must be one of zeros, border, reflection"),
    ):
        with pytest.raises(OnnxError, match=text):
            imported(one(model, SHAPES, 20, **attributes), feeds(SHAPES))
    for shapes, text in (
        ({"x": (2, 2, 4, 5), "g": (2, 3, 4, 3)}, r"grid must be \(N, H', W', 2\)"),
        ({"x": (2, 2, 4), "g": (2, 3, 1)}, "input must be"),
    ):
        with pytest.raises(OnnxError, match=text):
            imported(one(model, shapes, 20), feeds(shapes))
    for size in ((2, 3, 4), (3, 1, 4, 5), (2, 1, 0, 4)):
        content = model([node("AffineGrid", ["t", "s"], ["y"], "g")], {"t": (2, 2, 3)}, ["y"], {"s": ints(*size)}, 20)
        with pytest.raises(OnnxError, match=r"AffineGrid 'g': the size must be \(N, C, H, W\) with theta"):
            imported(content, {"t": draw(2, 2, 3)})


@pytest.mark.parametrize(("shape", "least"), [((1, 2, 3, 4), 16), ((1, 2, 3, 4, 5), 20)])
def test_opsets_that_have_none_are_refused(shape, least):
    builder = Builder()
    x, grid = builder.input("x", Spec(shape)), builder.input("g", Spec((1, *shape[2:], len(shape) - 2)))
    y = builder.add("grid_sample", x, grid, mode="linear", padding_mode="zeros", align_corners=False)
    graph = builder.graph([y])
    with pytest.raises(OnnxError, match=f"GridSample needs opset {least}, got {least - 1}; choose a newer one"):
        model_bytes(graph, [v.shape for v in graph.inputs], {"y": y.shape}, least - 1)
    assert model_bytes(graph, [v.shape for v in graph.inputs], {"y": y.shape}, least)
